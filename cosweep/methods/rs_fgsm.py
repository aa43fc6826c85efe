"""FGSM adversarial training from a random start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cosweep.attacks import Norm
from cosweep.methods.single_step import SingleStep
from cosweep.specs import in_epsilons


@dataclass(frozen=True, kw_only=True)
class RSFGSM(SingleStep):
    """Uniform start in the ball, a step of ``alpha`` (default 1.25 epsilon), clipped to ball and box; in l2, RS-FGM."""

    name: ClassVar[str] = "rs_fgsm"
    source: ClassVar[str] = "Wong et al., ICLR 2020"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")

    alpha: float = in_epsilons(1.25)
