"""What a worker tells the driver of its trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from cosweep.metrics import TrialStatus
from cosweep.training import TrialRun


class Phase(StrEnum):
    """Where a trial is.

    Attributes:
        RUNNING: It is being trained or evaluated.
        HELD: It has not begun, since the results location gives trouble.
        WAITING: It has ended, and its rows cannot be written yet.
        OUT_OF_MEMORY: It did not fit beside others; it is to run again, alone.
        RETIRING: It has not begun: the process holds memory of earlier trials, and ends to give it back.
        ENDED: It has its row.
    """

    RUNNING = "running"
    HELD = "held"
    WAITING = "waiting"
    OUT_OF_MEMORY = "out_of_memory"
    RETIRING = "retiring"
    ENDED = "ended"


@dataclass(frozen=True)
class Event:
    """One report of a worker.

    Attributes:
        phase: Where the trial is.
        problem: What went wrong, in words; empty if nothing did.
        trained: Fraction of the training that is done; None where the worker does not know it.
        co: Whether the detector has found CO.
        status: How the trial ended; None before that.
    """

    phase: Phase
    problem: str = ""
    trained: float | None = None
    co: bool = False
    status: TrialStatus | None = None

    @classmethod
    def of(cls, run: TrialRun, phase: Phase = Phase.RUNNING, problem: str = "") -> Event:
        """How far a run is; its training's length is not known before the first probe."""
        return cls(phase, problem, run.steps / run.total_steps if run.total_steps else 0.0, run.verdict.co)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as Ray carries it."""
        return asdict(self) | {"phase": str(self.phase), "status": None if self.status is None else str(self.status)}

    @classmethod
    def from_dict(cls, result: Mapping[str, Any]) -> Event:
        """The event of :meth:`to_dict`, beside which Ray puts entries of its own."""
        given = {field.name: result[field.name] for field in fields(cls)}
        status = given["status"]
        return cls(
            **given | {"phase": Phase(given["phase"]), "status": None if status is None else TrialStatus(status)}
        )
