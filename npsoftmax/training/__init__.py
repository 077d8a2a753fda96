"""Training: optimisers, schedules, the loop, and the run directory that it fills."""

from npsoftmax.training.callbacks import Callback
from npsoftmax.training.config import TrainConfig
from npsoftmax.training.finish import finish_run
from npsoftmax.training.optimizers import OPTIMIZERS
from npsoftmax.training.progress import Progress
from npsoftmax.training.run_directory import RunDirectory
from npsoftmax.training.schedules import SCHEDULES
from npsoftmax.training.session import Session, load_run, prepare
from npsoftmax.training.trainer import Trainer

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Callback",
    "Progress",
    "RunDirectory",
    "Session",
    "TrainConfig",
    "Trainer",
    "finish_run",
    "load_run",
    "prepare",
]
