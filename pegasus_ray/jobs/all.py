"""The stages as jobs: each reads its inputs from the library by key, calls the stage's function, and commits."""

from pegasus_ray.jobs.build import FitJob, TrackJob
from pegasus_ray.jobs.models import PersonalizeJob, TransferJob
from pegasus_ray.jobs.swap import SwapJob

__all__ = ["FitJob", "PersonalizeJob", "SwapJob", "TrackJob", "TransferJob"]
