"""Phase diagrams from rows of trials."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Sequence
from typing import Any

import matplotlib
import pytest

from cosweep.analysis.breaking_line import Scale
from cosweep.analysis.breaking_points import MOST_SLICES, Cell, PhaseDiagram, phase_diagrams, phase_rows
from cosweep.analysis.columns import default_axes, swept_columns
from cosweep.analysis.values import by_place, format_value, place_text
from cosweep.report.figures import image_files, phase_figure
from cosweep.report.page_figures import phase_caption, phase_plot
from cosweep.report.positions import drawn_at, place_of
from tests.results.rows import broken_row, trial_row

ROWS = [
    broken_row("a", co_step=10, epsilon=0.3, beta=0.1, seed=0),
    broken_row("b", co_step=30, epsilon=0.3, beta=0.1, seed=1),
    trial_row("c", epsilon=0.3, beta=0.0, seed=0),
    broken_row("d", co_step=7, epsilon=0.3, beta=0.0, seed=1),
    trial_row("e", epsilon=0.2, beta=0.0, seed=0),
    trial_row("f", epsilon=0.2, beta=0.1, seed=0, status="failed", state=None, co=None, robust_acc=None),
]


def diagrams(axes: Sequence[str], rows: Sequence[Any] = ROWS) -> list[PhaseDiagram]:
    space = swept_columns(rows, axes)
    return phase_diagrams(rows, space, *default_axes(space))


def diagram(axes: Sequence[str], rows: Sequence[Any] = ROWS) -> PhaseDiagram:
    (made,) = diagrams(axes, rows)
    return made


def png(made: Sequence[PhaseDiagram]) -> bytes:
    return image_files("phase", phase_figure(made, "title"))["phase.png"]


def test_cells_count_trials_and_take_the_median_breaking_point() -> None:
    made = diagram(["epsilon", "beta", "seed"])
    assert (made.row_axis, made.column_axis) == ("epsilon", "beta")
    assert made.cells[0.3, 0.1] == Cell(
        2, broken=2, unclear=0, co_step=20, robust_acc=0.4, trial_ids=("a", "b"), shares=made.cells[0.3, 0.1].shares
    )
    assert made.cells[0.3, 0.1].shares == pytest.approx((10 / 46, 30 / 46))
    assert made.cells[0.3, 0.0].probability == pytest.approx(0.5)


@pytest.mark.parametrize("state", ["diverged", "not_robust"])
def test_trials_with_no_robustness_to_lose_do_not_count_as_unbroken(state: str) -> None:
    made = diagram(["beta"], [trial_row("a", state=state), trial_row("b"), trial_row("c", beta=0.5, state=state)])
    assert (made.cells[None, 0.0].trials, made.cells[None, 0.0].unclear) == (1, 1)
    assert math.isnan(made.cells[None, 0.5].probability)
    assert phase_rows(made)[1]["p_co"] is None
    assert png([made]).startswith(b"\x89PNG")


def test_a_random_search_is_drawn_as_points_of_bounded_size() -> None:
    rng = random.Random(0)
    rows = [
        (broken_row if (epsilon := rng.random()) > 0.5 else trial_row)(str(i), epsilon=epsilon, beta=rng.random())
        for i in range(60)
    ]
    width, height = struct.unpack(">II", png(diagrams(["epsilon", "beta"], rows))[16:24])
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


def test_rows_of_the_table_follow_the_axes_and_have_wilson_intervals() -> None:
    rows = phase_rows(diagram(["epsilon", "beta"]))
    assert [(r["epsilon"], r["beta"], r["p_co"]) for r in rows] == [(0.2, 0.0, 0.0), (0.3, 0.0, 0.5), (0.3, 0.1, 1.0)]
    assert [rows[2]["p_co_low"], rows[2]["p_co_high"]] == pytest.approx([0.3424, 1.0], abs=1e-4)


# --- axes ------------------------------------------------------------------------------------------------------------

AXES = [
    (["epsilon", "beta"], ("epsilon", "beta")),
    (["method", "epsilon", "beta"], ("epsilon", "beta")),  # two numeric ones come first
    (["method", "beta"], ("method", "beta")),  # a numeric one goes across
    (["beta", "method"], ("method", "beta")),
    (["method", "intervention"], ("intervention", "method")),
    (["method"], ("", "method")),
]


@pytest.mark.parametrize(("columns", "up_and_across"), AXES)
def test_the_axes_that_say_most_are_drawn(columns: list[str], up_and_across: tuple[str, str]) -> None:
    rows = [
        trial_row(f"{e}{b}{m}{i}", epsilon=e, beta=b, method=m, intervention=i)
        for e in (0.1, 0.2)
        for b in (0.0, 0.1)
        for m in ("fgsm", "pgd")
        for i in ("inject", "shuffled")
    ]
    assert default_axes(swept_columns(rows, columns)) == up_and_across


def test_other_axes_are_never_thrown_together_while_they_are_few() -> None:
    rows = [
        (broken_row if method == "fgsm" else trial_row)(f"{e}{b}{method}", epsilon=e, beta=b, method=method)
        for e in (0.1, 0.2)
        for b in (0.0, 0.1)
        for method in ("fgsm", "pgd")
    ]
    fgsm, pgd = diagrams(["epsilon", "beta", "method"], rows)
    assert [d.where for d in (fgsm, pgd)] == ["method fgsm", "method pgd"]
    assert {cell.probability for cell in fgsm.cells.values()} == {1.0}
    assert {cell.probability for cell in pgd.cells.values()} == {0.0}
    assert png([fgsm, pgd]).startswith(b"\x89PNG")


def test_an_axis_of_many_numbers_is_pooled_and_named_before_one_of_names() -> None:
    rows = [
        trial_row(f"{i}{method}", epsilon=0.1 + i / 1000, beta=i / 100, lr_max=0.1 + i / 50, method=method)
        for i in range(MOST_SLICES + 1)
        for method in ("fgsm", "pgd")
    ]
    made = diagrams(["epsilon", "beta", "lr_max", "method"], rows)
    assert [(d.where, d.pooled) for d in made] == [("method fgsm", ("lr_max",)), ("method pgd", ("lr_max",))]


def test_an_option_that_only_some_trials_have_is_a_place_of_its_own() -> None:
    rows = [trial_row("a", beta=None), trial_row("b", beta=0.0), broken_row("c", beta=0.1)]
    made = diagram(["beta"], rows)
    assert made.columns == (None, 0.0, 0.1)
    assert place_text(["method", "beta"], ["fgsm", None]) == "method fgsm"
    assert png([made]).startswith(b"\x89PNG")


def test_places_come_in_order_of_their_values() -> None:
    rows: list[dict[str, Any]] = [{"n": 10, "s": "b"}, {"n": 9, "s": "b"}, {"n": None, "s": "a"}]
    assert list(by_place(rows, ["n", "s"])) == [(None, "a"), (9, "b"), (10, "b")]


# --- the breaking line -----------------------------------------------------------------------------------------------


def band(row_axis: str, rows: Sequence[float] | Sequence[str]) -> list[dict[str, Any]]:
    """Trials that break for beta 0.1 and 0.2 of 0, 0.1, 0.2, 0.3, in each row."""
    return [
        (broken_row if 0 < x < 0.3 else trial_row)(f"{y}{x}{seed}", seed=seed, beta=x) | {row_axis: y}
        for y in rows
        for x in (0.0, 0.1, 0.2, 0.3)
        for seed in range(4)
    ]


def test_a_band_has_a_lower_and_an_upper_end_in_each_row() -> None:
    made = diagram(["epsilon", "beta"], band("epsilon", (0.3, 0.4)))
    found = [(row["epsilon"], row["breaks"], row["value"]) for row in made.crossing_rows()]
    assert [(e, side) for e, side, _ in found] == [(0.3, "above"), (0.3, "below"), (0.4, "above"), (0.4, "below")]
    assert [value for _, _, value in found] == pytest.approx([0.05, 0.25] * 2, abs=0.02)


def test_a_row_that_shows_one_outcome_only_tells_no_crossing() -> None:
    held = [trial_row(f"h{x}{s}", epsilon=0.2, beta=x, seed=s) for x in (0.0, 0.1, 0.2, 0.3) for s in range(4)]
    made = diagram(["epsilon", "beta"], held + band("epsilon", (0.3, 0.4)))
    assert {row["epsilon"] for row in made.crossing_rows()} == {0.3, 0.4}


def test_rows_that_are_no_numbers_have_a_line_each() -> None:
    made = diagram(["method", "beta"], band("method", ("fgsm", "rs_fgsm")))
    assert [row for row, _ in made.lines] == ["fgsm", "rs_fgsm"]
    assert {row["method"] for row in made.crossing_rows()} == {"fgsm", "rs_fgsm"}


def test_lines_are_drawn_where_the_values_are_however_many_places_say_nothing() -> None:
    grid = Scale.of([0.1, 0.3])
    columns = (None, 0.1, 0.2, 0.3)  # None, and 0.2 of which no trial says anything, are drawn but not fitted
    assert [drawn_at(p, columns, grid) for p in (-0.5, 0, 0.5, 1, 1.5)] == [0.5, 1, 2, 3, 3.5]
    assert [place_of(v, columns, grid) for v in columns] == [0, 1, 2, 3]
    many = Scale.of([10.0**i for i in range(-8, 9)])
    assert many.kind == "log"
    assert (place_of(100.0, (None, 100.0), many), drawn_at(2.0, (None, 100.0), many)) == (2, 2)
    assert place_of(None, (None, 100.0), many) < -8


def test_an_axis_that_only_some_trials_have_is_drawn_by_both_renderers() -> None:
    rows = [trial_row("none", lambda_=None)] + [
        (broken_row if i > 10 else trial_row)(str(i), lambda_=10.0 ** (i / 4 - 3)) for i in range(20)
    ]
    made = diagram(["lambda_"], rows)
    assert png([made]).startswith(b"\x89PNG")
    marks = phase_plot(made)["data"][0]
    assert len(marks["x"]) == 21
    assert all(math.isfinite(x) for x in marks["x"])


def test_the_seed_alone_has_no_breaking_line() -> None:
    rows = [(broken_row if seed % 2 else trial_row)(str(seed), seed=seed) for seed in range(8)]
    assert diagram(["seed"], rows).lines == []


def test_a_place_of_which_most_trials_say_nothing_has_no_colour_but_its_counts() -> None:
    unclear = [trial_row(f"u{i}", beta=0.1, epsilon=0.3, state="diverged", seed=i) for i in range(4)]
    rows = [*unclear, broken_row("b", beta=0.1, epsilon=0.3, seed=9), trial_row("c", beta=0.0, epsilon=0.3)]
    made = diagram(["epsilon", "beta"], [*rows, trial_row("d", beta=0.0, epsilon=0.2)])
    plot = phase_plot(made)
    assert plot["data"][0]["z"] == [[0.0, None], [0.0, None]]
    assert "1 of 1<br>step 20<br>4 unclear" in plot["data"][-1]["text"]
    assert "Without colour" in phase_caption(made)


def test_names_of_the_user_are_text_in_every_figure() -> None:
    rows = [
        (broken_row if name < "b" else trial_row)(f"{name}{s}", method=name, seed=s)
        for name in ("$\\frac{$", "<b>x</b>")
        for s in (0, 1)
    ]
    made = diagram(["method"], rows)
    with matplotlib.rc_context({"text.parse_math": False}):
        assert png([made]).startswith(b"\x89PNG")
    assert [t.split("<br>")[0] for t in phase_plot(made)["layout"]["xaxis"]["ticktext"]] == [
        "$\\frac{$",
        "&lt;b&gt;x&lt;/b&gt;",
    ]


def test_a_row_of_which_no_trial_says_whether_it_broke_is_passed_over() -> None:
    unclear = [trial_row(f"u{x}", epsilon=0.9, beta=x, state="diverged") for x in (0.0, 0.1, 0.2, 0.3)]
    made = diagram(["epsilon", "beta"], band("epsilon", (0.3,)) + unclear)
    assert [row for row, _ in made.lines] == [0.3]
    assert [row["epsilon"] for row in made.crossing_rows()] == [0.3, 0.3]
    assert png([made]).startswith(b"\x89PNG")
    assert phase_plot(made)["data"]


@pytest.mark.parametrize("axes", [["method"], ["method", "intervention"]])
def test_axes_without_numbers_have_no_line(axes: list[str]) -> None:
    rows = [
        (broken_row if m == "fgsm" else trial_row)(f"{m}{i}{seed}", method=m, intervention=i, seed=seed)
        for m in ("fgsm", "pgd")
        for i in ("inject", "shuffled")
        for seed in range(2)
    ]
    (made,) = diagrams(axes, rows)
    assert made.lines == []
    assert png([made]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("axis", "value", "text"),
    [("epsilon", 8 / 255, "8/255"), ("beta", 0.0, "0"), ("lr_max", 0.05, "0.05"), ("method", "fgsm", "fgsm")],
)
def test_values_are_shown_as_people_read_them(axis: str, value: float | str, text: str) -> None:
    assert format_value(axis, value) == text


@pytest.mark.parametrize("axes", [["epsilon", "beta"], ["beta"], ["method", "beta"]])
def test_a_figure_is_a_png_and_an_svg_of_text(axes: list[str]) -> None:
    files = image_files("phase", phase_figure([diagram(axes)], "title"))
    assert files["phase.png"].startswith(b"\x89PNG")
    assert b"2 of 2" in files["phase.svg"]


def test_a_figure_of_the_same_results_has_the_same_bytes() -> None:
    first, second = (image_files("phase", phase_figure([diagram(["epsilon", "beta"])], "title")) for _ in range(2))
    assert first == second


def test_a_sweep_without_a_finished_trial_has_an_empty_figure() -> None:
    assert png([]).startswith(b"\x89PNG")
