"""Where values stand along the axes of a drawn diagram."""

from __future__ import annotations

from collections.abc import Sequence

from cosweep.analysis.breaking_line import Scale
from cosweep.analysis.values import (
    Value,
)


def place_of(value: Value, values: Sequence[Value], scale: Scale | None) -> float:
    """Where a value is drawn along an axis: on a grid by its number, else by the scale; None is at the left."""
    if scale is None or scale.kind == "positions":
        return float(values.index(value))
    low, high = (scale.to_position(end) for end in (scale.values[0], scale.values[-1]))
    return low - (high - low) / 12 if value is None else scale.to_position(float(value))


def drawn_at(position: float, values: Sequence[Value], scale: Scale) -> float:
    """Where a coordinate of a fitted line is drawn.

    On a grid the fit knows only the values whose trials say something; the drawing has the others and None too.
    """
    if scale.kind != "positions":
        return position
    numbers = [values.index(value) for value in scale.values]
    inside = min(max(position, 0.0), len(numbers) - 1.0)
    left = min(int(inside), len(numbers) - 2)
    return numbers[left] + (inside - left) * (numbers[left + 1] - numbers[left]) + position - inside
