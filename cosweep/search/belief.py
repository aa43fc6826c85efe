"""What answers say of P(CO) over a space: the same for every strategy, from the answers alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cosweep.search.axes import SEED, Axis, Point, numbers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_ANSWERS = 600
"""Of more answers a sample that is spread over all of them is used: the time grows with their third power."""
_EARLIEST = -2.5
"""Log share of the training below which a breaking point tells no more: deep inside, all break at once."""
_LENGTHS = (0.1, 0.18, 0.32, 0.56, 1.0)
_SPREADS = (0.8, 1.6, 3.2)
_NOISES = (0.15, 0.3, 0.6, 1.2)
_SHARED = (0.2, 0.5, 0.8)
_MOST_ROUNDS = 50
_CONVERGED = 1e-6
_CONVERGED_SITE = 1e-2
_SMALL = 1e-9
_LOG_ROOT = math.log(2 * math.pi) / 2


@dataclass(frozen=True)
class Answer:
    """What a trial at a point showed.

    Attributes:
        point: Where.
        co: Whether it broke; None if it neither broke nor stayed healthy.
        co_step: Its breaking point; None without one.
        total_steps: Steps of the whole training.
        values: Of the columns that the strategy wants; None if it wants none, or the trial failed.
    """

    point: Point
    co: bool | None
    co_step: int | None = None
    total_steps: int | None = None
    values: Mapping[str, Any] | None = None

    @property
    def share(self) -> float | None:
        """Share of the training after which it broke; None if it did not, or nobody knows."""
        return self.co_step / self.total_steps if self.co and self.co_step and self.total_steps else None


@dataclass(frozen=True)
class Smoothness:
    """How the latent time to the breaking point varies over the space.

    Attributes:
        lengths: Fraction of each numeric axis over which it changes.
        spread: Its standard deviation over the space, in units of the log of the training.
        noise: Its standard deviation between seeds.
        shared: Correlation of places that differ in their categories alone.
    """

    lengths: tuple[float, ...]
    spread: float = 1.6
    noise: float = 0.3
    shared: float = 0.5

    def log_prior(self) -> float:
        """Log density, up to a constant, of broad log-normal distributions around what is usual."""
        lengths = sum(math.log(length / 0.32) ** 2 / 0.7 for length in self.lengths)
        return -(lengths + math.log(self.spread / 1.6) ** 2 / 1.0 + math.log(self.noise / 0.3) ** 2 / 1.0) / 2


class Belief:
    """A Gaussian process over the log of the time to the breaking point, in trainings.

    A seed breaks where its time, the process plus the seeds' noise, is below the training's length: P(CO) is the
    probability of that. A trial that broke is an observation of its time; one that stayed healthy is censored at
    the end of the training (a Tobit model); one that broke at an unknown time is censored the other way. The latest
    breaking points count as breaking at the line, so that a space whose trainings never break in their last third
    has no step in it. The kernel's parameters are those of the highest marginal likelihood on a lattice, by
    Laplace's method and with a broad prior; the posterior is then refined by expectation propagation (Rasmussen and
    Williams 2006, sections 3.4 and 3.6).

    Numeric axes run from 0 to 1, ``loguniform`` ones by their logarithm; the values of other axes share what places
    have in common. The axis ``seed`` counts repeats.

    Args:
        axes: Of the space.
        answers: What trials showed; those that are neither broken nor healthy say nothing.
    """

    def __init__(self, axes: Sequence[Axis], answers: Sequence[Answer]) -> None:
        import numpy as np

        self.axes = [axis for axis in axes if axis.path != SEED]
        self._numeric = [is_numeric(axis) for axis in self.axes]
        told = sorted((answer for answer in answers if answer.co is not None), key=_order)
        if len(told) > MOST_ANSWERS:
            told = [told[i * len(told) // MOST_ANSWERS] for i in range(MOST_ANSWERS)]
        shares = [answer.share for answer in told if answer.share]
        both = len({answer.co for answer in told}) == 2
        # Few trials are near the line: the fewer broke, the further from it the latest of them may be.
        latest = self.latest = 1 - (1 - max(shares)) * len(shares) / (len(shares) + 1) if both and shares else 1.0
        self._x, self._labels = self._coordinates([answer.point for answer in told])
        # +1: later than the end, -1: earlier at an unknown time, 0: at a known time.
        self._side = np.array([0 if a.share else -1 if a.co else 1 for a in told], float)
        self._time = np.array([max(_EARLIEST, math.log(a.share / latest)) if a.share else 0.0 for a in told])
        self.smoothness = Smoothness((0.32,) * sum(self._numeric))
        if told:
            self._fit = self._posterior(self.smoothness)
        if both:  # else the smoothest one would always do
            self._choose()
        if told:
            self._fit = self._refined(self._fit)

    def p_co(self, points: Sequence[Point]) -> list[float]:
        """P(CO) over seeds at some points: 1/2 where nothing is known."""
        from scipy.special import ndtr

        if not points:
            return []
        mean, variance = self.latent(points)
        return [float(p) for p in ndtr(-mean / (variance + self.smoothness.noise**2) ** 0.5)]

    def latent(self, points: Sequence[Point]) -> tuple[Floats, Floats]:
        """Mean and variance of the log time to the breaking point, without the seeds' noise."""
        import numpy as np

        means, variances = [], []
        for first in range(0, len(points), 500):  # memory grows with the square of their number
            mean, covariance = self.joint(points[first : first + 500])
            means.append(mean)
            variances.append(np.diag(covariance))
        return np.concatenate(means), np.concatenate(variances)

    def joint(self, points: Sequence[Point]) -> tuple[Floats, Floats]:
        """Mean (points,) and covariance (points, points) of the log time to the breaking point at some points."""
        import numpy as np
        from scipy.linalg import solve_triangular

        x, labels = self._coordinates(points)
        prior = self._kernel(x, labels, x, labels, self.smoothness)
        if not len(self._side):
            return np.zeros(len(points)), prior
        fit = self._fit
        across = self._kernel(x, labels, self._x, self._labels, self.smoothness)
        shrunk = solve_triangular(fit.cholesky, fit.root[:, None] * across.T, lower=True)
        return across @ fit.weights, prior - shrunk.T @ shrunk

    def _choose(self) -> None:
        """Take the kernel's parameters one by one to where the marginal likelihood is highest, until none moves."""
        best = self.smoothness
        for _ in range(4):
            before = best
            options: list[list[Smoothness]] = [
                [replace(best, lengths=(*best.lengths[:i], length, *best.lengths[i + 1 :])) for length in _LENGTHS]
                for i in range(len(best.lengths))
            ]
            options += [
                [replace(best, noise=noise) for noise in _NOISES],
                [replace(best, spread=spread) for spread in _SPREADS],
                [replace(best, shared=shared) for shared in _SHARED] if not all(self._numeric) else [],
            ]
            for group in options:
                for option in group:
                    changed = {name: value for name, value in vars(option).items() if value != vars(before)[name]}
                    one = replace(best, **changed)
                    if one != best and (fit := self._posterior(one)).evidence > self._fit.evidence + _SMALL:
                        best, self._fit = one, fit
            if best == before:
                break
        self.smoothness = best

    def _posterior(self, smoothness: Smoothness) -> _Fit:
        """The process at the answers by Laplace's method: Newton's iteration, whose likelihood is log-concave."""
        import numpy as np
        from scipy.linalg import cho_solve, cholesky
        from scipy.special import log_ndtr

        kernel = self._kernel(self._x, self._labels, self._x, self._labels, smoothness)
        known, side, noise = self._side == 0, self._side, smoothness.noise

        def log_likelihood(time: Floats) -> Floats:
            exact = -(((self._time - time) / noise) ** 2) / 2 - math.log(noise) - _LOG_ROOT
            each: Floats = np.where(known, exact, log_ndtr(side * time / noise))
            return each

        time, weights = np.zeros(len(side)), np.zeros(len(side))
        objective = log_likelihood(time).sum()
        for _ in range(_MOST_ROUNDS):
            z = side * time / noise
            ratio = np.exp(-(z**2) / 2 - _LOG_ROOT - log_ndtr(z))
            slope = np.where(known, (self._time - time) / noise**2, side * ratio / noise)
            precision = np.where(known, 1.0, np.maximum(ratio * (z + ratio), _SMALL)) / noise**2
            root = np.sqrt(precision)
            lower = cholesky(np.eye(len(root)) + root[:, None] * kernel * root, lower=True)
            wanted = precision * time + slope
            step = wanted - root * cho_solve((lower, True), root * (kernel @ wanted)) - weights
            gain = 0.0
            for share in (1.0, 0.5, 0.25, 0.1, 0.01):
                moved = weights + share * step
                at = kernel @ moved
                if (gain := log_likelihood(at).sum() - moved @ at / 2 - objective) >= 0:
                    time, weights, objective = at, moved, objective + gain
                    break
            if gain < _CONVERGED:
                break
        evidence = objective - np.log(np.diag(lower)).sum()
        return _Fit(root, lower, weights, precision, wanted, float(evidence) + smoothness.log_prior())

    def _refined(self, start: _Fit) -> _Fit:
        """The posterior with the moments of the true one (expectation propagation), from Laplace's, which is its mode.

        Where all answers agree, the mode is far nearer to the line than the mean is.
        """
        import numpy as np
        from scipy.linalg import cho_solve, cholesky, solve_triangular
        from scipy.special import log_ndtr

        kernel = self._kernel(self._x, self._labels, self._x, self._labels, self.smoothness)
        censored, side, noise = self._side != 0, self._side, self.smoothness.noise**2
        precision, shift = start.precision, start.shift
        damping, before = 0.5, np.inf
        for _ in range(_MOST_ROUNDS):
            root = np.sqrt(precision)
            lower = cholesky(np.eye(len(root)) + root[:, None] * kernel * root, lower=True)
            shrunk = solve_triangular(lower, root[:, None] * kernel, lower=True)
            variance = np.maximum(np.diag(kernel) - (shrunk**2).sum(0), _SMALL)
            weights = shift - root * cho_solve((lower, True), root * (kernel @ shift))
            mean = kernel @ weights
            cavity = np.maximum(1 / variance - precision, _SMALL)
            centre = (mean / variance - shift) / cavity
            width = np.sqrt(noise + 1 / cavity)
            z = side * centre / width
            ratio = np.exp(-(z**2) / 2 - _LOG_ROOT - log_ndtr(z))
            new_mean = centre + side * ratio / (cavity * width)
            new_variance = 1 / cavity - ratio * (z + ratio) / (cavity * width) ** 2
            new_precision = np.maximum(1 / np.maximum(new_variance, _SMALL) - cavity, _SMALL)
            new_shift = new_mean * (new_precision + cavity) - centre * cavity
            moved = float(np.where(censored, np.abs(new_precision - precision) / (precision + 1), 0.0).max())
            if moved < _CONVERGED_SITE:
                break
            damping = damping / 2 if moved > before else damping
            before = moved
            precision = precision + np.where(censored, damping * (new_precision - precision), 0.0)
            shift = shift + np.where(censored, damping * (new_shift - shift), 0.0)
        return replace(start, root=root, cholesky=lower, weights=weights)

    def _kernel(self, x: Floats, labels: Floats, others: Floats, other_labels: Floats, by: Smoothness) -> Floats:
        import numpy as np

        scaled, other = (np.asarray(some) / by.lengths if by.lengths else some for some in (x, others))
        distance: Floats = ((scaled[:, None, :] - other[None, :, :]) ** 2).sum(-1)
        differ = (labels[:, None, :] != other_labels[None, :, :]).sum(-1)
        result: Floats = by.spread**2 * np.exp(-distance / 2) * by.shared**differ
        return result

    def _coordinates(self, points: Sequence[Point]) -> tuple[Floats, Floats]:
        """(points, numeric axes) in [0, 1], and (points, other axes) as numbers of their values."""
        import numpy as np

        x = np.empty((len(points), sum(self._numeric)))
        labels = np.empty((len(points), len(self.axes) - sum(self._numeric)))
        for column, axis in zip(x.T, self._of(numeric=True), strict=True):
            column[:] = position(axis, [point[axis.path] for point in points])
        for column, axis in zip(labels.T, self._of(numeric=False), strict=True):
            number = {json.dumps(value, sort_keys=True): i for i, value in enumerate(axis.values)}
            column[:] = [number.get(json.dumps(point[axis.path], sort_keys=True), -1) for point in points]
        return x, labels

    def _of(self, *, numeric: bool) -> list[Axis]:
        return [axis for axis, is_one in zip(self.axes, self._numeric, strict=True) if is_one == numeric]


@dataclass(frozen=True)
class _Fit:
    """A posterior: what predicts from it, and the log of the marginal likelihood with the prior of the kernel."""

    root: Floats
    cholesky: Floats
    weights: Floats
    precision: Floats
    shift: Floats
    evidence: float


def is_numeric(axis: Axis) -> bool:
    """Whether values of an axis lie on a line, so that something is known between them."""
    return axis.path != SEED and numbers_of(axis.values) is not None


def position(axis: Axis, values: Sequence[Any]) -> list[float]:
    """Where values of a numeric axis lie between its ends: 0 to 1."""
    numbers, ends = numbers_of(values), numbers_of(axis.values)
    assert numbers is not None
    assert ends is not None
    if axis.kind == "loguniform":
        numbers, ends = list(map(math.log, numbers)), list(map(math.log, ends))
    low, width = min(ends), (max(ends) - min(ends)) or 1.0
    return [(number - low) / width for number in numbers]


def _order(answer: Answer) -> str:
    return json.dumps([answer.point, answer.co, answer.co_step], sort_keys=True)
