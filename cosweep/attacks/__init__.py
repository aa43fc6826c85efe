"""Attacks: each makes a perturbation ``delta``, and leaves weights, their gradients and modes as found."""

from cosweep.attacks.gradients import gradient_and_logits, input_gradient
from cosweep.attacks.pgd import correct, labels_right, pgd, random_start, withstands_pgd
from cosweep.attacks.projection import clip_ball, clip_box, uniform_like
from cosweep.attacks.single_step import fgsm, signed_step, single_step

__all__ = [
    "clip_ball",
    "clip_box",
    "correct",
    "fgsm",
    "gradient_and_logits",
    "input_gradient",
    "labels_right",
    "pgd",
    "random_start",
    "signed_step",
    "single_step",
    "uniform_like",
    "withstands_pgd",
]
