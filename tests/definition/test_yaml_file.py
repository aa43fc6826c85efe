"""Reading YAML: what is refused, and where it says the fault is."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosweep.definition.yaml_file import MOST_NODES, parse_yaml, read_text
from cosweep.errors import CosweepError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", r"f.yaml, line 1, column \d+: not valid YAML"),
        ("a: 1\nb: 2\n c: 3\n", r"f.yaml, line 3, column 3: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", r"line 3, column 1: not valid YAML: the key 'a' appears twice"),
        ("? [a]\n: 3", "line 1, column 3: not valid YAML: a key must be a plain text"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML: could not determine a constructor"),
        ("a: \udc80", "not valid YAML: unacceptable character"),  # a byte of a command line that is no UTF-8
        ("a: !!bool zzz", "line 1, column 4: not valid YAML: 'zzz' is no bool"),
        ("a: !!int ''", "line 1, column 4: not valid YAML: '' is no int"),
        ("a: !!int 1_000", "not valid YAML: '1_000' is no int"),
        ("a: !!int [1]", "not valid YAML: a list is no int"),
        ("a: !!float 1:30", "not valid YAML: '1:30' is no float"),
        ("a: !!null 3", "not valid YAML: '3' is no null"),
        ("a: !!timestamp 2020-01-01", "not valid YAML: could not determine a constructor"),
        ('a: "\\ud800"', "line 1, column 4: not valid YAML: .* is no text"),
        ("a: !!" + "x" * 10**6 + " 1", r"^.{1,500}$"),
    ],
)
def test_a_broken_text_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CosweepError, match=message):
        parse_yaml(text, "f.yaml")


def test_only_true_and_false_are_booleans() -> None:
    assert parse_yaml("{on: yes, a: true, b: False, c: no}", "f") == {"on": "yes", "a": True, "b": False, "c": "no"}


def test_scalars_are_those_of_the_core_schema() -> None:
    text = "{a: 010, b: 1:30, c: 2020-01-01, d: 5e-4, e: 1_000, f: null, g: ~, h: -3, i: 1.5, j: 8/255, k: , l: .inf}"
    assert parse_yaml(text, "f") == {
        "a": 10.0,
        "b": "1:30",
        "c": "2020-01-01",
        "d": 5e-4,
        "e": "1_000",
        "f": None,
        "g": None,
        "h": -3,
        "i": 1.5,
        "j": "8/255",
        "k": None,
        "l": float("inf"),
    }


def test_an_explicit_tag_reads_what_its_kind_may_hold() -> None:
    assert parse_yaml("{a: !!int '12', b: !!str 12, c: !!bool 'true', d: !!float 3}", "f") == {
        "a": 12,
        "b": "12",
        "c": True,
        "d": 3.0,
    }


def test_blocks_can_be_shared_by_merge_keys() -> None:
    text = "base: &base {seed: 1, epochs: 2}\nmine: {<<: *base, epochs: 3}"
    assert parse_yaml(text, "f")["mine"] == {"seed": 1, "epochs": 3}


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match=r"none\.yaml: cannot be read: No such file"):
        read_text(tmp_path / "none.yaml")


def test_a_file_is_read_to_its_limit_and_no_further() -> None:
    with pytest.raises(CosweepError, match=r"/dev/zero: has more than 10,000,000 bytes"):
        read_text(Path("/dev/zero"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CosweepError, match="not a UTF-8 text"):
        read_text(tmp_path / "b.yaml")


@pytest.mark.parametrize("head", ["%YAML 1.3\n---\n", "%FOO bar\n---\n", "a: 1\n\ufeffb: 2\n"])
def test_what_libyaml_alone_refuses_is_counted_before_it_is_built(head: str) -> None:
    text = head + "c: [" + "1," * (MOST_NODES + 1) + "]"
    with pytest.raises(CosweepError, match="has more than 200,000 entries"):
        parse_yaml(text, "a.yaml")
