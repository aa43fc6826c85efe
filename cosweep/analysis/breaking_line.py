"""The breaking line: where P(CO) crosses 1/2 over the axes of a sweep, and how surely it lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Direction = Literal["up", "down"]

MOST_POSITIONS = 16
"""Distinct values up to which an axis is a grid."""

_LOG_RATIO = 20.0
_FEWEST_TRIALS = 4
MESH_POINTS = 41
_POINTS_OF_ROW = 201
_QUARTILES = (0.25, 0.5, 0.75)
_RIDGE = 1000.0  # C of scikit-learn, the inverse of twice the ridge
MARGIN = 0.5
_SURE = 50.0


@dataclass(frozen=True)
class Scale:
    """An axis as it is fitted and drawn.

    Attributes:
        kind: ``positions`` for a grid: 0, 1, ... at its sorted values, straight between them, since a grid's values are
            spaced by what they are expected to change. With more than 16 values ``log`` (base 10) if they are
            positive and span more than a factor of 20, else ``linear``.
        values: The distinct values, sorted, in the axis's units.
    """

    kind: Literal["positions", "linear", "log"]
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """The scale that suits these values."""
        distinct = tuple(sorted({float(value) for value in values}))
        if len(distinct) <= MOST_POSITIONS:
            return cls("positions", distinct)
        wide = distinct[0] > 0 and distinct[-1] / distinct[0] > _LOG_RATIO
        return cls("log" if wide else "linear", distinct)

    def to_position(self, value: float) -> float:
        """Coordinate of a value; on a grid, a value beyond an end has that of the end."""
        if self.kind == "positions":
            return float(np.interp(value, self.values, np.arange(len(self.values))))
        return float(np.log10(value)) if self.kind == "log" else float(value)

    def to_value(self, position: float) -> float:
        """Value at a coordinate; on a grid, beyond an end it is that of the end."""
        if self.kind == "positions":
            return float(np.interp(position, np.arange(len(self.values)), self.values))
        return float(10.0**position) if self.kind == "log" else float(position)

    def steps(self, count: int, margin: float = 0.0) -> Floats:
        """Even coordinates from the least to the largest value; on a grid, ``margin`` further at both ends."""
        margin = margin if self.kind == "positions" else 0.0
        low, high = self.to_position(self.values[0]), self.to_position(self.values[-1])
        return np.linspace(low - margin, high + margin, count)


@dataclass(frozen=True)
class Crossing:
    """Where P(CO) crosses 1/2 along the x axis.

    Attributes:
        row: Value of the y axis; None with one axis.
        direction: ``up``: training breaks above; ``down``: it holds above.
        value: Of the x axis, in its units.
        low, high: Percentile interval (95 %) over the resamples, in the same units. A resample whose crossing is not
            between the ends of the axis counts as at the end that it lies beyond: an interval that reaches an end is
            open there.
        share: Of the resamples, how many cross between the ends of the axis; a fraction.
    """

    row: float | None
    direction: Direction
    value: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class BreakingLine:
    """P(CO) over one axis or two, as fitted to the trials and to resamples of them.

    Attributes:
        x_scale, y_scale: The axes; y_scale is None with one axis.
        x, y: Coordinates of a mesh, on these scales; y is (0.0,) with one axis.
        probability: P(CO) on the mesh, a row for each y; the line is where it is 1/2.
        share: Of the resamples, how many have P(CO) >= 1/2 there, a fraction. Where it is from 0.025 to 0.975 the
            resamples do not agree on the side: the 95 % band of the line, at each point by itself.
        crossings: Where the line crosses each value of a grid's y axis, or the quartiles of another's.
        resampled: Whether ``share`` is over resamples, with their noise, and not a probability that was computed.
    """

    x_scale: Scale
    y_scale: Scale | None
    x: tuple[float, ...]
    y: tuple[float, ...]
    probability: tuple[tuple[float, ...], ...]
    share: tuple[tuple[float, ...], ...]
    crossings: tuple[Crossing, ...]
    resampled: bool = True


def breaking_line(
    x: Sequence[float], y: Sequence[float] | None, broken: Sequence[bool], resamples: int = 200, seed: int = 0
) -> BreakingLine | None:
    """The line P(CO) = 1/2 by logistic regression, with a bootstrap band.

    The logit of P(CO) is a polynomial of second degree in the scaled axes, with their product, so that training may
    break between two values only; an axis of two values has no square. A weak ridge (1 / 2000 of the squared
    coefficients of standardised terms) keeps it finite where the outcomes are separated; the line is then about midway.

    The band comes from the pairs bootstrap over trials (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapters 9 and 13). One trial at a random place of the mesh, with a random outcome, is added to each resample, as
    the proper Bayesian bootstrap adds draws from a vague prior (Muliere and Secchi, Ann. Inst. Stat. Math. 48:663,
    1996). For where outcomes are separated, nothing says where between two values the line is: without that trial the
    95 % interval of a crossing held it in 28 to 89 % of simulated sweeps of 8 to 80 trials, with it in 87 to 100 %. A
    resample in which all outcomes are equal has P(CO) 0 or 1 everywhere.

    Args:
        x: Value of the axis across, of each trial.
        y: Value of the axis up, of each trial; None, or a single value, for one axis.
        broken: Whether each trial broke; leave out trials that do not say.
        resamples: Fits for the band, at least one.
        seed: Of the resampling; the same seed gives the same band.

    Returns:
        The line; None where none can be found: all outcomes are equal, there are fewer than four trials, or x has a
        single value. It may be empty: a mesh on one side of 1/2, and no crossings.

    Raises:
        ValueError: If the sequences differ in length, or a value is not finite.
    """
    from scipy.special import expit

    if len(broken) < _FEWEST_TRIALS or len({bool(b) for b in broken}) < 2 or len(set(x)) < 2:
        return None
    axes = [x] if y is None or len(set(y)) < 2 else [x, y]
    scales = [Scale.of(values) for values in axes]
    columns = [[scale.to_position(value) for value in values] for scale, values in zip(scales, axes, strict=True)]
    places = np.array(list(zip(*columns, strict=True)))
    fits = _fit(places, np.array(broken, dtype=bool), scales, resamples, seed)
    x_scale, y_scale = scales[0], scales[1] if len(scales) > 1 else None
    mesh_x = x_scale.steps(MESH_POINTS, MARGIN)
    mesh_y = np.zeros(1) if y_scale is None else y_scale.steps(MESH_POINTS, MARGIN)
    logits = fits.logits(mesh_x, mesh_y)
    return BreakingLine(
        x_scale,
        y_scale,
        tuple(mesh_x.tolist()),
        tuple(mesh_y.tolist()),
        _rows(expit(logits[0])),
        _rows((logits[1:] >= 0).mean(axis=0)),
        tuple(crossing for row in crossed_rows(y_scale, y) for crossing in crossings(fits, x_scale, y_scale, row)),
    )


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


@dataclass(frozen=True)
class _Fits:
    """The logit of P(CO), fitted to the trials (first) and to R resamples.

    Attributes:
        terms: Pipeline from places (N, axes) to the terms of the polynomial (N, T).
        coefficients: (1 + R, T).
        intercepts: (1 + R,).
    """

    terms: Any
    coefficients: Floats
    intercepts: Floats

    def logits(self, x: Floats, y: Floats) -> Floats:
        """(1 + R, len(y), len(x)) on the mesh of these coordinates; y is not looked at with one axis."""
        places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)[:, : self.terms.n_features_in_]
        terms: Floats = self.terms.transform(places)
        logits = self.coefficients @ terms.T + self.intercepts[:, None]
        return logits.reshape(-1, len(y), len(x))


def _fit(places: Floats, broken: Bools, scales: list[Scale], resamples: int, seed: int) -> _Fits:
    from sklearn import config_context

    # Equal trials are pooled to one row with a weight: a fit costs as much as there are cells, however many trials.
    pooled, counts = np.unique(np.column_stack([places, broken]), axis=0, return_counts=True)
    terms = _terms([len(scale.values) for scale in scales])
    design, outcome = terms.fit_transform(pooled[:, :-1]), pooled[:, -1] > 0
    random = np.random.default_rng(seed)
    draws = random.multinomial(len(broken), counts / len(broken), size=resamples)
    low, high = np.array([scale.steps(2, MARGIN) for scale in scales]).T
    added = terms.transform(random.uniform(low, high, (resamples, len(scales))))
    coins = random.random(resamples) < 0.5
    with config_context(assume_finite=True, skip_parameter_validation=True):  # checks take half the time of small fits
        fits = [_regression(design, outcome, counts)] + [
            _regression(np.vstack([design, row]), np.append(outcome, coin), np.append(weights, 1))
            for weights, row, coin in zip(draws, added, coins, strict=True)
        ]
    return _Fits(terms, np.array([coefficients for coefficients, _ in fits]), np.array([level for _, level in fits]))


def _terms(values: list[int]) -> Any:
    """Pipeline from places to the terms of the polynomial; ``values`` counts the distinct values of each axis."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    quadratic = PolynomialFeatures(2, include_bias=False)
    powers = quadratic.fit(np.zeros((1, len(values)))).powers_
    kept = [i for i, power in enumerate(powers) if all(p < 2 or n > 2 for p, n in zip(power, values, strict=True))]
    return make_pipeline(StandardScaler(), quadratic, ColumnTransformer([("kept", "passthrough", kept)]))


def _regression(design: Floats, outcome: Bools, weights: NDArray[np.int64]) -> tuple[Floats, float]:
    """Coefficients and intercept."""
    from sklearn.linear_model import LogisticRegression

    drawn = weights > 0
    if len(set(outcome[drawn].tolist())) < 2:
        return np.zeros(design.shape[1]), _SURE if outcome[drawn][0] else -_SURE
    regression = LogisticRegression(C=_RIDGE, solver="newton-cholesky")
    regression.fit(design[drawn], outcome[drawn], sample_weight=weights[drawn])
    return regression.coef_[0], float(regression.intercept_[0])


class Fits(Protocol):
    """A fit to the trials, and others that it might have been."""

    def logits(self, x: Floats, y: Floats) -> Floats:
        """(1 + R, len(y), len(x)) on the mesh of these coordinates: what is positive where P(CO) is above 1/2."""


def crossed_rows(y_scale: Scale | None, y: Sequence[float] | None) -> list[float | None]:
    """Rows along which crossings are told: all of a grid, or the quartiles of the trials' values."""
    if y_scale is None or y is None:
        return [None]
    if y_scale.kind == "positions":
        return list(y_scale.values)
    return [float(value) for value in np.quantile(y, _QUARTILES)]


def crossings(fits: Fits, x_scale: Scale, y_scale: Scale | None, row: float | None) -> list[Crossing]:
    """Crossings along one row, from left to right: the first up and the first down."""
    x = x_scale.steps(_POINTS_OF_ROW)
    height = 0.0 if y_scale is None or row is None else y_scale.to_position(row)
    logits = fits.logits(x, np.array([height]))[:, 0]
    breaks = np.asarray(logits >= 0, dtype=np.bool_)
    found = []
    directions: tuple[Direction, ...] = ("up", "down")
    for direction in directions:
        left, right = breaks[:, :-1], breaks[:, 1:]
        change: Bools = ~left & right if direction == "up" else left & ~right
        crosses: Bools = np.asarray(change.any(axis=1))
        if crosses[0]:
            positions = np.where(crosses, _zeros(x, logits, change), _beyond(x, breaks, direction))
            low, high = np.quantile(positions[1:], (0.025, 0.975))
            value, low, high = (x_scale.to_value(position) for position in (positions[0], low, high))
            found.append(Crossing(row, direction, value, low, high, float(crosses[1:].mean())))
    return sorted(found, key=lambda crossing: crossing.value)


def _zeros(x: Floats, logits: Floats, change: Bools) -> Floats:
    """(1 + R,) where each fit changes sign, by linear interpolation; of no meaning for one that does not."""
    fit, left = np.arange(len(logits)), change.argmax(axis=1)
    before, after = logits[fit, left], logits[fit, left + 1]
    part = np.divide(before, before - after, out=np.zeros_like(before), where=before != after)
    zeros: Floats = x[left] + part * (x[left + 1] - x[left])
    return zeros


def _beyond(x: Floats, breaks: Bools, direction: Direction) -> Floats:
    """(1 + R,) end of the axis beyond which the crossing lies of a fit that has none between the ends."""
    gap = breaks[0, 0] and breaks[0, -1]  # training holds between two regions that break: the ends swap their parts
    at_end = breaks[:, 0] if (direction == "up") != gap else breaks[:, -1]
    ends: Floats = np.where(at_end == (direction == "up"), x[0], x[-1])
    return ends
