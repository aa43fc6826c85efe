"""P(CO) over a space, from the answers alone: the same for every strategy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cosweep.search.axes import SEED, Axis, numbers_of

if TYPE_CHECKING:
    import numpy as np

_LENGTH = 0.25
"""Fraction of a numeric axis over which P(CO) changes; two values of another axis are two such lengths apart."""
_SPREAD = 2.0
"""Standard deviation of the logit of P(CO) before any answer."""


def p_co(
    axes: Sequence[Axis], answers: Sequence[tuple[Mapping[str, Any], bool]], points: Sequence[Mapping[str, Any]]
) -> list[float]:
    """What answers say of P(CO) at points.

    A Gaussian process over the logit of P(CO) (Rasmussen and Williams 2006, section 2.2), whose observations are the
    places of the space: their smoothed logits, with the variance that so many seeds leave (Haldane-Anscombe). Seeds
    are repeats. Numeric axes run from 0 to 1, ``loguniform`` ones by their logarithm; of other axes each value is a
    direction of its own, so that they share what they have in common.

    Args:
        axes: Of the space.
        answers: Points, and whether training broke there.
        points: Where to say it.

    Returns:
        A probability for each point: 1/2 where nothing is known.
    """
    import numpy as np
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    outer = [axis for axis in axes if axis.path != SEED]
    if not points:
        return []
    if not answers or not outer:
        return [(sum(co for _, co in answers) + 0.5) / (len(answers) + 1)] * len(points)
    places: dict[str, tuple[Mapping[str, Any], list[bool]]] = {}
    for point, co in answers:
        key = json.dumps([point[axis.path] for axis in outer])
        places.setdefault(key, (point, []))[1].append(co)
    broken = np.array([sum(seeds) + 0.5 for _, seeds in places.values()])
    healthy = np.array([len(seeds) + 1 for _, seeds in places.values()]) - broken
    process = GaussianProcessRegressor(
        ConstantKernel(_SPREAD**2) * RBF(_LENGTH), alpha=1 / broken + 1 / healthy, optimizer=None
    )
    process.fit(_coordinates(outer, [point for point, _ in places.values()]), np.log(broken / healthy))
    mean, deviation = process.predict(_coordinates(outer, points), return_std=True)
    # The mean of a logistic function over a normal distribution (MacKay 1992).
    return [float(p) for p in 1 / (1 + np.exp(-mean / np.sqrt(1 + math.pi * deviation**2 / 8)))]


def _coordinates(axes: Sequence[Axis], points: Sequence[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(points, columns): a column in [0, 1] for a numeric axis, one for each value of another."""
    import numpy as np

    columns: list[list[float]] = [[0.0] * len(points)]
    for axis in axes:
        ends = numbers_of(axis.values)
        values = numbers_of(point[axis.path] for point in points)
        if ends is None or values is None:
            names = [json.dumps(value) for value in axis.values]
            columns += [[_LENGTH * math.sqrt(2) * (json.dumps(p[axis.path]) == name) for p in points] for name in names]
            continue
        if axis.kind == "loguniform":
            ends, values = [list(map(math.log, some)) for some in (ends, values)]
        low, width = min(ends), (max(ends) - min(ends)) or 1.0
        columns.append([(value - low) / width for value in values])
    return np.array(columns).T
