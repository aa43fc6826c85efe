"""Learning-rate schedules: fraction of training done to fraction of the largest rate."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[float, float], float]


def triangular(done: float, peak: float) -> float:
    """Linear from 0 to 1 at ``peak`` and back to 0 ("cyclic" in the papers' code, peak 1/2 or 2/5)."""
    if done < peak:
        return done / peak
    return (1 - done) / (1 - peak) if peak < 1 else 1.0


def multistep(done: float, peak: float) -> float:
    """1, divided by ten at one half and again at three quarters of training."""
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def constant(done: float, peak: float) -> float:
    """Always 1."""
    return 1.0


SCHEDULES: dict[str, Schedule] = {
    "triangular": triangular,
    "multistep": multistep,
    "constant": constant,
}
