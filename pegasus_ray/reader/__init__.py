"""A library for people who only want its data: `pegasus_ray.open(location)`."""
