"""From a YAML definition to the specs of its trials, with every fault of the file at once."""

from __future__ import annotations

import copy
import itertools
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosweep.analysis.values import format_value
from cosweep.definition.overrides import apply_overrides
from cosweep.definition.spec_paths import component_at, is_within, named_by, problem_of, put, spell_out, states
from cosweep.definition.sweep import (
    ResourcesSpec,
    ResultsSpec,
    Sweep,
    TrackingSpec,
    secret_fault,
)
from cosweep.definition.yaml_file import parse_yaml, read_text
from cosweep.errors import CosweepError, Fault, SpecError, clipped, shown, unknown_name
from cosweep.redaction import places_of_secrets, redacted
from cosweep.results.store import check_name
from cosweep.search import STRATEGIES, Axis, Planned, Point, SearchSpec, strategy_faults, with_list
from cosweep.search.axes import read_axes
from cosweep.specs import build, canonical_json, no_text, plain_data
from cosweep.training.trial_spec import DEFAULT_COMPONENTS, NEVER, StopSpec, TrialSpec

_SECTIONS = ("name", "trial", "space", "search", "stop", "resources", "tracking", "results")
_MOST_FAULTY_POINTS = 20
_MOST_ALTERNATIVES = 20_000
_MOST_AXES = 100
_MOST_GROUPS = 8
_MOST_CORNERS = 256


def load_sweep(path: Path, overrides: Iterable[str] = ()) -> Sweep:
    """The sweep of a YAML file, with ``path=value`` overrides put in before it is checked.

    Raises:
        CosweepError: If the file cannot be read.
        SpecError: With every fault of the definition.
    """
    source, overrides = read_text(path), list(overrides)
    raw = parse_yaml(source, str(path))
    if not isinstance(raw, dict):
        raise CosweepError(f"{path}: expected a mapping with the keys {', '.join(_SECTIONS)}, got {shown(raw)}")
    raw.setdefault("name", path.stem)
    spell_out(raw.get("stop"), StopSpec)
    faults = apply_overrides(raw, overrides)
    changes = [part for override in overrides for part in ("--set", override)]
    named = os.fsencode(path).decode(errors="backslashreplace")  # a name need not be a text
    command = shlex.join(["cosweep", "run", named, *changes])
    kept = tuple(map(redacted, overrides))
    parsed = parse_sweep(raw, faults)
    return replace(parsed, source=redacted(source), overrides=kept, command=redacted(command))


def parse_sweep(raw: Mapping[str, Any], faults: Iterable[Fault] = ()) -> Sweep:
    """The sweep of a definition in which these faults have been found already.

    Raises:
        SpecError: With every fault.
    """
    faults = [*faults, *(Fault(str(k), unknown_name("key", k, _SECTIONS)) for k in raw if k not in _SECTIONS)]
    elsewhere = {section: raw[section] for section in raw if section not in ("tracking", "results")}
    faults += [Fault(path, secret_fault("environment variables")) for path in places_of_secrets(elsewhere)]
    sections: dict[str, Any] = {}
    kinds = {"search": SearchSpec, "resources": ResourcesSpec, "tracking": TrackingSpec, "results": ResultsSpec}
    for name, cls in kinds.items():
        try:
            sections[name] = build(cls, with_list({} if raw.get(name) is None else raw[name]), {}, name)
        except SpecError as error:
            faults.extend(error.faults)
    name = raw.get("name", "sweep")
    try:
        if not isinstance(name, str):
            raise CosweepError(no_text(name))
        check_name(name)
    except CosweepError as error:
        faults.append(Fault("name", str(error)))
    base, base_faults = _base_trial(raw)
    faults += base_faults
    space = _Space(raw.get("space"))
    faults += space.faults
    if "search" in sections:
        faults += strategy_faults(sections["search"], space.axes)
        faults += _never_stops(sections["search"], base)
    if isinstance(raw.get("trial", {}), (Mapping, type(None))):
        faults += _faults_between(base, base_faults)
        faults += space.value_faults(base, sound=not base_faults)
    if faults:
        raise SpecError(dict.fromkeys(faults))
    found = _expand(base, space, sections["search"])

    def spec_at(point: Point) -> TrialSpec:
        return TrialSpec.from_dict(space.trial_at(base, point)[0])

    def point_of(spec: TrialSpec) -> Point | None:
        point = {axis.path: space.value_in(axis, spec) for axis in space.axes}
        try:
            return point if spec_at(point).trial_id == spec.trial_id else None
        except SpecError:
            return None

    return Sweep(
        name,
        found.specs,
        space.axes,
        points=found.points,
        notes=found.notes,
        spec_at=spec_at,
        point_of=point_of,
        **sections,
    )


def _base_trial(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The base trial as raw data, with the component names that an axis may rely on; and its faults."""
    trial = {} if raw.get("trial") is None else raw["trial"]
    if not isinstance(trial, Mapping):
        return {}, [Fault("trial", f"expected a mapping of options, got {shown(trial)}")]
    faults = [Fault("trial.stop", "write stop at the top level, beside trial")] if "stop" in trial else []
    base = copy.deepcopy({k: v for k, v in trial.items() if k != "stop"})
    if raw.get("stop") is not None:
        base["stop"] = copy.deepcopy(raw["stop"])
    spell_out(base)
    for path, (key, name) in DEFAULT_COMPONENTS.items():
        component: Any = base
        for part in path.split("."):
            component = component.setdefault(part, {}) if isinstance(component, dict) else None
        if isinstance(component, dict):
            component.setdefault(key, name)
    try:
        TrialSpec.from_dict(base)
    except SpecError as error:
        faults.extend(Fault(_outer_path(f.path), f.message) for f in error.faults)
    return base, faults


def _never_stops(search: SearchSpec, base: Mapping[str, Any]) -> Iterator[Fault]:
    """Why a search that counts on early ends cannot have trials that go on after CO."""
    match base:
        case {"stop": {"co": {"after_steps": value}}} if value == NEVER and search.kind == "boundary":
            text = (
                "never; a boundary search counts on it that trials stop at CO: write a number of steps, or leave it out"
            )
            yield Fault("stop.co.after_steps", f"is {text}")


def _outer_path(path: str) -> str:
    """Where a place of the trial stands in the definition."""
    return path if path.split(".")[0] == "stop" else f"trial.{path}"


def _faults_between(base: dict[str, Any], base_faults: Iterable[Fault]) -> list[Fault]:
    """Faults of sections that are each in order and do not go together, beside others that are not in order."""
    faulty = {fault.path.removeprefix("trial.").split(".")[0] for fault in base_faults}
    try:
        TrialSpec.from_dict({section: options for section, options in base.items() if section not in faulty})
    except SpecError as error:
        return [Fault(_outer_path(f.path), f.message) for f in error.faults]
    return []


class _Space:
    """The axes of a definition, as far as they could be read, and what is wrong with them.

    Attributes:
        axes: In order of the definition.
        faults: Of axes by themselves, and of axes that overwrite each other.
        held: For the path of an axis and the number of a value: what a spec with it holds there, once that is known.
    """

    def __init__(self, raw: Any) -> None:
        self.faults: list[Fault] = []
        self.held: dict[tuple[str, int], str] = {}
        if not isinstance(raw, (Mapping, type(None))):
            self.faults.append(Fault("space", f"expected paths with a grid each, got {shown(raw)}"))
        self._raw = {str(path): options for path, options in raw.items()} if isinstance(raw, Mapping) else {}
        if len(self._raw) > _MOST_AXES:
            self.faults.append(Fault("space", f"has {len(self._raw):,} axes; at most {_MOST_AXES} are allowed"))
            self._raw = {}
        self.axes, faults = read_axes(self._raw)
        self.faults += faults
        self.faults += [fault for outer in self.axes for inner in self.axes if (fault := _overwriting(outer, inner))]
        # The name of a component, and whole sections, before the options inside them.
        self.order = sorted(self.axes, key=lambda axis: (axis.path.count("."), not named_by(axis.path)))

    def place(self, axis: Axis, index: int) -> str:
        """Where a value of an axis stands in the definition."""
        options = self._raw[axis.path]
        if isinstance(options, list):
            return f"space.{axis.path}.{index}"
        (kind,) = options
        return f"space.{axis.path}.{kind}" + (f".{index}" if kind not in ("range", "linspace") else "")

    def deciding(self, axis: Axis) -> list[Axis]:
        """Axes on whose values it depends whether a trial has the place of this one."""
        outer = [(other, named_by(other.path) or other.path) for other in self.order if other is not axis]
        return [other for other, place in outer if is_within(axis.path, place)]

    def trial_at(self, base: dict[str, Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The raw trial with these values put in, and the paths of those that it has no place for."""
        raw = copy.deepcopy(base)
        paths = [axis.path for axis in self.order if axis.path in values]
        return raw, [path for path in paths if not put(raw, path, copy.deepcopy(values[path]))]

    def value_in(self, axis: Axis, spec: TrialSpec) -> Any:
        """The value of an axis that a spec may have been made with: any of them, if the spec has no such place."""
        try:
            if axis.kind != "grid":
                return _at(plain_data(spec, names_alone=False), axis.path)
            there = (v for i, v in enumerate(axis.values) if _held(spec, axis.path, v) == self.held.get((axis.path, i)))
            return next(there, axis.values[0])
        except (KeyError, IndexError, TypeError, ValueError):
            return axis.values[0]

    def value_faults(self, base: dict[str, Any], *, sound: bool) -> Iterator[Fault]:
        """Faults of each axis by itself: a path that the trial lacks, values that do not fit or stand there twice.

        Args:
            base: The raw base trial.
            sound: Whether it has no faults of its own.
        """
        for axis in self.axes:
            home, problem = self.home(base, axis)
            if problem:
                yield Fault(f"space.{axis.path}", problem)
                continue
            keys: dict[str, int] = {}
            for index, value in enumerate(axis.values):
                raw, _ = self.trial_at(home, {axis.path: value})
                try:
                    key = self.held[axis.path, index] = _held(TrialSpec.from_dict(raw), axis.path, value)
                except SpecError as error:
                    # Elsewhere a value of another axis may mend it; the full expansion will tell.
                    here = [f for f in error.faults if f"{f.path}.".startswith(f"{axis.path}.")]
                    alone = sound and len(self.axes) == 1
                    yield from (Fault(self.place(axis, index), f.message) for f in (error.faults if alone else here))
                    key = repr(value)
                if (first := keys.setdefault(key, index)) != index and axis.kind == "grid":
                    same = f"{shown(value)} is the same as value {first}, {shown(axis.values[first])}"
                    yield Fault(self.place(axis, index), f"stands there twice: {same}; leave one out")

    def home(self, base: dict[str, Any], axis: Axis) -> tuple[dict[str, Any], str]:
        """A raw trial that has the place of an axis, of those that other axes make; or why there is none."""
        deciding = self.deciding(axis)
        problem = ""
        points = itertools.product(*(other.values for other in deciding))
        for values in itertools.islice(points, _MOST_ALTERNATIVES):
            raw, _ = self.trial_at(base, {other.path: value for other, value in zip(deciding, values, strict=True)})
            here = problem_of(raw, axis.path)
            if not here:
                return raw, ""
            problem = problem or here
        others = ", ".join(f"space.{other.path}" for other in deciding)
        return (
            base,
            f"no such place in the trial here, whatever the value of {others}: {problem}" if others else problem,
        )


def _overwriting(outer: Axis, inner: Axis) -> Fault | None:
    """What is wrong with two axes of which one overwrites what values of the other state."""
    if not is_within(inner.path, outer.path):
        return None
    place = inner.path.removeprefix(f"{outer.path}.")
    if named_by(inner.path) == outer.path:
        return Fault(
            f"space.{inner.path}",
            f"overwrites the values of the axis space.{outer.path}; leave one of the two axes out, and write the "
            f"components with their options as values of space.{outer.path}",
        )
    index = next((i for i, value in enumerate(outer.values) if states(value, place)), None)
    if index is None:
        return None
    return Fault(
        f"space.{inner.path}",
        f"overwrites {place}, which value {index} of the axis space.{outer.path} states; leave it out of those values, "
        f"or leave out this axis",
    )


def _held(spec: TrialSpec, path: str, value: Any) -> str:
    """Text of what a spec holds at a place, as far as the value that was put there states it."""
    return canonical_json(_as_stated(_at(plain_data(spec, names_alone=False), path), value))


def _at(place: Any, path: str) -> Any:
    """What plain data hold at a path."""
    for part in path.split("."):
        place = place[int(part)] if isinstance(place, list) else place[part]
    return place


def _as_stated(place: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(place, dict):
        return {option: _as_stated(place.get(option), stated) for option, stated in value.items()}
    if isinstance(value, list) and isinstance(place, list):
        return [_as_stated(*pair) for pair in zip(place, value, strict=True)]
    return None if value is None else place


@dataclass(frozen=True)
class _Expansion:
    specs: tuple[TrialSpec, ...]
    points: int
    notes: tuple[str, ...]


def _expand(base: dict[str, Any], space: _Space, search: SearchSpec) -> _Expansion:
    """The distinct specs of all points of the space.

    Raises:
        SpecError: If some points are no trials, or a value of an axis is in none.
    """
    specs: dict[str, TrialSpec] = {}
    faults: dict[Fault, None] = {}
    lacking: Counter[str] = Counter()
    unseen = dict(space.held) if search.kind == "grid" else {}
    points = valid = 0
    strategy = STRATEGIES[search.kind](search, space.axes)
    samples = None if isinstance(strategy, Planned) else list(_samples(space.axes))
    for point in strategy.plan() if isinstance(strategy, Planned) else samples or ():
        points += 1
        values = {path: value for path, (_, value) in point.items()}
        raw, without = space.trial_at(base, values)
        lacking.update(without)
        try:
            spec = TrialSpec.from_dict(raw)
        except SpecError as error:
            at = ", ".join(f"{path}={clipped(str(value), 60)}" for path, value in values.items())
            faults |= {Fault(f"{_outer_path(f.path)} (at {at})", f.message): None for f in error.faults}
            if samples is None and len(faults) >= _MOST_FAULTY_POINTS:
                break
            continue
        valid += 1
        specs.setdefault(spec.trial_id, spec)
        for path, (index, value) in point.items():
            wanted = unseen.get((path, index))
            if wanted and path not in without and _held(spec, path, value) == wanted:
                del unseen[path, index]
    partly = list(faults) if samples and specs else []
    if partly:  # a search that adapts goes on elsewhere
        faults = {}
    if not faults:  # by now no two axes should lead to one place; if they do, their values must not vanish
        what = "no trial has this value; another axis overwrites it"
        faults = {
            Fault(space.place(a, i), what): None
            for a in space.axes
            for i in range(len(a.values))
            if (a.path, i) in unseen
        }
    if faults:
        raise SpecError(faults)
    notes = [
        f"{path} has no place in {count:,} of {points:,} points, which count once without it"
        for path, count in lacking.items()
    ]
    if partly:
        what = f"{points - valid} of {points} checked points have no trial, and none is asked for there, such as"
        notes.append(f"{what} {partly[0]}")
    return _Expansion(tuple(specs.values()), points, (*notes, *_differences(base, space)))


def _samples(axes: Sequence[Axis]) -> Iterator[dict[str, tuple[int, Any]]]:
    """Points at the corners of a space, and with each value of its grids; -1 numbers the ends of a distribution."""
    ends = [
        [(i if axis.kind == "grid" else -1, axis.values[i]) for i in dict.fromkeys((0, len(axis.values) - 1))]
        for axis in axes
    ]
    paths = [axis.path for axis in axes]
    for corner in itertools.islice(itertools.product(*ends), _MOST_CORNERS):
        yield dict(zip(paths, corner, strict=True))
    for number, axis in enumerate(axes):
        for index, value in enumerate(axis.values[1:-1] if axis.kind == "grid" else (), start=1):
            yield {**dict(zip(paths, (end[0] for end in ends), strict=True)), paths[number]: (index, value)}


def _differences(base: dict[str, Any], space: _Space) -> Iterator[str]:
    """Options that components of an axis have in common, that differ between them, and that are no axis themselves."""
    swept = {axis.path for axis in space.axes}
    for axis in space.axes:
        place = axis.path if component_at(axis.path) else named_by(axis.path)
        base_class = component_at(place) if place else None
        if base_class is None:
            continue
        home, _ = space.home(base, axis)
        values: dict[str, dict[Any, dict[str, None]]] = {}
        for value in axis.values:
            raw, _ = space.trial_at(home, {axis.path: value})
            try:
                component: Any = plain_data(TrialSpec.from_dict(raw), names_alone=False)
            except SpecError:  # at a value of another axis it is a trial, or there would be no sweep
                continue
            for part in place.split("."):
                component = component[int(part)] if isinstance(component, list) else component[part]
            name = component.pop(base_class.key)
            for option, held in component.items():
                values.setdefault(option, {}).setdefault(_shown_as(option, held), {})[name] = None
        for option, names in values.items():
            owners = {name for group in names.values() for name in group}
            if len(names) > 1 and len(owners) > 1 and f"{place}.{option}" not in swept:
                told = "; ".join(f"{text} ({', '.join(group)})" for text, group in list(names.items())[:_MOST_GROUPS])
                if len(names) > _MOST_GROUPS:
                    told += f"; ... ({len(names):,} values)"
                yield f"{place}.{option} differs between the values of space.{axis.path} and is no axis: {told}"


def _shown_as(option: str, value: Any) -> str:
    return format_value(option, value) if isinstance(value, (int, float, str, type(None))) else shown(value)
