"""Places of a definition by their dotted paths, in raw data that may yet be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from cosweep.errors import nearest, shown
from cosweep.specs import Component, Spec, is_index, type_at, types_of
from cosweep.training.trial_spec import MENUS, TrialSpec
from cosweep.wording import counted

MOST_PARTS = 20
"""Of a path; the deepest place has five."""


def set_path(raw: Any, keys: list[str], value: Any) -> None:
    """Put a value into nested mappings and lists, in place; absent mappings are made.

    Raises:
        ValueError: If there is no such place; says why.
    """
    if len(keys) > MOST_PARTS:
        raise ValueError(f"the path has {len(keys):,} parts, and no place has more than {MOST_PARTS}")
    *parents, last = keys
    for key in parents:
        if isinstance(raw, list):
            raw = raw[_entry(raw, key)]
        elif isinstance(raw, dict):
            if raw.get(key) is None:
                raw[key] = {}
            raw = raw[key]
    if isinstance(raw, list):
        raw[_entry(raw, last)] = value
    elif isinstance(raw, dict):
        raw[last] = value
    else:
        raise ValueError(f"{shown(raw)} has no options")


def _entry(entries: list[Any], key: str) -> int:
    if not is_index(key):
        raise ValueError(f"{shown(key)} is no place in a list; count from 0, without leading zeros")
    if len(key) > 9 or int(key) >= len(entries):
        there = counted(len(entries), "entry", "entries")
        raise ValueError(f"the list has {there}, counted from 0; to add one, write the whole list")
    return int(key)


def spell_out(raw: Any, declared: type[Spec] = TrialSpec) -> None:
    """Write components that a raw spec gives by their names alone as mappings, in place, so that options find room."""
    if not isinstance(raw, dict):
        return
    for option, hint in types_of(declared).items():
        if not isinstance(hint, type) or not issubclass(hint, Spec):
            continue
        if issubclass(hint, Component) and hint.named_alone and isinstance(raw.get(option), str):
            raw[option] = {hint.key: raw[option]}
        elif hint not in MENUS:
            spell_out(raw.get(option), hint)


def stated(raw: Any, path: str = "") -> Iterator[str]:
    """Paths of the single values that raw data state."""
    inner = list(raw.items()) if isinstance(raw, Mapping) else list(enumerate(raw)) if isinstance(raw, list) else []
    if not inner:
        yield path
    for key, value in inner:
        yield from stated(value, f"{path}.{key}" if path else str(key))


def states(raw: Any, path: str) -> bool:
    """Whether raw data hold the place of a path."""
    for key in path.split("."):
        if isinstance(raw, Mapping) and key in raw:
            raw = raw[key]
        elif isinstance(raw, list) and is_index(key) and int(key) < len(raw):
            raw = raw[int(key)]
        else:
            return False
    return True


def is_within(path: str, outer: str) -> bool:
    """Whether a path leads to a place inside another."""
    return path.startswith(f"{outer}.")


def component_at(path: str) -> type[Component] | None:
    """Base of the components that can stand at a place of a trial, if only they can."""
    declared = type_at(TrialSpec, path.split("."), MENUS)
    return declared if isinstance(declared, type) and declared in MENUS else None


def named_by(path: str) -> str:
    """Path of the component that a path names, as ``method.name`` does; an empty text if it names none."""
    outer, _, key = path.rpartition(".")
    base = component_at(outer) if outer else None
    return outer if base is not None and key == base.key else ""


def problem_of(raw: Any, path: str) -> str:
    """Why a path leads to no place of a raw trial, or an empty text.

    Of a component whose name is missing or unknown, the options of all that could stand there are places.
    """
    keys = path.split(".")
    declared: Any = TrialSpec
    for depth, key in enumerate(keys):
        outer = ".".join(keys[:depth])
        if isinstance(raw, list) or get_origin(declared) is tuple:
            entries = raw if isinstance(raw, list) else []
            if not is_index(key):
                return f"no such place: {shown(key)} is no place in {outer}; count from 0, without leading zeros"
            if len(key) > 9 or int(key) >= len(entries):
                many = "entries" if component_at(f"{outer}.0") is None else outer.rpartition(".")[2]
                one = "entry" if many == "entries" else many.removesuffix("s")
                there = counted(len(entries), one, many) if entries else f"no {many}"
                return f"no such place: the trial has {there}; add one under trial.{outer}"
            raw, declared = entries[int(key)], get_args(declared)[0] if get_origin(declared) is tuple else None
        else:
            options = _options(declared, raw)
            if key not in options:
                known = sorted(options)
                hint = f"{nearest(key, known)}known: {', '.join(known) or 'none'}"
                return f"no such place in the trial: {outer or 'the trial'} has no {shown(key)}; {hint}"
            raw, declared = raw.get(key) if isinstance(raw, dict) else None, options[key]
    return ""


def _options(declared: Any, raw: Any) -> dict[str, Any]:
    """Options of what stands at a place, by what is declared there and by its name, with their types."""
    # Of an optional spec, ``SplitSpec | None``, the options of the spec.
    arms = (arm for arm in (declared, *get_args(declared)) if isinstance(arm, type) and issubclass(arm, Spec))
    declared = next(arms, None)
    if declared is None:
        return {}
    if declared not in MENUS:
        return types_of(declared)
    assert issubclass(declared, Component)
    menu = MENUS[declared]
    name = raw.get(declared.key) if isinstance(raw, dict) else None
    chosen = [menu[name]] if isinstance(name, str) and name in menu else list(menu.values())
    return {declared.key: str} | {option: hint for cls in chosen for option, hint in types_of(cls).items()}


def put(raw: dict[str, Any], path: str, value: Any) -> bool:
    """Put a value at a place of a raw trial, if the trial has it; whether it has.

    A mapping adds to the options that are there. One that names another component keeps those that this has as well.
    """
    if problem_of(raw, path):
        return False
    *parents, last = path.split(".")
    owner: Any = raw
    for key in parents:
        if isinstance(owner, list):
            owner = owner[int(key)]
        elif isinstance(owner, dict):
            if owner.get(key) is None:
                owner[key] = {}
            owner = owner[key]
    if named_by(path) and isinstance(owner, dict):
        merged = _merged(owner, {last: value}, component_at(".".join(parents)))
        owner.clear()
        owner.update(merged)
    elif isinstance(owner, (dict, list)):
        place: Any = int(last) if isinstance(owner, list) else last
        base = component_at(path)
        if base is not None and base.named_alone and isinstance(value, str):
            value = {base.key: value}
        before = owner[place] if isinstance(owner, list) else owner.get(place)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merged(before, value, base)
        owner[place] = value
    return True


def _merged(before: dict[str, Any], value: dict[str, Any], base: type[Component] | None) -> dict[str, Any]:
    if base is None or base.key not in value or value[base.key] == before.get(base.key):
        return {**before, **value}
    known = _options(base, value)
    return {option: before[option] for option in before if option in known} | value
