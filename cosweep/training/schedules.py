"""Learning-rate schedules: fraction of training done to fraction of the largest rate."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[float, float], float]


def triangular(done: float, peak: float) -> float:
    """Linear from 0 to 1 at ``peak`` and back to 0 ("cyclic" in the papers' code, peak 1/2 or 2/5).

    The papers' code takes it at the start or the end of a step, the trainer in the middle: half a step apart.
    """
    if done < peak:
        return done / peak
    return (1 - done) / (1 - peak) if peak < 1 else 1.0


def multistep(done: float, peak: float) -> float:
    """1, divided by ten at one half and again at three quarters of training.

    In the code of Ortiz-Jimenez et al. a milestone that is no whole number of steps never comes: in 30 epochs of 391
    steps the rate stays at 0.1 to the end.
    """
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def constant(done: float, peak: float) -> float:
    """Always 1."""
    return 1.0


SCHEDULES: dict[str, Schedule] = {
    "triangular": triangular,
    "multistep": multistep,
    "constant": constant,
}
