"""Search strategies: which points of the space are tried next. They know points and answers, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from cosweep.errors import Fault, SpecError, unknown_name
from cosweep.search.axes import Axis, Point, read_axes
from cosweep.search.base import Planned, SearchSpec, Strategy
from cosweep.search.belief import Answer, Belief
from cosweep.search.boundary import Boundary
from cosweep.search.grid import Grid
from cosweep.search.optuna_search import OptunaSearch
from cosweep.search.random import Random
from cosweep.specs import build

STRATEGIES: dict[str, type[Strategy]] = {"grid": Grid, "random": Random, "boundary": Boundary, "optuna": OptunaSearch}

__all__ = [
    "STRATEGIES",
    "Answer",
    "Axis",
    "Belief",
    "Planned",
    "Point",
    "SearchSpec",
    "Strategy",
    "make_strategy",
    "strategy_faults",
    "with_list",
]


def make_strategy(search: Mapping[str, Any], space: Mapping[str, Any]) -> Strategy:
    """A strategy from the words of the YAML.

    Args:
        search: As under ``search``: ``kind``, ``trials``, ``seed``.
        space: As under ``space``: paths with an axis each.

    Raises:
        SpecError: With every fault of both.
    """
    axes, faults = read_axes(space)
    try:
        spec = build(SearchSpec, with_list(search), {}, "search")
    except SpecError as error:
        raise SpecError([*error.faults, *faults]) from error
    faults += strategy_faults(spec, axes)
    if faults:
        raise SpecError(faults)
    return STRATEGIES[spec.kind](spec, axes)


def with_list(search: Any) -> Any:
    """The words of ``search``, with a single objective as a list of one."""
    if isinstance(search, Mapping) and isinstance(search.get("objective"), str):
        return {**search, "objective": [search["objective"]]}
    return search


def strategy_faults(search: SearchSpec, axes: Sequence[Axis]) -> Iterator[Fault]:
    """Why there is no such strategy, or why it cannot search a space with these axes."""
    if search.kind not in STRATEGIES:
        yield Fault("search.kind", unknown_name("kind of search", search.kind, STRATEGIES))
        return
    strategy = STRATEGIES[search.kind]
    for field in fields(search):
        if field.name not in {"kind", "seed", *strategy.options} and getattr(search, field.name) != field.default:
            owners = " or ".join(name for name, other in STRATEGIES.items() if field.name in other.options)
            yield Fault(f"search.{field.name}", f"is of search.kind {owners}, not of {search.kind}; leave it out")
    yield from strategy.faults(search, axes)
