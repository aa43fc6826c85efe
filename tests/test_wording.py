"""Words of messages: numbers with their nouns, and commands on results elsewhere."""

from __future__ import annotations

import pytest

from cosweep.wording import at_root, counted


@pytest.mark.parametrize(
    ("number", "nouns", "text"),
    [
        (1, ("trial",), "1 trial"),
        (0, ("trial",), "0 trials"),
        (24, ("trial",), "24 trials"),
        (20_000, ("point",), "20000 points"),
        (1.0, ("CPU",), "1 CPU"),
        (0.5, ("CPU",), "0.5 CPUs"),
        (1, ("trial is", "trials are"), "1 trial is"),
        (2, ("trial is", "trials are"), "2 trials are"),
    ],
)
def test_a_noun_is_in_the_plural_unless_there_is_one(number: float, nouns: tuple[str, ...], text: str) -> None:
    assert counted(number, *nouns) == text


def test_a_command_names_the_root_quoted_unless_it_is_the_default() -> None:
    assert at_root("cosweep ui s", "results") == "cosweep ui s"
    assert at_root("cosweep ui s", "/data/my results") == "cosweep ui s --root '/data/my results'"
