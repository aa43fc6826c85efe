"""Example images: their spectra, which trials show them, and what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosweep.report.examples import dct_spectrum, examples_figure, examples_title, trials_with_examples
from tests.results.rows import broken_row, snapshot_rows, trial_row


def test_the_spectrum_of_a_constant_image_is_its_sum_at_frequency_zero() -> None:
    spectrum = dct_spectrum(np.full((3, 4, 4), 0.5))
    assert spectrum[0, 0] == pytest.approx(0.5 * 4)
    assert np.abs(spectrum).sum() == pytest.approx(0.5 * 4)


def test_the_spectrum_of_a_wave_is_at_its_frequency() -> None:
    wave = np.cos(np.pi * 3 * (np.arange(8) + 0.5) / 8)
    spectrum = dct_spectrum(np.broadcast_to(wave, (1, 8, 8)))
    assert spectrum.argmax() == 3  # row 0, column 3
    assert np.sort(spectrum.ravel())[-2] == pytest.approx(0, abs=1e-12)


def test_the_spectrum_keeps_the_energy() -> None:
    pixels = np.random.default_rng(0).normal(size=(1, 6, 5))
    assert (dct_spectrum(pixels) ** 2).sum() == pytest.approx((pixels**2).sum())


def kept(*trial_ids: str) -> list[dict[str, Any]]:
    return [{"trial_id": name, **row} for name in trial_ids for row in snapshot_rows(("end", 12))]


def test_broken_trials_come_first_and_others_are_among_them() -> None:
    trials = [trial_row("a"), broken_row("b"), broken_row("c"), trial_row("d"), broken_row("e"), trial_row("none")]
    found = trials_with_examples(trials, kept("a", "b", "c", "d", "e"), 3)
    assert [trial["trial_id"] for trial, _ in found] == ["b", "e", "a"]
    assert [trial["trial_id"] for trial, _ in trials_with_examples(trials, kept("a", "d"), 3)] == ["a", "d"]
    assert trials_with_examples(trials, [], 3) == []


def test_every_trial_comes_with_its_own_snapshots_alone() -> None:
    for trial, rows in trials_with_examples([trial_row("a"), broken_row("b")], kept("a", "b"), 3):
        assert rows == kept(trial["trial_id"])


def test_a_title_tells_the_trial_its_place_and_its_end() -> None:
    assert examples_title(broken_row("b"), ["epsilon", "seed"]) == "trial b, epsilon 64/255, seed 0, co"


def test_where_nothing_was_added_the_title_says_so() -> None:
    rows = [row | {"intervened": row["original"]} for row in snapshot_rows(("end", 12))]
    figure = examples_figure(trial_row("a"), rows, "title")
    assert figure is not None
    assert "added\nnothing" in [axes.get_title() for axes in figure.axes]


def test_perturbations_before_and_after_are_drawn_above_their_spectra() -> None:
    rows = snapshot_rows(("before", 5), ("after", 24))
    figure = examples_figure(broken_row("a"), rows, "title")
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes]
    first = titles[:5]
    assert first[0] == "image 7, class 7"
    assert first[2].startswith("added\n±25.5/255")
    assert "before CO\nstep 5" in first[3]
    assert "after CO\nstep 24" in first[4]
    assert len(titles) == 2 * 2 * 5


def test_a_trial_without_snapshots_has_no_figure() -> None:
    assert examples_figure(trial_row("a"), [], "title") is None
