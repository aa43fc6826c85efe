"""Changes of a definition from the command line, ``--set PATH=VALUE``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cosweep.definition.spec_paths import is_within, set_path, stated, states
from cosweep.definition.yaml_file import parse_yaml
from cosweep.errors import CosweepError, Fault, clipped, unknown_name
from cosweep.search.axes import AXIS_KINDS

_MOST_SHOWN = 80


def apply_overrides(raw: dict[str, Any], overrides: Iterable[str]) -> list[Fault]:
    """Put the changes into raw data of a definition, in place; what is wrong with them.

    Raises:
        CosweepError: If one is no ``path=value`` in YAML.
    """
    read = [_read(override) for override in overrides]
    faults: list[Fault] = []
    for path, value in read:
        try:
            if path.startswith("space."):
                _set_axis(raw, path.removeprefix("space."), value)
            else:
                set_path(raw, path.split("."), value)
        except ValueError as error:
            faults.append(Fault(f"--set {path}", f"no such place in the definition: {error}"))
    space = raw.get("space")
    return faults + [fault for path, value in read for fault in _without_effect(space, path, value)]


def _read(override: str) -> tuple[str, Any]:
    path, sign, text = override.partition("=")
    told = f"--set {clipped(override, _MOST_SHOWN)}"
    if not sign or not path:
        raise CosweepError(f"{told}: expected path=value, such as trial.optimizer.epochs=10")
    return path, parse_yaml(text, told)


def _set_axis(raw: dict[str, Any], path: str, value: Any) -> None:
    """Change a space, whose keys hold dots themselves: everything up to the kind of axis is one key.

    Raises:
        ValueError: If the path leads into an axis that is not there.
    """
    space = raw["space"] = raw.get("space") or {}
    if not isinstance(space, dict):
        return  # the check of the whole says what is wrong with it
    parts = path.split(".")
    place = next((i for i, part in enumerate(parts) if part in AXIS_KINDS), len(parts))
    target, inner = ".".join(parts[:place]), parts[place:]
    lists = [axis for axis in space if isinstance(space[axis], list) and is_within(path, axis)]
    if lists and not inner:
        set_path(space[lists[0]], path.removeprefix(f"{lists[0]}.").split("."), value)
    elif len(inner) == 1:
        space[target] = {inner[0]: value}
    elif inner:
        if target not in space:
            raise ValueError(unknown_name("axis", target, map(str, space)))
        set_path(space[target], inner, value)
    elif value is None:
        if target not in space:
            raise ValueError(unknown_name("axis", target, map(str, space)))
        del space[target]
    else:
        space[target] = value


def _without_effect(space: Any, path: str, value: Any) -> Iterator[Fault]:
    """What a change of the base trial states, where the space says something else for every trial."""
    section, _, place = path.partition(".")
    if section not in ("trial", "stop") or not isinstance(space, dict):
        return
    for changed in stated(value, place if section == "trial" else path):
        for axis, options in space.items():
            if changed == axis or (is_within(changed, str(axis)) and _always_states(options, changed, axis)):
                yield Fault(
                    f"--set {path}",
                    f"has no effect on {changed}, which the axis space.{axis} sets in every trial; to sweep other "
                    f"values: --set 'space.{axis}={{grid: [...]}}'; to sweep it no more: --set space.{axis}=null",
                )


def _always_states(options: Any, path: str, axis: str) -> bool:
    """Whether every value of an axis states a place inside it, so that nothing of the base trial is left there."""
    values = options.get("grid") if isinstance(options, dict) else options
    inner = path.removeprefix(f"{axis}.")
    if not isinstance(values, list):
        return False
    return all(isinstance(value, list) or states(value, inner) for value in values)
