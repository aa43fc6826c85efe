"""Phase diagrams from rows of trials."""

from __future__ import annotations

import math
import random
import struct

import pytest

from cosweep.results.breaking_points import Cell, PhaseDiagram, format_value, phase_diagram, phase_rows
from cosweep.results.figures import phase_figure
from cosweep.results.schema import TRIAL_COLUMNS, table_from_rows
from tests.results.rows import broken_row, trial_row

ROWS = [
    broken_row("a", co_step=10, epsilon=0.3, beta=0.1, seed=0),
    broken_row("b", co_step=30, epsilon=0.3, beta=0.1, seed=1),
    trial_row("c", epsilon=0.3, beta=0.0, seed=0),
    broken_row("d", co_step=7, epsilon=0.3, beta=0.0, seed=1),
    trial_row("e", epsilon=0.2, beta=0.0, seed=0),
    trial_row("f", epsilon=0.2, beta=0.1, seed=0, status="failed", state=None, co=None, robust_acc=None),
]


def diagram(axes: list[str]) -> PhaseDiagram:
    return phase_diagram(table_from_rows(ROWS, TRIAL_COLUMNS), axes)


def test_cells_count_trials_and_take_the_median_breaking_point() -> None:
    made = diagram(["epsilon", "beta", "seed"])
    assert (made.row_axis, made.column_axis) == ("epsilon", "beta")
    assert made.cells[0.3, 0.1] == Cell(trials=2, broken=2, unclear=0, co_step=20, robust_acc=0.4)
    assert made.cells[0.3, 0.0].probability == pytest.approx(0.5)


@pytest.mark.parametrize("state", ["diverged", "not_robust"])
def test_trials_with_no_robustness_to_lose_do_not_count_as_unbroken(state: str) -> None:
    rows = [trial_row("a", state=state), trial_row("b"), trial_row("c", beta=0.5, state=state)]
    made = phase_diagram(table_from_rows(rows, TRIAL_COLUMNS), ["beta"])
    assert (made.cells[None, 0.0].trials, made.cells[None, 0.0].unclear) == (1, 1)
    assert math.isnan(made.cells[None, 0.5].probability)
    assert phase_rows(made)[1]["p_co"] is None
    assert phase_figure(made, "title").startswith(b"\x89PNG")


def test_a_random_search_is_drawn_as_points_of_bounded_size() -> None:
    rng = random.Random(0)
    rows = [trial_row(str(i), epsilon=rng.random(), beta=rng.random()) for i in range(300)]
    png = phase_figure(phase_diagram(table_from_rows(rows, TRIAL_COLUMNS), ["epsilon", "beta"]), "title")
    width, height = struct.unpack(">II", png[16:24])
    assert max(width, height) < 3000


def test_failed_trials_count_nowhere() -> None:
    assert (0.2, 0.1) not in diagram(["epsilon", "beta"]).cells


def test_the_seed_is_no_axis_beside_others() -> None:
    assert diagram(["seed", "beta"]).row_axis == ""
    assert diagram(["seed", "beta"]).column_axis == "beta"
    assert diagram(["seed"]).column_axis == "seed"


def test_one_axis_makes_a_single_row() -> None:
    made = diagram(["beta"])
    assert made.rows == (None,)
    assert made.cells[None, 0.1].trials == 2


def test_an_axis_that_is_no_column_is_passed_over() -> None:
    assert diagram(["probe", "beta"]).column_axis == "beta"


def test_rows_of_the_table_follow_the_axes() -> None:
    rows = phase_rows(diagram(["epsilon", "beta"]))
    assert [(r["epsilon"], r["beta"], r["p_co"]) for r in rows] == [(0.2, 0.0, 0.0), (0.3, 0.0, 0.5), (0.3, 0.1, 1.0)]


@pytest.mark.parametrize(
    ("axis", "value", "text"),
    [("epsilon", 8 / 255, "8/255"), ("beta", 0.0, "0"), ("lr_max", 0.05, "0.05"), ("method", "fgsm", "fgsm")],
)
def test_values_are_shown_as_people_read_them(axis: str, value: float | str, text: str) -> None:
    assert format_value(axis, value) == text


@pytest.mark.parametrize("axes", [["epsilon", "beta"], ["beta"], ["method", "beta"]])
def test_a_figure_is_a_png(axes: list[str]) -> None:
    assert phase_figure(diagram(axes), "title").startswith(b"\x89PNG")


def test_a_sweep_without_a_finished_trial_has_an_empty_figure() -> None:
    empty = phase_diagram(table_from_rows([], TRIAL_COLUMNS), ["epsilon", "beta"])
    assert empty.cells == {}
    assert phase_figure(empty, "title").startswith(b"\x89PNG")
