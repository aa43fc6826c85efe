"""What a detector says of a curve."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cosweep.metrics import TrialState


@dataclass(frozen=True)
class Verdict:
    """State of a trial's curve so far, and its breaking point if it has one.

    Attributes:
        state: What the curve shows.
        co_step: First step known to be collapsed; to the step after a replay, else ``co_step_high``.
        co_step_low: Last probe before the onset.
        co_step_high: First probe of the collapse; the breaking point lies in (low, high].
        co_reason: The numbers behind the verdict, in words.
    """

    state: TrialState
    co_step: int | None = None
    co_step_low: int | None = None
    co_step_high: int | None = None
    co_reason: str = ""

    @property
    def co(self) -> bool:
        """Whether catastrophic overfitting was found, recovered from or not."""
        return self.co_step is not None

    def to_dict(self) -> dict[str, object]:
        """Column name to value, ``co`` included."""
        return {**asdict(self), "state": str(self.state), "co": self.co}
