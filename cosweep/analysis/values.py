"""Values of a sweep's columns: their order, how people read them, and trials grouped by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cosweep.metrics import TrialState, TrialStatus
from cosweep.units import format_pixels

Value = float | str | int | bool | None


Row = Mapping[str, Any]


PIXEL_COLUMNS = frozenset({"epsilon", "alpha", "beta"})


def is_conclusive(trial: Row) -> bool:
    """Whether a trial says if training breaks: it broke, or was healthy to its end."""
    return trial["status"] != TrialStatus.FAILED and (bool(trial["co"]) or trial["state"] == TrialState.HEALTHY)


def by_place(trials: Iterable[Row], names: Sequence[str]) -> dict[tuple[Value, ...], list[Row]]:
    """Trials by their values of some columns, in order of these; trials without columns share one place."""
    found: dict[tuple[Value, ...], list[Row]] = {}
    for trial in trials:
        found.setdefault(tuple(trial.get(name) for name in names), []).append(trial)
    return {place: found[place] for place in sorted(found, key=lambda place: [sort_key(value) for value in place])}


def place_text(names: Sequence[str], place: Sequence[Value]) -> str:
    """A place as people read it: ``method fgsm, beta 16/255``; what does not apply is left out."""
    told = [f"{n} {format_value(n, v)}" for n, v in zip(names, place, strict=True) if v is not None]
    return ", ".join(told)


def sort_key(value: Value) -> tuple[bool, bool, Any]:
    """Sort key: None, then numbers, then texts."""
    return value is not None, isinstance(value, str), value if value is not None else 0


def sorted_values(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(sorted(values, key=sort_key))


def is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def all_numbers(values: Iterable[Value]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(map(is_number, given))


def format_value(axis: str, value: Value) -> str:
    """A value of an axis as people read it: pixel quantities in n/255."""
    if value is None:
        return "none"
    if axis in PIXEL_COLUMNS and isinstance(value, float):
        return format_pixels(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
