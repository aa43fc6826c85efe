"""The part that all detectors share: confirmation, onset, and the state of a curve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from cosweep.detection.verdict import Verdict
from cosweep.metrics import ProbeMetrics, TrialState

CONFIRM_PROBES = 3
"""Consecutive collapsed probes that make a verdict, and robust ones that make a recovery."""

RECOVERED_OF_BEST, RECOVERED_OF_FGSM = 0.5, 0.4
"""Parts of its best, and of FGSM accuracy, that PGD accuracy must regain for a recovery."""


class Detector(ABC):
    """Reads the probes of one trial in order and decides once where it broke.

    Args:
        num_classes: K; an accuracy of 1/K is chance.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    confirm: ClassVar[int] = CONFIRM_PROBES

    def __init__(self, num_classes: int = 10) -> None:
        self.chance = 1 / num_classes
        self.best_pgd = 0.0
        self.verdict = Verdict(TrialState.NOT_ROBUST)
        self._last_healthy: int | None = None
        self._suspects: list[ProbeMetrics] = []
        self._recovering = 0
        self._at_chance = 0
        self._not_a_number = False

    @property
    def suspect(self) -> bool:
        """Whether the last probe looked collapsed and the verdict is not out yet."""
        return bool(self._suspects) and not self.verdict.co

    @property
    def suspects(self) -> int:
        """How many probes in a row, up to the last, looked collapsed."""
        return len(self._suspects)

    def provisional(self) -> Verdict:
        """The verdict that the suspects would give if they were enough."""
        return self._confirmed()

    @abstractmethod
    def collapsed(self, probe: ProbeMetrics) -> bool:
        """Whether a probe looks collapsed beside the healthy probes read so far; remembers nothing."""

    def observe(self, probe: ProbeMetrics) -> None:
        """Remember a probe that does not look collapsed."""
        self.best_pgd = max(self.best_pgd, probe.pgd_acc)

    @abstractmethod
    def reason(self, onset: ProbeMetrics) -> str:
        """The numbers behind a verdict, in words."""

    def update(self, probe: ProbeMetrics) -> Verdict:
        """Read the next probe and say what the curve shows so far."""
        if _not_a_number(probe) or self._not_a_number:
            self._not_a_number = True  # no training comes back from that
            self.verdict = self._with_state(TrialState.DIVERGED)
            return self.verdict
        # Clean accuracy alone may fall to chance in CO, while FGSM accuracy is perfect.
        at_chance = max(probe.clean_acc, probe.fgsm_acc) <= 1.5 * self.chance
        self._at_chance = self._at_chance + 1 if at_chance else 0
        if self.verdict.co:
            return self._after_co(probe)
        if self.collapsed(probe):
            self._suspects.append(probe)
            if len(self._suspects) >= self.confirm:
                self.verdict = self._confirmed()
            return self.verdict
        self._suspects.clear()
        self.observe(probe)
        self._last_healthy = probe.step
        self.verdict = Verdict(self._state())
        return self.verdict

    def _confirmed(self) -> Verdict:
        onset = self._suspects[0]
        low = 0 if self._last_healthy is None else self._last_healthy
        return Verdict(TrialState.CO, onset.step, low, onset.step, self.reason(onset))

    def _after_co(self, probe: ProbeMetrics) -> Verdict:
        robust = (
            not self.collapsed(probe)
            and probe.pgd_acc >= RECOVERED_OF_BEST * self.best_pgd
            and probe.pgd_acc >= RECOVERED_OF_FGSM * probe.fgsm_acc
        )
        self._recovering = max(self._recovering, 0) + 1 if robust else min(self._recovering, 0) - 1
        if self._at_chance >= self.confirm:
            self.verdict = self._with_state(TrialState.DIVERGED)
        elif self._recovering >= self.confirm:
            self.verdict = self._with_state(TrialState.RECOVERED)
        elif self._recovering <= -self.confirm:
            self.verdict = self._with_state(TrialState.CO)
        return self.verdict

    def _state(self) -> TrialState:
        if self._at_chance >= self.confirm:
            return TrialState.DIVERGED
        return TrialState.HEALTHY if self.best_pgd >= self.robust_floor else TrialState.NOT_ROBUST

    @property
    def robust_floor(self) -> float:
        """PGD accuracy from which a model counts as robust at all: twice chance."""
        return 2 * self.chance

    def _with_state(self, state: TrialState) -> Verdict:
        v = self.verdict
        return Verdict(state, v.co_step, v.co_step_low, v.co_step_high, v.co_reason)


def _not_a_number(probe: ProbeMetrics) -> bool:
    return any(map(math.isnan, (probe.clean_acc, probe.fgsm_acc, probe.pgd_acc)))
