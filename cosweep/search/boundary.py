"""Asks where the answer would change most of what is believed of the breaking line."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cosweep.errors import Fault
from cosweep.search.axes import SEED, Axis, Point, numbers_of
from cosweep.search.base import SearchSpec, Strategy, key_of, place_of
from cosweep.search.belief import Answer, Belief, is_numeric
from cosweep.units import format_pixels
from cosweep.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SURE = 0.95
"""Probability with which nothing breaks anywhere, or everything does, when a search ends for that reason."""
_MOST_PLACES = 300
_MOST_ON_AN_AXIS = 64
_MOST_CATEGORIES = 50
_START_UP = 0.05
"""Cost of a trial that breaks at once, in whole trials: loading, the first probes, the final evaluation."""
_UNCLEAR = 0.25
"""Probability of a clear answer below which a place is left."""
_GOLDEN = 0.618034
_ON_THE_PIXEL_SCALE = ("epsilon", "beta", "alpha")
_FEWEST_UNCLEAR = 20
_LEAST_VARIANCE = 1e-9
_DEVIATIONS = 1.645
"""Of a normal distribution, within which it lies on one side with probability SURE."""


class Boundary(Strategy):
    """Asks where the answer is expected to tell most of where the line is, for what the trial costs.

    What a question tells is the variance that its answer is expected to take away from the belief, summed over the
    space and weighted by the density with which the line is there: targeted integrated mean squared error (Picheny et
    al., Adaptive designs of experiments for accurate approximation of a target region, J. Mech. Des. 132, 2010). A
    breaking point tells the time itself; that training stays healthy tells little where that is known. What a trial
    costs is the share of the training that is expected to run. Questions without an answer yet count as asked. The
    corners of the space come first.
    """

    options = frozenset({"trials", "tolerance"})

    def __init__(self, search: SearchSpec, axes: Sequence[Axis]) -> None:
        super().__init__(search, axes)
        self._numeric = [axis for axis in self.axes if is_numeric(axis)]
        self._others = [axis for axis in self.axes if axis.path != SEED and not is_numeric(axis)]
        self._seeds = next((axis for axis in self.axes if axis.path == SEED), None)
        self._rng = random.Random(search.seed)
        self._corners = list(_corners(self.axes))
        self._seeds_at: dict[str, set[str]] = {}
        self._belief: Belief | None = None
        self._unclear: Belief | None = None
        self._reason = ""
        self._has_news = True

    @classmethod
    def faults(cls, search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
        numeric = [axis for axis in axes if is_numeric(axis) and len(set(numbers_of(axis.values) or ())) > 1]
        if not numeric:
            yield Fault("space", "a boundary search needs an axis of at least two numbers, besides seed")
            return
        categories = math.prod(len(axis.values) for axis in axes if axis.path != SEED and not is_numeric(axis))
        if categories > _MOST_CATEGORIES:
            yield Fault(
                "space",
                f"has {categories:,} combinations of categories, a line each; at most {_MOST_CATEGORIES} may be",
            )
            return
        corners = categories * 2 ** sum(map(is_numeric, axes))
        if search.trials is None:
            yield Fault("search.trials", "missing; say how many trials a boundary search may ask for")
        elif search.trials < corners:
            yield Fault(
                "search.trials", f"must be at least {corners}, one for each corner of the space; got {search.trials}"
            )
        if search.tolerance is not None:
            yield from _tolerance_faults(search.tolerance, numeric[0])

    def ask(self, count: int = 1) -> list[Point]:
        points: list[Point] = []
        while len(points) < count and not self.done:
            point = self._next()
            if point is None:
                if not self._waiting:
                    self._reason = self._none_clear() or "no place is left where an answer is to be expected"
                break
            self.expect(point)
            points.append(point)
        return points

    def expect(self, point: Mapping[str, Any]) -> None:
        super().expect(point)
        self._note_seed(point)

    def _learn(self, answer: Answer) -> None:
        super()._learn(answer)
        self._note_seed(answer.point)
        self._belief = self._unclear = None
        self._has_news = True

    def withdraw(self, point: Mapping[str, Any]) -> None:
        super().withdraw(point)
        self._unclear = None
        self._has_news = True

    @property
    def done(self) -> bool:
        return bool(self.reason)

    @property
    def reason(self) -> str:
        spent = len(self._waiting) + len(self._answers)
        if not self._reason and spent >= (self.search.trials or 0):
            self._reason = f"the budget is spent: {counted(spent, 'trial was', 'trials were')} asked for"
        if not self._reason and self._has_news:
            self._has_news = False
            self._reason = self._why_done(spent)
        return self._reason

    def _why_done(self, spent: int) -> str:
        """Why the answers so far are enough; questions that wait for theirs do not keep it from its end."""
        if self._corners_left():
            return ""
        if spent >= _FEWEST_UNCLEAR and (text := self._none_clear()):
            return text
        if (everything := self._one_sided()) is not None:
            told = "training breaks everywhere" if everything else "nothing breaks"
            return f"{told}, at each place with a probability of at least {SURE:g}, after {counted(spent, 'trial')}"
        error = self.line_error()
        if self.search.tolerance is not None and error is not None and error <= self.search.tolerance:
            return f"{self.progress}, within search.tolerance, after {counted(spent, 'trial')}"
        return "" if any(map(self._is_free, self._lattice(0.5))) else "every seed of every place was asked for"

    def _none_clear(self) -> str:
        """That no answer says anything, in words; empty if one does."""
        if any(answer.co is not None for answer in self._answers.values()):
            return ""
        count = counted(len(self._answers), "trial")
        return f"none of {count} broke or stayed healthy: none ever was robust; train longer"

    @property
    def progress(self) -> str:
        error = self.line_error()
        path = self._numeric[0].path
        if error is None:
            return ""
        known = format_pixels(error) if path.rpartition(".")[2] in _ON_THE_PIXEL_SCALE else f"{error:.3g}"
        return f"the line is known to {known} of {path}"

    def line_error(self) -> float | None:
        """Expected distance between the believed line and the true one along the first numeric axis, in its unit.

        Where a row of the space has a line, its misclassified length is that distance; the mean is over the rows in
        which some place is not known with probability 0.95. None without an answer, and where all that is known is
        that there is no line.
        """
        import numpy as np

        if all(answer.co is None for answer in self._answers.values()) or self._one_sided() is not None:
            return None
        places, axis = self._clear_places(), self._numeric[0]
        rows: dict[str, list[float]] = {}
        for place, wrong in zip(places, _misclassified(*self._fitted().latent(places)), strict=True):
            rows.setdefault(key_of({**place, axis.path: None}), []).append(float(wrong))
        unsure = [float(np.mean(row)) for row in rows.values() if max(row) > 1 - SURE]
        low, high = _ends(axis)
        return float(np.mean(unsure)) * (high - low) if unsure else 0.0

    def _corners_left(self) -> list[Point]:
        known = self._withdrawn.keys() | self._seeds_at.keys()
        return [corner for corner in self._corners if place_of(corner) not in known]

    def _note_seed(self, point: Mapping[str, Any]) -> None:
        self._seeds_at.setdefault(place_of(point), set()).add(json.dumps(point.get(SEED)))

    def _is_free(self, place: Point) -> bool:
        """Whether a place has a seed that has not been asked for."""
        used = len(self._seeds_at.get(place_of(place), ()))
        if place_of(place) in self._withdrawn:
            return False
        if self._seeds is None:
            return used == 0
        low, high = self._seeds.values[0], self._seeds.values[-1]
        return used < (len(self._seeds.values) if self._seeds.kind == "grid" else int(high - low) + 1)

    def _with_seed(self, place: Point) -> Point:
        """A point at a place, with a seed that has not been asked for there."""
        if self._seeds is None:
            return place
        used = self._seeds_at.get(place_of(place), set())
        if self._seeds.kind == "grid":
            seed = self._rng.choice([value for value in self._seeds.values if json.dumps(value) not in used])
        else:
            seed = self._seeds.draw(self._rng)
            while json.dumps(seed) in used:
                seed = self._seeds.draw(self._rng)
        return _in_order(self.axes, {**place, SEED: seed})

    def _fitted(self) -> Belief:
        if self._belief is None:
            self._belief = Belief(self.axes, list(self._answers.values()))
        return self._belief

    def _one_sided(self) -> bool | None:
        """True if training breaks everywhere, False if nowhere, each as surely as is asked for; None else."""
        decided = {answer.co for answer in self._answers.values() if answer.co is not None}
        if len(decided) != 1:
            return None
        mean, variance = self._fitted().latent(self._clear_places())
        sign = -1 if True in decided else 1
        sure: bool = (sign * mean / variance**0.5).min() > _DEVIATIONS
        return (True in decided) if sure else None

    def _next(self) -> Point | None:
        if corners := self._corners_left():
            return self._with_seed(corners[0])
        places = list(filter(self._is_free, self._lattice(self._rng.random())))
        best = self._best(places) if places else None
        return None if best is None else self._with_seed(places[best])

    def _best(self, places: list[Point]) -> int | None:
        """Number of the place where a question is worth most for what it costs; None if nowhere anything."""
        import numpy as np

        belief, waiting = self._fitted(), list(self._waiting.values())
        mean, covariance = belief.joint([*places, *waiting])
        noise = belief.smoothness.noise**2
        for one in range(len(places), len(places) + len(waiting)):  # their answers narrow the belief, whatever they are
            outlook = Outlook(mean[[one]], covariance[[one], [one]], noise)
            across = covariance[one] / outlook.deviation
            covariance = covariance - outlook.told * np.outer(across, across)
        count = len(places)
        mean, covariance = mean[:count], covariance[:count, :count]
        variance = np.maximum(np.diag(covariance), _LEAST_VARIANCE)
        outlook, clear = Outlook(mean, variance, noise), self._clear(places)
        on_the_line = np.exp(-(mean**2) / (2 * variance)) / np.sqrt(variance)
        taken_away = outlook.told * ((covariance / outlook.deviation[:, None]) ** 2 @ (on_the_line * clear))
        cost = _START_UP + (1 - _START_UP) * outlook.trained(belief.latest)
        worth = taken_away * np.where(clear > _UNCLEAR, clear, 0) / cost
        return int(np.argmax(worth)) if worth.max() > 0 else None

    def _clear(self, places: list[Point]) -> Floats:
        """For each place, the probability that an answer is broken or healthy; 1 while all answers were.

        A place without a trial counts as one whose answer was neither.
        """
        import numpy as np

        unclear = [*(a.point for a in self._answers.values() if a.co is None), *self._withdrawn.values()]
        if not unclear:
            return np.ones(len(places))
        if self._unclear is None:
            clear = [Answer(answer.point, False) for answer in self._answers.values() if answer.co is not None]
            self._unclear = Belief(self.axes, [*clear, *(Answer(point, True) for point in unclear)])
        return 1 - np.array(self._unclear.p_co(places))

    def _clear_places(self) -> list[Point]:
        """Places all over the space, but those where most answers are neither broken nor healthy."""
        places = self._lattice(0.5)
        return [place for place, clear in zip(places, self._clear(places), strict=True) if clear > _UNCLEAR] or places

    def _lattice(self, shift: float) -> list[Point]:
        """Places spread evenly over the space, moved by a share of the gaps between them."""
        categories = list(itertools.product(*(axis.values for axis in self._others)))
        room = _MOST_PLACES / len(categories)
        columns: dict[str, list[Any]] = {}
        by_size = sorted(self._numeric, key=lambda axis: len(axis.values) if axis.kind == "grid" else math.inf)
        for number, axis in enumerate(by_size):
            most = max(2, int(room ** (1 / (len(by_size) - number)) + 1e-9))
            columns[axis.path] = _spread(axis, min(most, _MOST_ON_AN_AXIS), (shift + number * _GOLDEN) % 1)
            room /= len(columns[axis.path])
        paths = [*(axis.path for axis in self._others), *columns]
        return [
            _in_order(self.axes, dict(zip(paths, (*one, *values), strict=True)))
            for one in categories
            for values in itertools.product(*columns.values())
        ]


class Outlook:
    """What an answer at places may be, by a belief of the log time there: means and variances, both (places,).

    Attributes:
        deviation: Standard deviation of the log time of one seed.
        healthy: Probability that it stays healthy.
        told: Share of the variance that the answer is expected to take away.
    """

    def __init__(self, mean: Floats, variance: Floats, noise: float) -> None:
        import numpy as np
        from scipy.special import log_ndtr, ndtr

        self._mean, self.deviation = mean, np.sqrt(variance + noise)
        z = mean / self.deviation
        self.healthy = ndtr(z)
        ratio = np.exp(-(z**2) / 2 - math.log(2 * math.pi) / 2 - log_ndtr(z))
        left = np.clip(1 - ratio * (z + ratio), 0, 1)  # of the variance, if the answer is healthy
        self.told = 1 - self.healthy * left

    def trained(self, latest: float) -> Floats:
        """Expected share of the training that is run, if the last breaking points come after this share of it."""
        import numpy as np
        from scipy.special import ndtri

        quantiles = [ndtri(np.clip(share * (1 - self.healthy), 1e-300, 1)) for share in (1 / 6, 1 / 2, 5 / 6)]
        times = [np.minimum(1, latest * np.exp(self._mean + move * self.deviation)) for move in quantiles]
        expected: Floats = self.healthy + (1 - self.healthy) * np.mean(times, axis=0)
        return expected


def _misclassified(mean: Floats, variance: Floats) -> Floats:
    """Probability that a place is on the other side than is believed."""
    import numpy as np
    from scipy.special import ndtr

    share: Floats = ndtr(-np.abs(mean) / np.sqrt(variance))
    return share


def _tolerance_faults(tolerance: float, axis: Axis) -> Iterator[Fault]:
    low, high = _ends(axis)
    if tolerance > high - low:
        yield Fault(
            "search.tolerance", f"must be below the range of space.{axis.path}, {high - low:.4g}; got {tolerance:.4g}"
        )
    if axis.kind == "grid":
        numbers = sorted(set(numbers_of(axis.values) or ()))
        least = min(after - before for before, after in itertools.pairwise(numbers)) / 2
        if tolerance < least * (1 - 1e-9):
            yield Fault(
                "search.tolerance",
                f"must be at least half the smallest gap between the values of space.{axis.path}, {least:.4g}, since "
                f"nothing is tried between them; got {tolerance:.4g}",
            )


def _ends(axis: Axis) -> tuple[float, float]:
    numbers = numbers_of(axis.values) or [0.0]
    return min(numbers), max(numbers)


def _corners(axes: Sequence[Axis]) -> Iterator[Point]:
    outer = [axis for axis in axes if axis.path != SEED]
    values = [
        list(dict.fromkeys(_by_size(axis)[i] for i in (0, -1))) if is_numeric(axis) else axis.values for axis in outer
    ]
    for one in itertools.product(*values):
        yield dict(zip((axis.path for axis in outer), one, strict=True))


def _by_size(axis: Axis) -> list[Any]:
    """Values of a numeric axis, sorted, as they are written; whole numbers of an axis of such."""
    values = sorted(axis.values, key=lambda value: (numbers_of([value]) or [0.0])[0])
    return [int(value) for value in values] if axis.kind == "int" else values


def _spread(axis: Axis, most: int, shift: float) -> list[Any]:
    """At most so many values of an axis, evenly spread, and moved by a share of the gap between them."""
    if axis.kind == "grid":
        values = _by_size(axis)
        if len(values) <= most:
            return values
        return [values[int((i + shift) * len(values) / most)] for i in range(most)]
    low, high = axis.values
    shares = [(i + shift) / most for i in range(most)]
    if axis.kind == "loguniform":
        return [low * (high / low) ** share for share in shares]
    values = [low + (high - low) * share for share in shares]
    return sorted({round(value) for value in values}) if axis.kind == "int" else values


def _in_order(axes: Sequence[Axis], point: Mapping[str, Any]) -> Point:
    return {axis.path: point[axis.path] for axis in axes if axis.path in point}
