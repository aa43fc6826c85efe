"""The axes of a search space, and how they are written in YAML."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cosweep.errors import Fault, shown, unknown_name
from cosweep.units import parse_pixels

Point = dict[str, Any]
"""A value for each axis, by path."""

AXIS_KINDS = ("grid", "range", "uniform", "loguniform", "int", "linspace")
SEED = "seed"
"""Path of the axis of repeats: two of its values are names, and nothing lies between them."""
MAX_POINTS = 1_000_000


@dataclass(frozen=True)
class Axis:
    """One dimension of the space.

    Attributes:
        path: Place in the trial, such as ``method.epsilon``.
        kind: ``grid`` or a distribution.
        values: The grid's values, or the distribution's two ends.
    """

    path: str
    kind: str
    values: tuple[Any, ...]

    def draw(self, rng: random.Random) -> Any:
        """A random value."""
        if self.kind == "grid":
            return rng.choice(self.values)
        low, high = self.values
        if self.kind == "int":
            return rng.randint(int(low), int(high))
        if self.kind == "uniform":
            return rng.uniform(low, high)
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    @classmethod
    def read(cls, path: str, options: Any) -> Axis:
        """The axis that ``{kind: values}`` or a list describes.

        Raises:
            ValueError: If it describes none; says why.
        """
        if isinstance(options, list):
            options = {"grid": options}
        if not isinstance(options, Mapping) or len(options) != 1:
            others = ", ".join(AXIS_KINDS[1:])
            raise ValueError(f"expected {{grid: [...]}}, a list of values, or one of {others}, got {shown(options)}")
        ((kind, values),) = options.items()
        if kind not in AXIS_KINDS:
            raise ValueError(unknown_name("kind of axis", kind, AXIS_KINDS))
        if not isinstance(values, list):
            raise ValueError(f"{kind}: expected a list, got {shown(values)}")
        if kind == "grid":
            if not values:
                raise ValueError("grid is empty; give it at least one value")
            return cls(path, kind, tuple(values))
        wanted = "[low, high, number of values]" if kind == "linspace" else "[low, high]"
        if len(values) != (3 if kind == "linspace" else 2):
            raise ValueError(f"{kind}: expected {wanted}, got {shown(values)}")
        numbers = [parse_pixels(value) for value in values]
        low, high = numbers[:2]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{kind}: expected finite numbers, got {shown(values)}")
        if low >= high or (kind == "loguniform" and low <= 0):
            limits = "low < high, low > 0" if kind == "loguniform" else "low < high"
            raise ValueError(f"{kind}: expected {limits}, got {shown(values)}")
        if kind in ("int", "range") and not (low.is_integer() and high.is_integer()):
            raise ValueError(f"{kind}: expected whole numbers, got {shown(values)}")
        if kind == "range":
            _check_count(kind, high - low)
            return cls(path, "grid", tuple(range(int(low), int(high))))
        if kind == "linspace":
            count = numbers[2]
            if not count.is_integer() or count < 2:
                raise ValueError(f"linspace: expected a whole number of at least 2 values, got {shown(values[2])}")
            _check_count(kind, count)
            steps = int(count) - 1
            return cls(path, "grid", (*(low + (high - low) * i / steps for i in range(steps)), high))
        return cls(path, kind, (low, high))


def _check_count(kind: str, count: float) -> None:
    if count > MAX_POINTS:
        raise ValueError(f"{kind}: has {count:,.0f} values; at most {MAX_POINTS:,} are allowed")


def read_axes(space: Mapping[str, Any]) -> tuple[tuple[Axis, ...], list[Fault]]:
    """The axes of a space that can be read, in its order, and a fault for each of the others."""
    axes, faults = [], []
    for path, options in space.items():
        try:
            axes.append(Axis.read(path, options))
        except ValueError as error:
            faults.append(Fault(f"space.{path}", str(error)))
    return tuple(axes), faults


def numbers_of(values: Iterable[Any]) -> list[float] | None:
    """Values as numbers, ``8/255`` included; None if one of them is none."""

    def converted() -> Iterator[float]:
        for value in values:
            yield parse_pixels(value)

    try:
        return list(converted())
    except ValueError:
        return None
