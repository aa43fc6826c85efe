"""Tables that fit the terminal: at every width each line fits, no row is blank, and what is missing is counted."""

from __future__ import annotations

import io
import re

import pytest

from cosweep.cli.fitted_table import FittedTable
from cosweep.terminal import SafeConsole


def printed(table: FittedTable, width: int) -> list[str]:
    console = SafeConsole(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def wide(rows: int) -> FittedTable:
    """A table of 60 columns, as ``trials`` has them."""
    table = FittedTable([f"column_{i}" for i in range(60)])
    for number in range(rows):
        table.add_row(f"id{number:03d}", *(f"{number}.{i}" for i in range(1, 59)), "a long text of words " * 9)
    return table


@pytest.mark.parametrize("width", range(20, 260, 7))
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_at_every_width_all_lines_fit_and_all_rows_have_values(width: int, rows: int) -> None:
    lines = printed(wide(rows), width)
    assert max(map(len, lines)) <= width
    assert all(line.strip() for line in lines)
    for number in range(rows):
        assert any(f"id{number:03d}" in line for line in lines)
        assert any(re.search(rf"(^|\s){number}\.1(\s|$)", line) for line in lines)


def test_what_is_left_out_is_counted() -> None:
    head, _, *lines = printed(wide(40), 40)
    shown = len(head.split())
    assert " ".join(" ".join(lines[40:]).split()) == f"{60 - shown} of 60 columns left out: a wider terminal shows them"
    assert "left out" not in "".join(printed(wide(40), 2000))


def test_few_rows_stand_on_end_with_every_value() -> None:
    lines = printed(wide(3), 80)
    assert lines[0].split() == ["column_0", "id000", "id001", "id002"]
    assert [line.split() for line in lines[2:60]] == [
        [f"column_{i}", f"0.{i}", f"1.{i}", f"2.{i}"] for i in range(1, 59)
    ]


def test_texts_are_folded_before_a_column_is_left_out_and_what_is_short_stays_whole() -> None:
    table = FittedTable(["id", "reason", "source"], turns=False)
    table.add_row("0123456789ab", "accuracy fell below one half of its best", "somebody et al., 2020")
    lines = printed(table, 50)
    assert "left out" not in "".join(lines)
    assert lines[2].startswith("0123456789ab  accuracy")
    assert len(lines) > 3


def test_markup_and_commands_to_the_terminal_are_text() -> None:
    table = FittedTable(["[red]a[/]"], [["\x1b[31mx"]])
    assert printed(table, 40)[0].strip() == "[red]a[/]"
    assert printed(table, 40)[2].strip() == r"\x1b[31mx"


def test_a_single_column_is_shown_at_any_width() -> None:
    lines = printed(FittedTable(["name"], [["x" * 50]]), 20)
    assert "".join(lines[2:]).replace(" ", "") == "x" * 50
