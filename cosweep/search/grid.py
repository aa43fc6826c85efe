"""Every point of a grid."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from cosweep.errors import Fault
from cosweep.search.axes import MAX_POINTS, Axis
from cosweep.search.base import Planned, SearchSpec


class Grid(Planned):
    """Asks for every point of the grid: the last axis changes fastest, or ``search.order`` is random."""

    options = frozenset({"trials", "order"})

    @classmethod
    def faults(cls, search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
        for axis in axes:
            if axis.kind != "grid":
                yield Fault(
                    f"space.{axis.path}", f"{axis.kind} needs search.kind random or boundary; a grid search takes grid"
                )
        count = math.prod(len(axis.values) for axis in axes)
        if count > MAX_POINTS:
            yield Fault("space", f"the grid has {count:,} points; at most {MAX_POINTS:,} are allowed")

    def plan(self) -> Iterator[dict[str, tuple[int, Any]]]:
        paths = [axis.path for axis in self.axes]
        points = itertools.product(*(enumerate(axis.values) for axis in self.axes))
        for values in self._shuffled(points) if self.search.order == "random" else points:
            yield dict(zip(paths, values, strict=True))

    def _shuffled(self, points: Iterator[tuple[tuple[int, Any], ...]]) -> list[tuple[tuple[int, Any], ...]]:
        mixed = list(points)
        random.Random(self.search.seed).shuffle(mixed)
        return mixed

    @property
    def reason(self) -> str:
        return "every point of the grid was asked for" if self.done else ""
