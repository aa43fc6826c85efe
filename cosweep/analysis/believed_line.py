"""The breaking line as a boundary search believes it: from breaking points and censored times, not counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosweep.analysis.breaking_line import MARGIN, MESH_POINTS, BreakingLine, Floats, Scale, crossed_rows, crossings
from cosweep.search import Answer, Axis, Belief, Point

_DRAWS = 200
_JITTER = 1e-8
_X, _Y = "x", "y"


def believed_line(
    x: Sequence[float], y: Sequence[float] | None, broken: Sequence[bool], shares: Sequence[float | None]
) -> BreakingLine | None:
    """The line P(CO) = 1/2 of a :class:`cosweep.search.Belief` in the trials of one diagram.

    ``share`` of the line is the probability that training breaks there for at least half of the seeds; the intervals
    of crossings are over 200 draws from the belief.

    Args:
        x: Value of the axis across, of each trial.
        y: Value of the axis up, of each trial; None, or a single value, for one axis.
        broken: Whether each trial broke.
        shares: Share of the training after which it broke; None if it did not, or nobody knows.

    Returns:
        The line; None without trials that broke and others that did not, or where x has a single value.
    """
    from scipy.special import ndtr

    if len(set(broken)) < 2 or len(set(x)) < 2:
        return None
    y = None if y is None or len(set(y)) < 2 else y
    x_scale, y_scale = Scale.of(x), None if y is None else Scale.of(y)
    axes = [_axis(_X, x_scale), *([] if y_scale is None else [_axis(_Y, y_scale)])]
    told = zip(x, y or [0.0] * len(x), broken, shares, strict=True)
    # Only the share of the whole training counts: a training of a million steps stands for all.
    answers = [Answer(_point(*place), co, round(share * 10**6) if share else None, 10**6) for *place, co, share in told]
    fits = _Draws(Belief(axes, answers), x_scale, y_scale)
    mesh_x = x_scale.steps(MESH_POINTS, MARGIN)
    mesh_y = np.zeros(1) if y_scale is None else y_scale.steps(MESH_POINTS, MARGIN)
    mean, variance = fits.belief.latent(fits.points(mesh_x, mesh_y))
    shape = len(mesh_y), len(mesh_x)
    sure = ndtr(-mean / np.sqrt(np.maximum(variance, _JITTER))).reshape(shape)
    p_co = ndtr(-mean / np.sqrt(variance + fits.belief.smoothness.noise**2)).reshape(shape)
    return BreakingLine(
        x_scale,
        y_scale,
        tuple(mesh_x.tolist()),
        tuple(mesh_y.tolist()),
        tuple(map(tuple, p_co.tolist())),
        tuple(map(tuple, sure.tolist())),
        tuple(c for row in crossed_rows(y_scale, y) for c in crossings(fits, x_scale, y_scale, row)),
        resampled=False,
    )


@dataclass(frozen=True)
class _Draws:
    """A belief, and draws from it, at coordinates of a figure."""

    belief: Belief
    x_scale: Scale
    y_scale: Scale | None

    def points(self, x: Floats, y: Floats) -> list[Point]:
        """Points of the space at a mesh of coordinates; y changes slowest."""
        ups = [0.0 if self.y_scale is None else self.y_scale.to_value(up) for up in y.tolist()]
        return [_point(self.x_scale.to_value(across), up) for up in ups for across in x.tolist()]

    def logits(self, x: Floats, y: Floats) -> Floats:
        """(1 + draws, len(y), len(x)): what is positive where training breaks, of the mean and of each draw."""
        mean, covariance = self.belief.joint(self.points(x, y))
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        moves = np.random.default_rng(0).standard_normal((_DRAWS, len(mean))) @ root.T
        return -np.vstack([mean, mean + moves]).reshape(-1, len(y), len(x))


def _point(x: float, y: float) -> Point:
    return {_X: x, _Y: y}


def _axis(path: str, scale: Scale) -> Axis:
    return Axis(path, "loguniform" if scale.kind == "log" else "uniform", (scale.values[0], scale.values[-1]))
