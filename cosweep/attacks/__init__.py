"""Attacks: each makes a perturbation ``delta``, and leaves weights, their gradients and modes as found."""

from cosweep.attacks.gradients import gradient_and_logits, input_gradient, margin_where, measuring_gradient, vanished
from cosweep.attacks.pgd import correct, labels_right, pgd, pgd_alpha, random_start, withstands_pgd
from cosweep.attacks.projection import Norm, clip_ball, clip_box, lengths, steepest, uniform_in_ball, uniform_like
from cosweep.attacks.single_step import fgsm, single_step, step
from cosweep.attacks.threat_model import ThreatModel

__all__ = [
    "Norm",
    "ThreatModel",
    "clip_ball",
    "clip_box",
    "correct",
    "fgsm",
    "gradient_and_logits",
    "input_gradient",
    "labels_right",
    "lengths",
    "margin_where",
    "measuring_gradient",
    "pgd",
    "pgd_alpha",
    "random_start",
    "single_step",
    "steepest",
    "step",
    "uniform_in_ball",
    "uniform_like",
    "vanished",
    "withstands_pgd",
]
