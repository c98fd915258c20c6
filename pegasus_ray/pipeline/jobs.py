"""The stages as jobs: each reads its inputs from the library by key, calls the stage's function, and commits."""

from pegasus_ray.pipeline.build_jobs import FitJob, TrackJob
from pegasus_ray.pipeline.model_jobs import PersonalizeJob, TransferJob
from pegasus_ray.pipeline.swap_job import SwapJob

__all__ = ["FitJob", "PersonalizeJob", "SwapJob", "TrackJob", "TransferJob"]
