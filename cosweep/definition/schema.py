"""The JSON Schema of a sweep definition, by which editors complete and check its YAML while it is typed."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from typing import Any, Literal, Union, get_args, get_origin

from cosweep.definition.sweep import ResourcesSpec, ResultsSpec, TrackingSpec
from cosweep.search import STRATEGIES, SearchSpec
from cosweep.search.axes import AXIS_KINDS
from cosweep.specs import Component, Spec, types_of
from cosweep.training.trial_spec import DEFAULT_COMPONENTS, MENUS, StopSpec, TrialSpec

Schema = dict[str, Any]

_PIXELS = {"type": "string", "pattern": r"^\s*[+-]?\d+(\.\d*)?\s*/\s*\d+\s*$"}
_NUMBER_TEXT = {"type": "string", "pattern": r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"}
"""YAML 1.1 reads 5e-4 as a text."""
_SCALARS: dict[Any, Schema] = {int: {"type": "integer"}, bool: {"type": "boolean"}, str: {"type": "string"}}


def sweep_schema() -> Schema:
    """The schema of a definition, JSON Schema 2020-12. It allows all that cosweep does; cosweep checks more."""
    trial = _object(TrialSpec)
    del trial["properties"]["stop"]  # stands beside the trial
    for section, (key, _) in DEFAULT_COMPONENTS.items():
        if section in trial["properties"]:
            trial["properties"][section] = _component(section_base(section), required=False, key=key)
    sections = {"search": SearchSpec, "stop": StopSpec, "resources": ResourcesSpec, "tracking": TrackingSpec}
    properties: Schema = {
        "name": {"type": "string", "description": "Part of paths below the results root."},
        "trial": _or_null(trial),
        "space": _or_null(_space()),
        **{name: _or_null(_object(cls)) for name, cls in (sections | {"results": ResultsSpec}).items()},
    }
    properties["search"]["anyOf"][0]["properties"]["kind"] = {"enum": sorted(STRATEGIES)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cosweep sweep",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def section_base(section: str) -> type[Component]:
    """The base of the components that a section of the trial chooses from."""
    base: type[Component] = types_of(TrialSpec)[section]
    return base


def _space() -> Schema:
    values = {"type": "array", "minItems": 1}
    kinds = {
        kind: values if kind == "grid" else {"type": "array", "minItems": 2, "maxItems": 3 if kind == "linspace" else 2}
        for kind in AXIS_KINDS
    }
    axis = {
        "type": "object",
        "properties": kinds,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {
        "type": "object",
        "description": "Dotted paths into the trial, with an axis each.",
        "additionalProperties": {"anyOf": [values, axis]},
    }


def _object(cls: type[Spec]) -> Schema:
    told = _attribute_texts(cls)
    hints = types_of(cls)
    return {
        "type": "object",
        "description": _first_line(cls),
        "properties": {f.name: _described(_value(hints[f.name], f), told.get(f.name)) for f in fields(cls)},
        "additionalProperties": False,
    }


def _component(base: type[Component], *, required: bool, key: str) -> Schema:
    """Any component of a base, by its name; where a default takes the name's place, that need not be given."""
    variants = []
    for name, cls in MENUS[base].items():
        variant = _object(cls)
        variant["properties"] = {key: {"const": name}, **variant["properties"]}
        if required or (key, name) not in DEFAULT_COMPONENTS.values():
            variant["required"] = [key]
        variants.append(variant)
    if base.named_alone:
        return {"anyOf": [{"enum": sorted(MENUS[base])}, *variants]}
    return {"anyOf": variants}


def _value(hint: Any, spec_field: Field[Any], *, may_be_null: bool = True) -> Schema:
    """What YAML may say for a field, or, without ``may_be_null``, for an entry of its list."""
    if get_origin(hint) in (Union, types.UnionType):
        return {"anyOf": [_value(arm, spec_field) for arm in get_args(hint)]}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _value(get_args(hint)[0], spec_field, may_be_null=False)}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if hint is type(None):
        return {"type": "null"}
    if isinstance(hint, type) and issubclass(hint, Component) and hint in MENUS:
        return _component(hint, required=True, key=hint.key)
    if isinstance(hint, type) and issubclass(hint, Spec):
        return _object(hint)
    if "choices" in spec_field.metadata:
        return {"enum": sorted(spec_field.metadata["choices"])}
    nullable = [{"type": "null"}] if may_be_null and spec_field.default is None else []
    if hint is float:
        texts = _PIXELS if spec_field.metadata.get("pixels") else _NUMBER_TEXT
        return {"anyOf": [{"type": "number"} | _limits(spec_field.metadata), texts, *nullable]}
    scalar = _SCALARS[hint] | (_limits(spec_field.metadata) if hint is int else {})
    return {"anyOf": [scalar, *nullable]} if nullable else scalar


def _limits(metadata: Mapping[str, Any]) -> Schema:
    names = {"low": "minimum", "high": "maximum", "above": "exclusiveMinimum"}
    return {names[n]: metadata[n] for n in names if n in metadata and math.isfinite(metadata[n])}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _described(schema: Schema, text: str | None) -> Schema:
    return schema if text is None else {"description": text, **schema}


def _first_line(cls: type[Spec]) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0].replace("``", "")


def _attribute_texts(cls: type[Spec]) -> dict[str, str]:
    """What docstrings say of the fields of a class and its bases, by name."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        section = inspect.cleandoc(owner.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        for names, text in re.findall(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)", section, re.MULTILINE):
            texts |= dict.fromkeys(_names(names), " ".join(text.replace("``", "").split()))
    return texts


def _names(text: str) -> Iterable[str]:
    return (name.strip() for name in text.split(","))
