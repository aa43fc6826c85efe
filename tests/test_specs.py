"""Building specs from what a user wrote: conversion, limits, and messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from cosweep.errors import SpecError, UnknownNameError
from cosweep.specs import Component, Menus, Spec, build, canonical_json, choice, number, pixel_quantity, spec_hash
from cosweep.training import TrialSpec


@dataclass(frozen=True, kw_only=True)
class Shape(Component):
    name: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Circle(Shape):
    name: ClassVar[str] = "circle"
    radius: float = number(1.0, above=0.0)


@dataclass(frozen=True, kw_only=True)
class Square(Shape):
    name: ClassVar[str] = "square"
    side: float


@dataclass(frozen=True, kw_only=True)
class Inner(Spec):
    count: int = number(1, low=0, high=9)
    label: str = "a"


@dataclass(frozen=True, kw_only=True)
class Outer(Spec):
    epsilon: float = pixel_quantity(8 / 255)
    decay: float = number(0.0, low=0.0)
    flag: bool = False
    mode: Literal["fast", "slow"] = "fast"
    colour: str = choice("red", {"red": 0, "green": 1})
    limit: int | Literal["never"] = number(5, low=0)
    maybe: int | None = number(None, low=1)
    widths: tuple[int, ...] = number((1, 2), low=1)
    inner: Inner = field(default_factory=Inner)
    shape: Shape = field(default_factory=Circle)
    shapes: tuple[Shape, ...] = ()
    place: str | None = field(default=None, metadata={"identity": False})


MENUS: Menus = {Shape: {"circle": Circle, "square": Square}}


def outer(raw: Mapping[str, Any]) -> Outer:
    return build(Outer, raw, MENUS)


def faults_of(raw: object) -> dict[str, str]:
    """Path to message of every fault."""
    with pytest.raises(SpecError, match=r"\S") as caught:
        build(Outer, raw, MENUS)
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    paths = [fault.path for fault in caught.value.faults]
    assert len(paths) == len(set(paths)), "a place is reported once"
    return {fault.path: fault.message for fault in caught.value.faults}


def test_an_empty_mapping_takes_every_default() -> None:
    assert outer({}) == Outer()


def test_plain_data_of_a_spec_builds_an_equal_spec() -> None:
    spec = Outer(widths=(3,), inner=Inner(count=2), shape=Square(side=2.0), shapes=(Circle(radius=3.0),), place="x")
    assert outer(spec.to_dict()) == spec


def test_all_faults_come_together_each_with_its_path() -> None:
    faults = faults_of(
        {
            "epsilon": 8,
            "decay": -1,
            "flag": "yes",
            "mode": "fats",
            "colour": "gren",
            "limit": "nevr",
            "widths": [1, 0],
            "inner": {"count": 10, "labl": "b"},
            "shape": {"name": "circle", "radius": 0},
            "shapes": [{"name": "square"}, {"name": "cube"}, {"radius": 2}],
            "epsilom": 0.1,
        }
    )
    assert sorted(faults) == [
        "colour",
        "decay",
        "epsilom",
        "epsilon",
        "flag",
        "inner.count",
        "inner.labl",
        "limit",
        "mode",
        "shape.radius",
        "shapes.0.side",
        "shapes.1.name",
        "shapes.2.name",
        "widths",
    ]


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        ({"epsilon": 8}, "epsilon", "must be in [0, 1], got 8.0; write 8/255 for 8 grey levels"),
        ({"epsilon": "8"}, "epsilon", "write 8/255"),
        ({"epsilon": 1.5}, "epsilon", "write 1.5/255"),
        ({"epsilon": -0.1}, "epsilon", "must be in [0, 1], got -0.1"),
        ({"epsilon": "wide"}, "epsilon", "expected a number or a fraction such as 8/255, got 'wide'"),
        ({"epsilon": True}, "epsilon", "expected a number or a fraction such as 8/255, got True"),
        ({"epsilon": ".nan"}, "epsilon", "got '.nan'"),
        ({"epsilon": float("nan")}, "epsilon", "must be in [0, 1], got nan"),
        ({"decay": "wide"}, "decay", "expected a number, got 'wide'"),
        ({"decay": False}, "decay", "expected a number, got False"),
        ({"decay": None}, "decay", "expected a number, got None"),
        ({"decay": [1]}, "decay", "expected a number, got [1]"),
        ({"decay": -1}, "decay", "must be at least 0, got -1.0"),
        ({"decay": float("inf")}, "decay", "must be a finite number of at least 0, got inf"),
        ({"decay": 1e308}, "decay", "must be at most 1e+30, got 1e+308"),
        ({"decay": "1_000"}, "decay", "expected a number, got '1_000'"),
        ({"decay": "\uff11\uff12"}, "decay", "expected a number, got '\uff11\uff12'"),  # full-width digits
        ({"decay": "inf"}, "decay", "expected a number, got 'inf'"),
        ({"decay": "9" * 400}, "decay", "must be a finite number of at least 0, got inf"),
        ({"epsilon": "1_0/255"}, "epsilon", "expected a number or a fraction such as 8/255, got '1_0/255'"),
        ({"maybe": 10**30}, "maybe", "must be at most 9223372036854775807, got 1000000"),
        ({"widths": [1] * 1001}, "widths", "expected at most 1,000 entries, got 1,001"),
        ({"place": "a\0b"}, "place", "holds a null character"),
        ({"place": 1e5}, "place", "expected a text, got 100000.0; a text that looks like a number takes quotes"),
        ({"flag": 1}, "flag", "expected true or false, got 1"),
        ({"mode": "fats"}, "mode", "unknown value 'fats'; did you mean 'fast'? known: fast, slow"),
        ({"mode": 3}, "mode", "unknown value 3"),
        ({"colour": "gren"}, "colour", "unknown colour 'gren'; did you mean 'green'? known: green, red"),
        ({"colour": "q"}, "colour", "unknown colour 'q'; known: green, red"),
        ({"limit": "soon"}, "limit", "expected a whole number or 'never', got 'soon'"),
        ({"limit": True}, "limit", "expected a whole number or 'never', got True"),
        ({"limit": -1}, "limit", "must be at least 0, got -1"),
        ({"maybe": 0}, "maybe", "must be at least 1, got 0"),
        ({"maybe": 1.5}, "maybe", "expected a whole number, got 1.5"),
        ({"widths": 3}, "widths", "expected a list, got 3"),
        ({"widths": [1, "b"]}, "widths.1", "expected a whole number, got 'b'"),
        ({"widths": [1, 0]}, "widths", "must be at least 1, got 0"),
        ({"inner": 3}, "inner", "expected a mapping of options, got 3"),
        ({"inner": None}, "inner", "expected a mapping of options, got None"),
        ({"inner": {"count": 10}}, "inner.count", "must be in [0, 9], got 10"),
        ({"inner": {"label": 5}}, "inner.label", "expected a text, got 5"),
        ({"inner": {"coutn": 5}}, "inner.coutn", "unknown key 'coutn'; did you mean 'count'? known: count, label"),
        ({"shape": {"radius": 1}}, "shape.name", "missing; say which shape it is, one of: circle, square"),
        ({"shape": {"name": "cirle"}}, "shape.name", "unknown shape 'cirle'; did you mean 'circle'?"),
        ({"shape": {"name": ["circle"]}}, "shape.name", "unknown shape ['circle']"),
        ({"shape": {"name": "circle", "radius": 0}}, "shape.radius", "must be above 0, got 0.0"),
        ({"shape": {"name": "circle", "side": 1}}, "shape.side", "(for name: circle)"),
        ({"shapes": [{"name": "square"}]}, "shapes.0.side", "missing (for name: square)"),
        ({"shapes": [{"name": "cube"}]}, "shapes.0.name", "unknown shape 'cube'"),
        ({"shapes": [{}]}, "shapes.0.name", "missing; say which shape it is"),
        ({"shapes": {"name": "circle"}}, "shapes", "expected a list"),
        ({3: 4}, "3", "unknown key 3"),
        ([1], "", "expected a mapping of options, got [1]"),
        (None, "", "expected a mapping of options, got None"),
    ],
)
def test_a_fault_says_where_it_is_and_what_to_write_instead(raw: object, path: str, message: str) -> None:
    faults = faults_of(raw)
    assert list(faults) == [path]
    assert message in faults[path]


@pytest.mark.parametrize(
    ("raw", "name", "value"),
    [
        ({"epsilon": "8/255"}, "epsilon", 8 / 255),
        ({"epsilon": 0}, "epsilon", 0.0),
        ({"epsilon": 1}, "epsilon", 1.0),
        ({"decay": "5e-4"}, "decay", 5e-4),
        ({"decay": 2}, "decay", 2.0),
        ({"limit": "never"}, "limit", "never"),
        ({"limit": 7}, "limit", 7),
        ({"limit": 7.0}, "limit", 7),
        ({"maybe": None}, "maybe", None),
        ({"maybe": 3}, "maybe", 3),
        ({"widths": [4, 5.0]}, "widths", (4, 5)),
        ({"flag": True}, "flag", True),
        ({"mode": "slow"}, "mode", "slow"),
        ({"shape": {"name": "square", "side": 2}}, "shape", Square(side=2.0)),
    ],
)
def test_a_value_is_read_as_its_field_means_it(raw: dict[str, Any], name: str, value: object) -> None:
    read = getattr(outer(raw), name)
    assert read == value
    assert type(read) is type(value)


def test_limits_hold_without_build_too() -> None:
    with pytest.raises(SpecError, match=r"epsilon: must be in \[0, 1\], got 8.0; write 8/255 for 8 grey levels"):
        Outer(epsilon=8)


def test_building_leaves_the_data_as_they_were() -> None:
    raw = {"shape": {"name": "circle", "radius": 2}, "widths": [1]}
    outer(raw)
    assert raw == {"shape": {"name": "circle", "radius": 2}, "widths": [1]}


def test_hash_ignores_fields_that_are_no_part_of_the_identity() -> None:
    assert spec_hash(Outer(place="here")) == spec_hash(Outer(place="there"))
    assert Outer(place="here").to_dict()["place"] == "here"


def test_hash_is_the_head_of_the_sha256_of_the_canonical_json() -> None:
    """Pinned: a change of the rule would rename every trial ever run."""
    assert spec_hash(Inner()) == hashlib.sha256(b'{"count":1,"label":"a"}').hexdigest()[:12] == "d61914a5b4d4"


def test_equal_specs_have_equal_hashes() -> None:
    whole, fraction = Outer(epsilon=0), Outer(epsilon=0.0)
    assert whole == fraction
    assert spec_hash(whole) == spec_hash(fraction)


def test_canonical_json_sorts_keys_and_refuses_nan() -> None:
    assert canonical_json({"b": [1, 0.1], "a": None}) == '{"a":null,"b":[1,0.1]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_unknown_name_error_names_the_nearest_and_all() -> None:
    error = UnknownNameError("method", "nfgsm", ["rs_fgsm", "n_fgsm", "pgd"])
    assert str(error) == "unknown method 'nfgsm'; did you mean 'n_fgsm'? known: n_fgsm, pgd, rs_fgsm"


def test_a_detector_with_default_options_is_written_by_its_name_alone() -> None:
    """So that trial ids are those of specs that knew no options."""
    plain, spelled, tuned = (
        TrialSpec.from_dict({"stop": {"co": {"detector": detector}}})
        for detector in ("collapse", {"name": "collapse", "gap": 0.2}, {"name": "collapse", "gap": 0.25})
    )
    assert plain == spelled == TrialSpec()
    assert plain.to_dict()["stop"]["co"]["detector"] == "collapse"
    assert plain.trial_id == spelled.trial_id != tuned.trial_id
    assert tuned.to_dict()["stop"]["co"]["detector"] == {"name": "collapse", "lost": 0.5, "gap": 0.25, "show": 0.6}
    assert TrialSpec.from_dict(tuned.to_dict()) == tuned
    columns = ("stop_co_detector", "stop_co_detector_gap")
    assert [[spec.flat()[name] for name in columns] for spec in (plain, tuned)] == [
        ["collapse", 0.2],
        ["collapse", 0.25],
    ]
