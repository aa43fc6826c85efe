"""The search for the step at which a training broke: the training again, from states that were kept on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cosweep.detection import CurveReader, Verdict
from cosweep.errors import CosweepError
from cosweep.metrics import ProbeMetrics
from cosweep.training.evaluation import Prober
from cosweep.training.train_metrics import TrainMeans
from cosweep.training.trainer import Trainer, digest_of

_MARK_EVERY, _MOST_MARKS = 11, 6
_FIRST_STEP_BACK = 8


class ReplayError(CosweepError):
    """A replay that left the trajectory it was to retrace."""


class Replay:
    """Finds a breaking point to the step, by halving the steps between a healthy probe and a collapsed one.

    It trains them again from states kept on the way. It looks near the collapsed probe first: where collapsed and
    healthy steps take turns at the onset, it finds a change near the last one.

    Attributes:
        healthy: Snapshot of the trainer at the last healthy probe; after :meth:`refine` at the last healthy step found.
        onset: Step and digest at the first suspect probe since; None without.
    """

    def __init__(self, trainer: Trainer, prober: Prober, reader: CurveReader) -> None:
        self.trainer, self.prober, self.reader = trainer, prober, reader
        self.healthy: dict[str, Any] = trainer.snapshot()
        self.onset: tuple[int, str] | None = None
        self._marks: list[dict[str, Any]] = []
        self._mark_every = _MARK_EVERY

    def state(self) -> dict[str, Any]:
        """What another process needs. The marks on the way only save time: the replay's answer is the same without."""
        return {"trainer": self.trainer.snapshot(), "healthy": self.healthy, "onset": self.onset}

    def resume(self, state: dict[str, Any], curve: Sequence[ProbeMetrics]) -> None:
        """Put trainer and reader where a state says they were after a curve's last probe."""
        self.trainer.restore(state["trainer"])
        self.healthy, self.onset = state["healthy"], state["onset"]
        for probe in curve:
            self.reader.update(probe)

    def mark(self) -> None:
        """Keep the present state if the last kept one is far enough back.

        Where there are too many, every second one goes and the distance doubles, so a few cover any stretch evenly.
        """
        last = self._marks[-1] if self._marks else self.healthy
        if self.onset is not None or self.reader.verdict.co or self.trainer.step - last["step"] < self._mark_every:
            return
        self._marks.append(self.trainer.snapshot())
        if len(self._marks) > _MOST_MARKS:
            self._marks = self._marks[1::2]
            self._mark_every *= 2

    def remember(self) -> None:
        """Keep the state at a healthy probe, or the trace to retrace at the first suspect one."""
        if not self.reader.suspect:
            self.healthy, self.onset = self.trainer.snapshot(), None
            self._marks, self._mark_every = [], _MARK_EVERY
        elif self.onset is None:
            self.onset = (self.trainer.step, self.trainer.digest())

    def refine(self, verdict: Verdict) -> Verdict:
        """Verdict with the first collapsed step after the last healthy one.

        Raises:
            ReplayError: If the replay does not retrace the trajectory bit for bit.
        """
        if self.onset is None:  # a detector that confirms at once: the onset is the present state
            self.onset = (self.trainer.step, self.trainer.digest())
        onset, digest = self.onset
        present = self.trainer.snapshot()
        marks = [self.healthy, *self._marks]
        first, back = onset, _FIRST_STEP_BACK
        while first - self.healthy["step"] > 1:
            step = max(first - back, (first + self.healthy["step"]) // 2)
            self._train_to(step, [self.healthy, *marks])
            if self.reader.collapsed(measured(self.trainer, self.prober)):
                first, back = step, 2 * back
            else:
                self.healthy = self.trainer.snapshot()
        known = {mark["step"]: digest_of(mark) for mark in marks if mark["step"] >= first} | {onset: digest}
        self._retrace(min(known), known[min(known)])
        self.trainer.restore(present)
        return replace(verdict, co_step=first)

    def settle(self, undecided: Verdict) -> Verdict:
        """Verdict on a training that ends under suspicion, with too few probes left to confirm it.

        The replay's steps count with the probes: CO if as many in a row look collapsed as a verdict takes, else the
        ``undecided`` verdict stays.
        """
        suspects = self.reader.suspects
        refined = self.refine(self.reader.provisional())
        dense = (refined.co_step_high or 0) - (refined.co_step or 0)
        return refined if suspects + dense >= self.reader.detector.confirm else undecided

    def _train_to(self, step: int, states: Sequence[dict[str, Any]]) -> None:
        """Train again to a step, from the nearest of the states."""
        self.trainer.restore(max((s for s in states if s["step"] <= step), key=lambda state: state["step"]))
        while self.trainer.step < step:
            self.trainer.advance()

    def _retrace(self, step: int, digest: str) -> None:
        """Train on from the last healthy step to one whose state is known, and compare."""
        self._train_to(step, [self.healthy])
        if self.trainer.digest() != digest:
            raise ReplayError(
                f"the replay of steps {self.healthy['step']}-{step} did not retrace the training; "
                "an operation of this model or method is not deterministic on this device"
            )


def measured(trainer: Trainer, prober: Prober, train: TrainMeans | None = None) -> ProbeMetrics:
    """Probe the trainer's model where it stands."""
    found = prober.measure(trainer.model)
    return ProbeMetrics(
        step=trainer.step,
        epoch=trainer.epoch,
        lr=trainer.lr,
        clean_acc=found.clean_acc,
        fgsm_acc=found.fgsm_acc,
        pgd_acc=found.pgd_acc,
        grad_cos=found.grad_cos,
        zero_grad_share=found.zero_grad_share,
        **(train._asdict() if train else {}),
    )
