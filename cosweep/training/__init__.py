"""Running one trial; needs torch, torchvision and numpy, nothing else."""

from cosweep.training.loop import TrialRun, run_trial
from cosweep.training.trial_spec import TrialSpec

__all__ = ["TrialRun", "TrialSpec", "run_trial"]
