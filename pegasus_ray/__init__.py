"""From talking-head videos to a library of animatable 3D head avatars whose attributes can be recombined on anyone."""

__version__ = "0.1.0"
