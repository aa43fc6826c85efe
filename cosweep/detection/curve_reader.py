"""The part that all detectors share: confirmation, onset, and the state of a curve."""

from __future__ import annotations

import math
from dataclasses import replace

from cosweep.detection.base import Detector, Past
from cosweep.detection.chance import TEN_CLASSES, Chance
from cosweep.detection.verdict import Verdict
from cosweep.metrics import ProbeMetrics, TrialState

RECOVERED_OF_BEST, RECOVERED_OF_FGSM = 0.5, 0.4
"""Parts of its best, and of FGSM accuracy, that PGD accuracy must regain for a recovery."""


class CurveReader:
    """Reads the probes of one trial in order and decides once where it broke.

    Args:
        detector: The rule.
        chance: What guessing reaches on the examples that the probes count.

    Attributes:
        verdict: What the curve shows so far.
    """

    def __init__(self, detector: Detector, chance: Chance = TEN_CLASSES) -> None:
        self.detector = detector
        self.verdict = Verdict(TrialState.NOT_ROBUST)
        self._past = Past(chance)
        self._suspects: list[ProbeMetrics] = []
        self._recovering = self._settling = 0
        self._learned = False
        self._guessing = 0
        self._not_a_number = False

    @property
    def suspect(self) -> bool:
        """Whether the last probe looked collapsed and the verdict is not out yet."""
        return bool(self._suspects) and not self.verdict.co

    @property
    def unsettled(self) -> bool:
        """Whether the last probes disagree with those before, and too few of them to count.

        So it is after a suspect probe, until enough in a row look collapsed or healthy; while a broken training seems
        to recover; and when a network that had learned guesses.
        """
        confirm = self.detector.confirm
        if self.verdict.co:
            recovered = self.verdict.state is TrialState.RECOVERED
            return -confirm < self._recovering < 0 if recovered else 0 < self._recovering < confirm
        return self.suspect or self._settling > 0 or (self._learned and 0 < self._guessing < confirm)

    @property
    def suspects(self) -> int:
        """How many probes in a row, up to the last, looked collapsed."""
        return len(self._suspects)

    def provisional(self) -> Verdict:
        """The verdict that the suspects would give if they were enough."""
        return self._confirmed()

    def collapsed(self, probe: ProbeMetrics) -> bool:
        """Whether a probe looks collapsed beside the healthy probes read so far; remembers nothing."""
        return self.detector.collapsed(probe, self._past)

    def update(self, probe: ProbeMetrics) -> Verdict:
        """Read the next probe and say what the curve shows so far."""
        if _not_a_number(probe) or self._not_a_number:
            self._not_a_number = True  # no training comes back from that
            self.verdict = replace(self.verdict, state=TrialState.DIVERGED)
            return self.verdict
        guesses = self._past.guesses(probe)
        self._learned |= not guesses
        self._guessing = self._guessing + 1 if guesses else 0
        if self.verdict.co:
            return self._after_co(probe)
        if self.collapsed(probe):
            self._suspects.append(probe)
            if self.suspects >= self.detector.confirm:
                self.verdict = self._confirmed()
            return self.verdict
        self._settling = self.detector.confirm - 1 if self._suspects else max(0, self._settling - 1)
        self._suspects.clear()
        self._past.add(probe)
        self.verdict = Verdict(self._state())
        return self.verdict

    def _confirmed(self) -> Verdict:
        onset = self._suspects[0]
        low = self._past.healthy[-1].step if self._past.healthy else 0
        return Verdict(TrialState.CO, onset.step, low, onset.step, self.detector.reason(onset, self._past))

    def _after_co(self, probe: ProbeMetrics) -> Verdict:
        recovers = (
            self._past.robust(probe)
            and not self.collapsed(probe)
            and probe.pgd_acc >= RECOVERED_OF_BEST * self._past.best_pgd
            and probe.pgd_acc >= RECOVERED_OF_FGSM * probe.fgsm_acc
        )
        self._recovering = max(self._recovering, 0) + 1 if recovers else min(self._recovering, 0) - 1
        if self._fell_to_chance:
            self.verdict = replace(self.verdict, state=TrialState.DIVERGED)
        elif self._recovering >= self.detector.confirm:
            self.verdict = replace(self.verdict, state=TrialState.RECOVERED)
        elif self._recovering <= -self.detector.confirm:
            self.verdict = replace(self.verdict, state=TrialState.CO)
        return self.verdict

    @property
    def _fell_to_chance(self) -> bool:
        """Whether the model guesses again; one that never learned did not fall."""
        return self._learned and self._guessing >= self.detector.confirm

    def _state(self) -> TrialState:
        """State of a curve without CO."""
        if self._fell_to_chance:
            return TrialState.DIVERGED
        return TrialState.HEALTHY if self._past.best_pgd > 0 else TrialState.NOT_ROBUST


def _not_a_number(probe: ProbeMetrics) -> bool:
    return any(map(math.isnan, (probe.clean_acc, probe.fgsm_acc, probe.pgd_acc)))
