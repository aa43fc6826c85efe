"""From a YAML definition to the specs of its trials, with every fault of the file at once."""

from __future__ import annotations

import copy
import difflib
import itertools
import math
import random
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cosweep.errors import CosweepError, Fault, SpecError, unknown_name
from cosweep.redaction import places_of_secrets, redacted
from cosweep.results.store import check_name
from cosweep.specs import build
from cosweep.sweep.definition import Axis, ResourcesSpec, ResultsSpec, SearchSpec, Sweep, TrackingSpec, secret_fault
from cosweep.sweep.yaml_file import parse_yaml, read_text
from cosweep.training.trial_spec import TrialSpec
from cosweep.units import parse_pixels
from cosweep.wording import counted

MAX_TRIALS = 1_000_000
_DISTRIBUTIONS = ("grid", "uniform", "loguniform", "int")
_DEFAULT_COMPONENTS = {
    "data": ("source", "digits"),
    "model": ("name", "preact_resnet"),
    "method": ("name", "fgsm"),
}
_SECTIONS = ("name", "trial", "space", "search", "stop", "resources", "tracking", "results")


def load_sweep(path: Path, overrides: Iterable[str] = ()) -> Sweep:
    """The sweep of a YAML file, with ``path=value`` overrides put in before it is checked.

    Raises:
        CosweepError: If the file cannot be read.
        SpecError: With every fault of the definition.
    """
    source, overrides = read_text(path), list(overrides)
    raw = parse_yaml(source, str(path))
    if not isinstance(raw, dict):
        raise CosweepError(f"{path}: expected a mapping with the keys {', '.join(_SECTIONS)}, got {raw!r}")
    raw.setdefault("name", path.stem)
    for override in overrides:
        _apply_override(raw, override)
    changes = [part for override in overrides for part in ("--set", override)]
    command = shlex.join(["cosweep", "run", str(path), *changes])
    kept = tuple(map(redacted, overrides))
    return replace(parse_sweep(raw), source=redacted(source), overrides=kept, command=redacted(command))


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, sign, text = override.partition("=")
    if not sign or not path:
        raise CosweepError(f"--set {override}: expected path=value, such as trial.optimizer.epochs=10")
    value = parse_yaml(text, f"--set {override}")
    if path.startswith("space."):
        # A path of the space holds dots itself: everything up to the kind of axis is one key.
        target, _, kind = path.removeprefix("space.").rpartition(".")
        space = raw["space"] = raw.get("space") or {}
        if not isinstance(space, dict):
            return  # the check of the whole says what is wrong with it
        if kind in _DISTRIBUTIONS:
            space[target] = {kind: value}
        else:
            space[path.removeprefix("space.")] = value
    else:
        try:
            set_path(raw, path.split("."), value)
        except (TypeError, ValueError, IndexError) as error:
            raise SpecError([Fault(path, f"no such place in the definition ({error})")]) from error


def set_path(raw: Any, keys: list[str], value: Any) -> None:
    """Put a value into nested mappings and lists, in place; absent mappings are made."""
    *parents, last = keys
    for key in parents:
        if isinstance(raw, list):
            raw = raw[_index(key)]
        else:
            if raw.get(key) is None:
                raw[key] = {}
            raw = raw[key]
    if isinstance(raw, list):
        raw[_index(last)] = value
    elif isinstance(raw, dict):
        raw[last] = value
    else:
        raise TypeError(f"{raw!r} has no options")


def _index(key: str) -> int:
    if not key.isdigit():
        raise ValueError(f"{key!r} is no place in a list; count from 0")
    return int(key)


def parse_sweep(raw: Mapping[str, Any]) -> Sweep:
    """The sweep of a definition.

    Raises:
        SpecError: With every fault.
    """
    faults = [Fault(str(k), unknown_name("key", k, _SECTIONS)) for k in raw if k not in _SECTIONS]
    elsewhere = {section: raw[section] for section in raw if section not in ("tracking", "results")}
    faults += [Fault(path, secret_fault("environment variables")) for path in places_of_secrets(elsewhere)]
    sections: dict[str, Any] = {}
    kinds = {"search": SearchSpec, "resources": ResourcesSpec, "tracking": TrackingSpec, "results": ResultsSpec}
    for name, cls in kinds.items():
        try:
            sections[name] = build(cls, {} if raw.get(name) is None else raw[name], {}, name)
        except SpecError as error:
            faults.extend(error.faults)
    name = raw.get("name", "sweep")
    try:
        if not isinstance(name, str):
            raise CosweepError(f"expected a text, got {name!r}")
        check_name(name)
    except CosweepError as error:
        faults.append(Fault("name", str(error)))
    base, base_faults = _base_trial(raw)
    faults.extend(base_faults)
    axes, axis_faults = _axes({} if raw.get("space") is None else raw["space"])
    faults.extend(axis_faults)
    faults.extend(_search_faults(sections.get("search"), axes))
    specs: tuple[TrialSpec, ...] = ()
    faulty = {fault.path.removeprefix("trial.").split(".")[0] for fault in base_faults}
    if "trial" in faulty:  # not even a mapping
        raise SpecError(faults)
    sound = {section: options for section, options in base.items() if section not in faulty}
    if between := _faults_of(sound, {}):  # sections that are each in order and do not go together
        faults.extend(fault for f in between if (fault := Fault(_outer_path(f.path), f.message)) not in faults)
    else:
        faults.extend(_axis_value_faults(sound, [axis for axis in axes if axis.path.split(".")[0] not in faulty]))
    if not faults:
        specs = _expand(base, axes, sections["search"])
    if faults:
        raise SpecError(faults)
    return Sweep(name, specs, tuple(axes), **sections)


def _base_trial(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The base trial as raw data, with the component names that an axis may rely on; and its faults."""
    trial = {} if raw.get("trial") is None else raw["trial"]
    if not isinstance(trial, Mapping):
        return {}, [Fault("trial", f"expected a mapping of options, got {trial!r}")]
    faults = [Fault("trial.stop", "write stop at the top level, beside trial")] if "stop" in trial else []
    base = copy.deepcopy({k: v for k, v in trial.items() if k != "stop"})
    for section, (key, name) in _DEFAULT_COMPONENTS.items():
        if isinstance(base.setdefault(section, {}), dict):
            base[section].setdefault(key, name)
    if raw.get("stop") is not None:
        base["stop"] = copy.deepcopy(raw["stop"])
    try:
        TrialSpec.from_dict(base)
    except SpecError as error:
        faults.extend(Fault(_outer_path(f.path), f.message) for f in error.faults)
    return base, faults


def _outer_path(path: str) -> str:
    """Where a place of the trial stands in the definition."""
    return path if path.split(".")[0] == "stop" else f"trial.{path}"


def _axes(space: Any) -> tuple[list[Axis], list[Fault]]:
    if not isinstance(space, Mapping):
        return [], [Fault("space", f"expected paths with a grid each, got {space!r}")]
    axes: list[Axis] = []
    faults: list[Fault] = []
    for path, options in space.items():
        try:
            axes.append(_axis(str(path), options))
        except ValueError as error:
            faults.append(Fault(f"space.{path}", str(error)))
    return axes, faults


def _axis(path: str, options: Any) -> Axis:
    if not isinstance(options, Mapping) or len(options) != 1:
        raise ValueError(f"expected {{grid: [...]}} or one of {', '.join(_DISTRIBUTIONS[1:])}, got {options!r}")
    ((kind, values),) = options.items()
    if kind not in _DISTRIBUTIONS:
        raise ValueError(unknown_name("kind of axis", kind, _DISTRIBUTIONS))
    if not isinstance(values, list):
        raise ValueError(f"{kind}: expected a list, got {values!r}")
    if kind == "grid":
        if not values:
            raise ValueError("grid is empty; give it at least one value")
        return Axis(path, kind, tuple(values))
    if len(values) != 2:
        raise ValueError(f"{kind}: expected [low, high], got {values!r}")
    low, high = (parse_pixels(v) for v in values)
    if low >= high or (kind == "loguniform" and low <= 0):
        raise ValueError(f"{kind}: expected low < high{', low > 0' if kind == 'loguniform' else ''}, got {values!r}")
    return Axis(path, kind, (low, high))


def _search_faults(search: SearchSpec | None, axes: list[Axis]) -> Iterator[Fault]:
    if search is None:
        return
    if search.kind == "grid":
        for axis in axes:
            if axis.kind != "grid":
                yield Fault(f"space.{axis.path}", f"{axis.kind} needs search.kind random; a grid search takes grid")
        count = math.prod(len(a.values) for a in axes)
        if count > MAX_TRIALS:
            yield Fault("space", f"the grid has {count:,} points; at most {MAX_TRIALS:,} are allowed")
    elif search.trials is None:
        yield Fault("search.trials", "missing; say how many points a random search draws")


def _axis_value_faults(base: dict[str, Any], axes: list[Axis]) -> Iterator[Fault]:
    """Faults of each axis by itself: a path that the trial lacks, values that do not fit."""
    known = TrialSpec.from_dict(base).to_dict()
    swapped = {axis.path for axis in axes}
    for axis in axes:
        problem = _path_problem(known, axis.path)
        if problem and _chosen_elsewhere(axis.path, swapped):
            continue  # another axis chooses the component; the full expansion checks its options
        if problem:
            yield Fault(f"space.{axis.path}", problem)
            continue
        for index, value in enumerate(axis.values):
            where = f"space.{axis.path}.{axis.kind}.{index}"
            faults = _faults_of(base, {axis.path: value})
            if len(axes) > 1:  # elsewhere a value of another axis may mend it; the full expansion will tell
                faults = tuple(f for f in faults if f"{f.path}.".startswith(f"{axis.path}."))
            for fault in faults:
                yield Fault(where, fault.message)


def _chosen_elsewhere(path: str, swapped: set[str]) -> bool:
    """Whether another axis replaces the component, or list of components, that a path lies in."""
    parts = path.split(".")
    above = {".".join(parts[:depth]) for depth in range(1, len(parts))}
    return bool(swapped & (above | {f"{place}.{key}" for place in above for key in ("name", "kind", "source")}))


def _path_problem(known: Any, path: str) -> str:
    """Why a path names no place of the trial, or an empty text."""
    place = known
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if isinstance(place, list):
            if not key.isdigit() or int(key) >= len(place):
                what = f"the trial has {counted(len(place), 'intervention') if place else 'no interventions'}"
                return f"no such place: {what}; add one under trial.interventions"
            place = place[int(key)]
        elif isinstance(place, dict) and key in place:
            place = place[key]
        else:
            options = sorted(place) if isinstance(place, dict) else []
            near = difflib.get_close_matches(key, options, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            below = ".".join(keys[:depth]) or "the trial"
            return f"no such place in the trial: {below} has no {key!r}; {hint}known: {', '.join(options) or 'none'}"
    return ""


def _faults_of(base: dict[str, Any], values: Mapping[str, Any]) -> tuple[Fault, ...]:
    try:
        _trial_at(base, values)
    except SpecError as error:
        return error.faults
    return ()


def _trial_at(base: dict[str, Any], values: Mapping[str, Any]) -> TrialSpec:
    raw = copy.deepcopy(base)
    # A path before those inside it, so that the order in the file does not matter.
    for path in sorted(values, key=lambda p: p.count(".")):
        try:
            set_path(raw, path.split("."), _merged(raw, path, copy.deepcopy(values[path])))
        except (IndexError, TypeError, ValueError) as error:
            raise SpecError([Fault(path, f"no such place in the trial here ({error})")]) from error
    return TrialSpec.from_dict(raw)


def _merged(raw: Any, path: str, value: Any) -> Any:
    """A mapping put onto the options of the base trial, unless it names another component than they do."""
    place = raw
    for key in path.split("."):
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(value, dict) or not isinstance(place, dict):
        return value
    same = all(value.get(key, place.get(key)) == place.get(key) for key in ("name", "kind", "source"))
    return {**place, **value} if same else value


def _expand(base: dict[str, Any], axes: list[Axis], search: SearchSpec) -> tuple[TrialSpec, ...]:
    specs: dict[str, TrialSpec] = {}
    faults: dict[Fault, None] = {}
    for values in _points(axes, search):
        try:
            spec = _trial_at(base, values)
        except SpecError as error:
            at = ", ".join(f"{path}={value}" for path, value in values.items())
            faults |= {Fault(f"{_outer_path(f.path)} (at {at})", f.message): None for f in error.faults}
            if len(faults) >= 20:
                break
        else:
            specs.setdefault(spec.trial_id, spec)
    if faults:
        raise SpecError(faults)
    return tuple(specs.values())


def _points(axes: list[Axis], search: SearchSpec) -> Iterator[dict[str, Any]]:
    paths = [axis.path for axis in axes]
    if search.kind == "grid":
        for values in itertools.product(*(axis.values for axis in axes)):
            yield dict(zip(paths, values, strict=True))
        return
    rng = random.Random(search.seed)
    for _ in range(search.trials or 0):
        yield {axis.path: axis.draw(rng) for axis in axes}
