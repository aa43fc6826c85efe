"""The part that all detectors share: confirmation, onset, and the state of a curve."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

from cosweep.detection.chance import TEN_CLASSES, Chance
from cosweep.detection.verdict import Verdict
from cosweep.metrics import ProbeMetrics, TrialState

CONFIRM_PROBES = 3
"""Consecutive collapsed probes that make a verdict, and robust ones that make a recovery."""

RECOVERED_OF_BEST, RECOVERED_OF_FGSM = 0.5, 0.4
"""Parts of its best, and of FGSM accuracy, that PGD accuracy must regain for a recovery."""


class Detector(ABC):
    """Reads the probes of one trial in order and decides once where it broke.

    Args:
        chance: What guessing reaches on the examples that the probes count.

    Attributes:
        best_pgd: Best PGD accuracy of the probes that look robust; 0 before there is one.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    confirm: ClassVar[int] = CONFIRM_PROBES

    def __init__(self, chance: Chance = TEN_CLASSES) -> None:
        self.chance = chance
        self.best_pgd = 0.0
        self.verdict = Verdict(TrialState.NOT_ROBUST)
        self._last_healthy: int | None = None
        self._suspects: list[ProbeMetrics] = []
        self._recovering = 0
        self._learned = False
        self._guessing = 0
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
        if self.robust(probe):
            self.best_pgd = max(self.best_pgd, probe.pgd_acc)

    @abstractmethod
    def reason(self, onset: ProbeMetrics) -> str:
        """The numbers behind a verdict, in words."""

    def guesses(self, probe: ProbeMetrics) -> bool:
        """Whether a probe shows no more than guessing.

        Clean accuracy alone may fall to chance in CO, while FGSM accuracy is perfect.
        """
        return max(probe.clean_acc, probe.fgsm_acc) <= self.chance.guess_limit

    def robust(self, probe: ProbeMetrics) -> bool:
        """Whether PGD accuracy is more than a constant answer gives."""
        return probe.pgd_acc >= self.chance.robust_floor and not self.guesses(probe)

    def update(self, probe: ProbeMetrics) -> Verdict:
        """Read the next probe and say what the curve shows so far."""
        if _not_a_number(probe) or self._not_a_number:
            self._not_a_number = True  # no training comes back from that
            self.verdict = self._with_state(TrialState.DIVERGED)
            return self.verdict
        guesses = self.guesses(probe)
        self._learned |= not guesses
        self._guessing = self._guessing + 1 if guesses else 0
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
        recovers = (
            self.robust(probe)
            and not self.collapsed(probe)
            and probe.pgd_acc >= RECOVERED_OF_BEST * self.best_pgd
            and probe.pgd_acc >= RECOVERED_OF_FGSM * probe.fgsm_acc
        )
        self._recovering = max(self._recovering, 0) + 1 if recovers else min(self._recovering, 0) - 1
        if self._fell_to_chance:
            self.verdict = self._with_state(TrialState.DIVERGED)
        elif self._recovering >= self.confirm:
            self.verdict = self._with_state(TrialState.RECOVERED)
        elif self._recovering <= -self.confirm:
            self.verdict = self._with_state(TrialState.CO)
        return self.verdict

    @property
    def _fell_to_chance(self) -> bool:
        """Whether the model guesses again; one that never learned did not fall."""
        return self._learned and self._guessing >= self.confirm

    def _state(self) -> TrialState:
        """State of a curve without CO."""
        if self._fell_to_chance:
            return TrialState.DIVERGED
        return TrialState.HEALTHY if self.best_pgd > 0 else TrialState.NOT_ROBUST

    def _with_state(self, state: TrialState) -> Verdict:
        v = self.verdict
        return Verdict(state, v.co_step, v.co_step_low, v.co_step_high, v.co_reason)


def _not_a_number(probe: ProbeMetrics) -> bool:
    return any(map(math.isnan, (probe.clean_acc, probe.fgsm_acc, probe.pgd_acc)))
