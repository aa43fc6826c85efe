"""What a detector is: a rule that says whether a probe looks collapsed beside those before it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from cosweep.detection.chance import TEN_CLASSES, Chance
from cosweep.metrics import ProbeMetrics
from cosweep.specs import Component

CONFIRM_PROBES = 3
"""Consecutive collapsed probes that make a verdict, and robust ones that make a recovery."""


@dataclass
class Past:
    """What a detector may know of the curve before a probe.

    Attributes:
        chance: What guessing reaches on the examples that the probes count.
        best_pgd: Best PGD accuracy of the probes that look robust; 0 before there is one.
        healthy: The probes that did not look collapsed, in order.
    """

    chance: Chance = TEN_CLASSES
    best_pgd: float = 0.0
    healthy: list[ProbeMetrics] = field(default_factory=list)

    def guesses(self, probe: ProbeMetrics) -> bool:
        """Whether a probe shows no more than guessing.

        Clean accuracy alone may fall to chance in CO, while FGSM accuracy is perfect.
        """
        return max(probe.clean_acc, probe.fgsm_acc) <= self.chance.guess_limit

    def robust(self, probe: ProbeMetrics) -> bool:
        """Whether PGD accuracy is more than a constant answer gives."""
        return probe.pgd_acc >= self.chance.robust_floor and not self.guesses(probe)

    def add(self, probe: ProbeMetrics) -> None:
        """Remember a probe that does not look collapsed."""
        self.healthy.append(probe)
        if self.robust(probe):
            self.best_pgd = max(self.best_pgd, probe.pgd_acc)


@dataclass(frozen=True, kw_only=True)
class Detector(Component):
    """Base of the detectors, whose fields are the limits of the rule."""

    named_alone: ClassVar[bool] = True
    confirm: ClassVar[int] = CONFIRM_PROBES
    """Collapsed probes in a row that make a verdict."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What it reads of a probe that is not always measured: columns of ``curves``, switches of ``probe``."""

    @abstractmethod
    def collapsed(self, probe: ProbeMetrics, past: Past) -> bool:
        """Whether a probe looks collapsed."""

    @abstractmethod
    def reason(self, onset: ProbeMetrics, past: Past) -> str:
        """The numbers behind a verdict, in words."""
