"""Errors: they come whole out of another process, and quote long values shortly."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cosweep
from cosweep.errors import CosweepError, Fault, SpecError, UnknownNameError, clipped, shown, unknown_name

PACKAGE = Path(cosweep.__file__).parent
WITH_ARGUMENTS_OF_THEIR_OWN = {
    SpecError: SpecError([Fault("trial.method.epsilon", "must be in [0, 1], got 8.0"), Fault("name", "missing")]),
    UnknownNameError: UnknownNameError("method", "nfgsm", ["fgsm", "n_fgsm"]),
}


def all_classes() -> list[type[CosweepError]]:
    """Every class of error of the package, from the modules that define one."""
    for file in PACKAGE.rglob("*.py"):
        if re.search(r"^class \w+\(\w*Error\)", file.read_text(), re.MULTILINE):
            importlib.import_module(".".join(("cosweep", *file.relative_to(PACKAGE).with_suffix("").parts)))
    return list(below(CosweepError))


def below(cls: type[CosweepError]) -> Iterator[type[CosweepError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from below(subclass)


@pytest.mark.parametrize("cls", all_classes(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_comes_whole_out_of_another_process(cls: type[CosweepError], protocol: int) -> None:
    error = WITH_ARGUMENTS_OF_THEIR_OWN[cls] if cls in WITH_ARGUMENTS_OF_THEIR_OWN else cls("what to do: mend it")
    error.add_note("in a worker")
    read = pickle.loads(pickle.dumps(error, protocol))
    assert type(read) is cls
    assert str(read) == str(error) != ""
    assert read.args == error.args
    assert vars(read) == vars(error)


def test_all_classes_are_found() -> None:
    assert {cls.__name__ for cls in all_classes()} >= {"SpecError", "UnknownNameError", "ReplayError", "BusyError"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("eight", "'eight'"),
        ([8, "x"], "[8, 'x']"),
        (None, "None"),
        ("a" * 10**7, "(10,000,000 characters)"),
        ([1] * 200_000, "(200,000 entries)"),
        ({"a": "x" * 10**6}, "..."),
        ([[["x" * 70] * 9] * 9] * 9, "..."),
        (10**1000, "..."),
    ],
)
def test_a_value_is_quoted_shortly_and_a_long_one_with_its_length(value: object, text: str) -> None:
    assert text in shown(value)
    assert len(shown(value)) <= 80 + len(" (10,000,000 characters)")


def test_no_message_echoes_a_long_name_or_path() -> None:
    assert len(unknown_name("key", "k" * 10**6, ["name"])) < 200
    assert len(str(Fault("p." * 10**5, "is wrong"))) < 250
    assert clipped("abcdefghij", 10) == "abcdefghij"
    assert clipped("abcdefghijk", 10) == "abc...ijk"


ADDRESS = "postgresql://mlflow_user:Sup3rS3cretPassw0rd@db.internal.example.com:5432/mlflow_production_database"


@pytest.mark.parametrize("value", [ADDRESS, {"uri": ADDRESS}, [ADDRESS], "x" * 50 + ADDRESS, ADDRESS + "x" * 5000])
def test_a_value_is_cut_after_its_credentials_are_taken_out(value: object) -> None:
    assert "S3cret" not in shown(value)
    assert "S3cret" not in str(Fault("tracking", f"{'x' * 3990}{value}"))
