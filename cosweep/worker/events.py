"""What a worker tells the driver of its trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from cosweep.metrics import TrialState, TrialStatus
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
        state: State of the trial by its curve; None where the worker does not know it.
        co_step: Its breaking point; None while it has none.
        total_steps: Steps of the whole training; None where the worker does not know them.
        status: How the trial ended; None before that.
    """

    phase: Phase
    problem: str = ""
    trained: float | None = None
    state: TrialState | None = None
    co_step: int | None = None
    total_steps: int | None = None
    status: TrialStatus | None = None

    @classmethod
    def of(cls, run: TrialRun, phase: Phase = Phase.RUNNING, problem: str = "") -> Event:
        """How far a run is; its training's length is not known before the first probe."""
        trained = run.steps / run.total_steps if run.total_steps else 0.0
        return cls(phase, problem, trained, run.verdict.state, run.verdict.co_step, run.total_steps or None)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Event:
        """The end of a trial, from its row of ``trials``."""
        state = None if row["state"] is None else TrialState(row["state"])
        return cls(
            Phase.ENDED,
            state=state,
            co_step=row["co_step"],
            total_steps=row["total_steps"],
            status=TrialStatus(row["status"]),
        )

    @property
    def co(self) -> bool | None:
        """Whether training broke; None if it neither broke nor is healthy."""
        if self.co_step is not None:
            return True
        return False if self.state is TrialState.HEALTHY else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as Ray carries it."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, result: Mapping[str, Any]) -> Event:
        """The event of :meth:`to_dict`, beside which Ray puts entries of its own."""
        kinds = {"phase": Phase, "state": TrialState, "status": TrialStatus}
        given = {field.name: result[field.name] for field in fields(cls)}
        read: dict[str, Any] = {name: kinds[name](given[name]) for name in kinds if given[name] is not None}
        return cls(**given | read)
