"""Abnormal adversarial examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from cosweep.attacks import random_start, single_step
from cosweep.diagnostics.base import Diagnostic, Measured, View
from cosweep.metrics import Measurement
from cosweep.seeding import RandomStream


@dataclass(frozen=True, kw_only=True)
class Abnormal(Diagnostic):
    """Share of examples whose loss a step of RS-FGSM lowers: loss(x + eta) > loss(x + delta)."""

    name: ClassVar[str] = "abnormal"
    source: ClassVar[str] = "Lin et al., NeurIPS 2023 (AAER), section 3"
    columns: ClassVar[tuple[Measurement, ...]] = (
        Measurement("abnormal_share", "fraction", "share of examples whose loss a step of RS-FGSM lowers"),
    )

    def passes(self, pgd_steps: int) -> float:
        return 4

    @torch.no_grad()
    def measure(self, view: View) -> Measured:
        model, x, y, threat = view.model, view.x, view.y, view.threat
        eta = random_start(x, threat, RandomStream(view.seed, "abnormal"))
        delta = single_step(model, x, y, threat, alpha=1.25 * threat.epsilon, start=eta)
        before, after = (functional.cross_entropy(model(x + d), y, reduction="none") for d in (eta, delta))
        return {"abnormal_share": (before > after).double().mean().item()}
