"""Frozen dataclasses that describe a trial, and how one is built from what a user wrote.

A :class:`Spec` checks its own fields. A :class:`Component` is a spec chosen by name from a registry
(a method, a model, an intervention, a data source); it also carries the behaviour it describes.
Building collects every fault of a definition and raises them together.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache, partial
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cosweep.errors import Fault, SpecError, clipped, shown, unknown_name
from cosweep.units import GREY_LEVELS, parse_number, parse_pixels

T = TypeVar("T", bound="Spec")
C = TypeVar("C", bound="Component")
LARGEST_INT = 2**63 - 1
"""What a column of the tables holds."""
LARGEST_FLOAT = 1e30
"""Trainings compute in single precision, which holds 3e38: this leaves room for products."""
MOST_ITEMS = 1000
"""Of a list in a spec."""
_INDEX = re.compile(r"0|[1-9][0-9]*")


def number(
    default: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    pixels: bool = False,
) -> Any:
    """Dataclass field for a number in [low, high], strictly greater than ``above``."""
    limits = {"low": low, "high": high, "above": above, "pixels": pixels}
    return field(default=default, metadata=limits)


def pixel_quantity(default: object) -> Any:
    """Dataclass field for a quantity on the pixel scale, in [0, 1]; YAML may say ``8/255``."""
    return number(default, low=0.0, high=1.0, pixels=True)


def radius(default: object) -> Any:
    """Dataclass field for a length on the pixel scale, in a norm that may let it exceed 1."""
    return number(default, low=0.0, pixels=True)


def in_epsilons(default: float) -> Any:
    """Dataclass field of a method for a length on the pixel scale that is so many epsilons unless it is set."""
    return field(default=None, metadata={**radius(None).metadata, "in_epsilons": default})


def pixel_fault(value: float) -> str:
    """What is wrong with a value that is to be a pixel quantity, or an empty text."""
    return _limit_fault(pixel_quantity(None), value)


def choice(default: str, known: Mapping[str, object]) -> Any:
    """Dataclass field for a name out of a registry."""
    return field(default=default, metadata={"choices": known})


# Python reads annotations anew at each call, which took four fifths of the time to build a spec.
_hints_of: Any = cache(get_type_hints)


@dataclass(frozen=True)
class Spec:
    """Base of every spec: checks the limits that its fields declare."""

    def __post_init__(self) -> None:
        hints: dict[str, Any] = _hints_of(type(self))
        for f in fields(self):  # 0, 0.0 and -0.0 are equal, and are to have one canonical JSON
            value = getattr(self, f.name)
            if hints[f.name] is float and isinstance(value, (int, float)) and not isinstance(value, bool):
                object.__setattr__(self, f.name, float(value) + 0.0)
        faults = [Fault(f.name, message) for f in fields(self) if (message := _limit_fault(f, getattr(self, f.name)))]
        out_of_limits = {fault.path for fault in faults}
        faults += [fault for fault in self.faults() if fault.path not in out_of_limits]
        if faults:
            raise SpecError(faults)

    def faults(self) -> Iterator[Fault]:
        """What is wrong beyond the limits of single fields, as far as it can be said."""
        yield from ()

    def resolve(self, name: str, value: object) -> None:
        """Fill an unset field, in ``__post_init__``, with the default its other fields imply."""
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that builds an equal spec; a component's name included."""
        plain: dict[str, Any] = plain_data(self)
        return plain


@dataclass(frozen=True)
class Component(Spec):
    """A spec chosen by name. ``key`` is the YAML key that holds the name."""

    key: ClassVar[str] = "name"
    named_alone: ClassVar[bool] = False
    """Whether the name alone may stand for it, which it does in plain data if all options have their defaults."""
    name: ClassVar[str]
    source: ClassVar[str] = ""


def registry(*classes: type[C]) -> dict[str, type[C]]:
    """Components by their names, in this order.

    Raises:
        ValueError: If two have the same name.
    """
    by_name = {cls.name: cls for cls in classes}
    if len(by_name) < len(classes):
        raise ValueError(f"two components have one name: {[cls.name for cls in classes]}")
    return by_name


Menus = Mapping[type[Component], Mapping[str, type[Component]]]
"""For each component base: the registry of names a definition may use."""


def spec_hash(spec: Spec) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the canonical JSON of the spec's identity."""
    return hashlib.sha256(canonical_json(plain_data(spec, identity=True)).encode()).hexdigest()[:12]


def canonical_json(data: object) -> str:
    """The one JSON text of plain data: sorted keys, no spaces, shortest exact floats."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def build(cls: type[T], raw: object, menus: Menus, path: str = "") -> T:
    """Spec of class ``cls`` from plain data, as read from YAML.

    Args:
        cls: The spec class; a component base is looked up in ``menus``.
        raw: A mapping; missing keys take the field's default.
        menus: Registries of components.
        path: Where ``raw`` stands in the definition, for messages.

    Raises:
        SpecError: With every fault below ``path``.
    """
    if issubclass(cls, Component) and cls.named_alone and isinstance(raw, str):
        raw = {cls.key: raw}
    if not isinstance(raw, Mapping):
        hint = ""
        if issubclass(cls, Component) and isinstance(raw, str) and raw == clipped(raw, 40):
            hint = f"; write {{{cls.key}: {raw}}}"
        raise SpecError([Fault(path, f"expected a mapping of options, got {shown(raw)}{hint}")])
    options = dict(raw)
    if issubclass(cls, Component) and cls in menus:
        cls = _choose(cls, options, menus[cls], path)
    known = {f.name: f for f in fields(cls)}
    hints: dict[str, Any] = _hints_of(cls)
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    for name, value in options.items():
        where = f"{path}.{name}" if path else str(name)
        if name not in known:
            faults.append(Fault(where, unknown_name("key", name, known) + _owner(cls)))
            continue
        try:
            values[name] = _convert(hints[name], known[name], value, menus, where)
        except SpecError as error:
            faults.extend(error.faults)
    faults.extend(
        Fault(f"{path}.{name}" if path else name, f"missing{_owner(cls)}")
        for name, f in known.items()
        if name not in options and f.default is MISSING and f.default_factory is MISSING
    )
    if not faults:
        try:
            return cls(**values)
        except SpecError as error:
            faults.extend(
                Fault(f"{path}.{f.path}" if path and f.path else f.path or path, f.message) for f in error.faults
            )
    else:
        faults.extend(_faults_of_values(cls, values, known, path))
    raise SpecError(faults)


def is_index(key: str) -> bool:
    """Whether a part of a path counts the entries of a list, from 0; each entry has this one spelling."""
    return _INDEX.fullmatch(key) is not None


def types_of(cls: type[Spec]) -> dict[str, Any]:
    """The options of a spec class, with their types."""
    hints = _hints_of(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


def type_at(cls: type[Spec], keys: Sequence[str], menus: Menus) -> Any:
    """Type that a spec class declares at a place: of a component its base, since its name decides the rest.

    None if there is no such place, or if it lies inside a component.
    """
    hint: Any = cls
    for key in keys:
        if get_origin(hint) is tuple:
            hint = get_args(hint)[0] if is_index(key) else None
        elif isinstance(hint, type) and issubclass(hint, Spec) and hint not in menus:
            hint = types_of(hint).get(key)
        else:
            return None
    return hint


def _owner(cls: type[Spec]) -> str:
    return f" (for {cls.key}: {cls.name})" if issubclass(cls, Component) else ""


def _faults_of_values(
    cls: type[Spec], values: Mapping[str, Any], known: Mapping[str, Field[Any]], path: str
) -> list[Fault]:
    """Limit faults of the fields that could be read, when others could not."""
    found = ((name, _limit_fault(known[name], value)) for name, value in values.items())
    return [Fault(f"{path}.{name}" if path else name, text) for name, text in found if text]


def _choose(cls: type[Component], options: dict[str, Any], menu: Mapping[str, type[Component]], path: str) -> type[Any]:
    what = path.rsplit(".", 1)[-1]
    if is_index(what):
        what = cls.__name__.lower()
    where = path if cls.named_alone else f"{path}.{cls.key}" if path else cls.key
    if cls.key not in options:
        names = ", ".join(sorted(menu))
        raise SpecError([Fault(where, f"missing; say which {what} it is, one of: {names}")])
    name = options.pop(cls.key)
    if not isinstance(name, str) or name not in menu:
        raise SpecError([Fault(where, unknown_name(what, name, menu))])
    return menu[name]


def _convert(hint: Any, spec_field: Field[Any], value: Any, menus: Menus, path: str) -> Any:
    """Value of a field from plain data; raises SpecError at ``path`` on the wrong type."""
    if get_origin(hint) in (Union, types.UnionType):
        return _convert_union(get_args(hint), spec_field, value, menus, path)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            raise SpecError([Fault(path, f"expected a list, got {shown(value)}")])
        if len(value) > MOST_ITEMS:
            raise SpecError([Fault(path, f"expected at most {MOST_ITEMS:,} entries, got {len(value):,}")])
        return _convert_items(item, spec_field, value, menus, path)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise SpecError([Fault(path, unknown_name("value", value, map(str, get_args(hint))))])
        return value
    if isinstance(hint, type) and issubclass(hint, Spec):
        return build(hint, value, menus, path)
    return _convert_scalar(hint, spec_field, value, path)


def _convert_items(item: Any, spec_field: Field[Any], value: Any, menus: Menus, path: str) -> tuple[Any, ...]:
    faults: list[Fault] = []
    items: list[Any] = []
    for index, entry in enumerate(value):
        try:
            items.append(_convert(item, spec_field, entry, menus, f"{path}.{index}"))
        except SpecError as error:
            faults.extend(error.faults)
    if faults:
        raise SpecError(faults)
    return tuple(items)


def _convert_union(arms: tuple[Any, ...], spec_field: Field[Any], value: Any, menus: Menus, path: str) -> Any:
    """The first arm that takes the value; the message of the first arm, and the names beside it."""
    if value is None and type(None) in arms:
        return None
    arms = tuple(arm for arm in arms if arm is not type(None))
    words = [word for arm in arms if get_origin(arm) is Literal for word in get_args(arm)]
    if value in words:
        return value
    try:
        return _convert(arms[0], spec_field, value, menus, path)
    except SpecError as error:
        other = "".join(f" or {word!r}" for word in words)
        raise SpecError([Fault(f.path, f.message.replace(", got", f"{other}, got", 1)) for f in error.faults]) from None


def _convert_scalar(hint: Any, spec_field: Field[Any], value: Any, path: str) -> Any:
    if value is None and spec_field.default is None:
        return None
    names = {float: "a number", int: "a whole number", bool: "true or false"}
    wrong = f"expected {names.get(hint, hint)}, got {shown(value)}" if hint is not str else no_text(value)
    fault = SpecError([Fault(path, wrong)])
    if hint is float and spec_field.metadata.get("pixels"):
        try:
            return parse_pixels(value)
        except ValueError as error:
            raise SpecError([Fault(path, str(error))]) from None
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        # YAML 1.1 reads 5e-4 as a text, so a text that is a number is one.
        try:
            return parse_number(value)
        except ValueError:
            raise fault from None
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        if hint is int and abs(value) > LARGEST_INT:
            raise SpecError([Fault(path, f"must be at most {LARGEST_INT}, got {shown(value)}")])
        if hint is str and "\0" in value:
            raise SpecError([Fault(path, f"holds a null character: {shown(value)}")])
        return value
    raise fault


def _limit_fault(spec_field: Field[Any], value: Any) -> str:
    """What is wrong with a value by its field's limits, or an empty text."""
    limits = spec_field.metadata
    if "choices" in limits and value not in limits["choices"]:
        return unknown_name(spec_field.name, value, limits["choices"])
    if "low" not in limits:
        return ""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, (int, float)) and not _within(item, limits):
            return f"must be {_range(limits, item)}, got {shown(item)}{_pixel_hint(item, limits)}"
    return ""


def _within(value: float, limits: Mapping[str, Any]) -> bool:
    return (
        limits["low"] <= value <= limits["high"]
        and value > limits["above"]
        and not (isinstance(value, float) and not abs(value) <= LARGEST_FLOAT)
    )


def _range(limits: Mapping[str, Any], value: float) -> str:
    """What a value that is out of the limits should have been."""
    low, high, above = limits["low"], limits["high"], limits["above"]
    if math.isinf(high) and not math.isfinite(value):
        return "a finite number" + (f" above {above:g}" if math.isfinite(above) else f" of at least {low:g}")
    if value > max(above, low) and math.isinf(high):
        return f"at most {LARGEST_FLOAT:g}"
    if math.isfinite(above):
        return f"above {above:g}" + (f" and at most {high:g}" if math.isfinite(high) else "")
    if math.isfinite(low):
        return f"in [{low:g}, {high:g}]" if math.isfinite(high) else f"at least {low:g}"
    return f"in [{-LARGEST_FLOAT:g}, {LARGEST_FLOAT:g}]"


def no_text(value: object) -> str:
    """What to say of a value that should be a text."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    hint = '; a text that looks like a number takes quotes, as in "1e5" or, for a shell, --set \'name="1e5"\''
    return f"expected a text, got {shown(value)}{hint if number else ''}"


def _pixel_hint(value: float, limits: Mapping[str, Any]) -> str:
    if limits["pixels"] and 1 < value <= GREY_LEVELS:
        return f"; write {value:g}/{GREY_LEVELS} for {value:g} grey levels"
    return ""


def plain_data(value: Any, *, identity: bool = False, names_alone: bool = True) -> Any:
    """Plain data of a spec.

    Args:
        value: The spec, or what a field of one holds.
        identity: Leave out the fields that do not change what it means.
        names_alone: Let a name stand alone for a component whose options have their defaults, where it may.
    """
    if isinstance(value, Component) and value.named_alone and names_alone and value == type(value)():
        return value.name
    inner = partial(plain_data, identity=identity, names_alone=names_alone)
    if isinstance(value, Spec):
        head = {value.key: value.name} if isinstance(value, Component) else {}
        kept = (f for f in fields(value) if not identity or f.metadata.get("identity", True))
        return head | {f.name: inner(getattr(value, f.name)) for f in kept}
    if isinstance(value, tuple):
        return [inner(item) for item in value]
    return value
