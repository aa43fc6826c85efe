"""The page's text and data; tests/integration/test_report_page.py looks at it in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cosweep.analysis.findings import Findings, make_findings
from cosweep.report.files import report_files
from cosweep.report.page import page
from cosweep.results.store import Store
from tests.results.sweeps import STEPS_A_PROBE, write_sweep


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """A sweep over methods, epsilon and beta, all of whose trials have ended."""
    made = Store(tmp_path_factory.mktemp("whole"))
    write_sweep(made, methods=("fgsm", "pgd"), seeds=1, snapshots=True)
    return make_findings(made, "made")


@pytest.fixture(scope="module")
def files(whole: Findings) -> dict[str, bytes]:
    return report_files(whole)


def text_of(store: Store) -> str:
    """The page of a store's sweep, without static figures."""
    return page(make_findings(store, "made"), {}).decode()


def data(text: str | bytes) -> dict[str, Any]:
    """What the page's script draws."""
    found = re.search(r'id="data-packed">([^<]*)<', text if isinstance(text, str) else text.decode())
    assert found is not None
    unpacked: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return unpacked


def test_every_trial_is_in_the_table_with_its_curve_and_breaking_point(
    whole: Findings, files: dict[str, bytes]
) -> None:
    told = data(files["report.html"])
    names = [column["name"] for column in told["columns"]]
    assert names[:3] == ["trial_id", "state", "status"]
    assert {"epsilon", "beta", "seed", "co_step", "robust_acc"} <= set(names)
    by_id = {row[0]: dict(zip(names, row)) for row in told["trials"]}
    assert by_id.keys() == told["curves"].keys() == {row["trial_id"] for row in whole.rows}
    for row in whole.rows:
        shown = by_id[row["trial_id"]]
        assert (shown["epsilon"], shown["co_step"]) == (row["epsilon"], row["co_step"])
        assert told["breaks"].get(row["trial_id"], [None, None])[1] == row["co_step"]
        assert told["curves"][row["trial_id"]]["step"] == [STEPS_A_PROBE * i for i in range(1, 13)]
    assert told["examples"]


def test_any_two_numeric_axes_can_be_drawn_and_the_others_have_a_place_each(files: dict[str, bytes]) -> None:
    menu = {entry["label"]: [s["where"] for s in entry["slices"]] for entry in data(files["report.html"])["diagrams"]}
    assert menu["beta across, epsilon up"] == ["method fgsm", "method pgd"]
    assert len(menu["epsilon across, method up"]) == 4
    assert len(menu["beta alone"]) == 6


def test_the_breaking_line_in_numbers_is_that_of_each_pair_of_axes(files: dict[str, bytes]) -> None:
    menu = {entry["label"]: entry for entry in data(files["report.html"])["diagrams"]}
    numbers = {label: [text for s in entry["slices"] for text in s["crossings"]] for label, entry in menu.items()}
    assert [text.partition(": ")[0] for text in numbers["beta across, epsilon up"]] == [
        *["method fgsm, epsilon 64/255"] * 2,
        *["method fgsm, epsilon 80/255"] * 2,
    ]
    assert numbers["beta across, method up"][0].startswith("epsilon 64/255, method fgsm: breaks above beta")
    assert numbers["epsilon across, method up"] == []
    assert [label for label, entry in menu.items() if entry["default"]] == ["beta across, epsilon up"]


def test_the_picture_of_examples_shows_one_trial_and_names_it(files: dict[str, bytes], whole: Findings) -> None:
    text = files["examples.svg"].decode()
    (trial,) = [row for row in whole.rows if f"trial {row['trial_id']}" in text]
    assert trial["state"] == "co"
    assert {int(step) for step in re.findall(r">step (\d+)<", text)} == {trial["co_step"] - 5, trial["co_step"] + 9}


def test_every_figure_has_a_png_and_an_svg_and_every_table_a_csv_and_a_parquet(files: dict[str, bytes]) -> None:
    for one, other in ((".png", ".svg"), (".csv", ".parquet")):
        stems = [{Path(name).stem for name in files if name.endswith(suffix)} for suffix in (one, other)]
        assert stems[0] == stems[1]
    assert {"phase", "onset", "curves", "examples"} <= {Path(n).stem for n in files if n.endswith(".png")}
    tables = {"trials", "phase", "breaking_line", "breaking_points", "effects", "onset"}
    assert tables == {Path(n).stem for n in files if n.endswith(".csv")}


def test_a_whole_sweep_is_not_called_partial(files: dict[str, bytes]) -> None:
    assert b"Partial" not in files["report.html"]


def test_a_partial_sweep_says_so_on_the_page_and_in_the_figures_and_makes_the_same_files_again(store: Store) -> None:
    write_sweep(store, keep=5)
    files = report_files(make_findings(store, "made"))
    assert "<b>Partial:</b> 5 of 24 trials so far" in files["report.html"].decode()
    assert b"5 of 24 trials so far" in files["phase.svg"]
    assert report_files(make_findings(store, "made")) == files


def test_the_page_says_how_many_images_the_trials_were_trained_and_measured_on(store: Store) -> None:
    images: dict[str, Any] = {"train_images": 1437, "test_images": 360, "num_classes": 10, "image_shape": "1x8x8"}
    used: dict[str, Any] = {
        "probe_examples": 256,
        "probe_examples_used": 256,
        "final_examples": 1000,
        "final_examples_used": 360,
    }
    write_sweep(store, keep=3, **images, **used)
    told = "digits: 1437 to train on, 360 held out, of 1x8x8, 10 classes; probes on 256, final evaluation on all 360"
    assert f"<dt>images</dt><dd>{told}</dd>" in text_of(store)


def test_what_was_asked_and_how_to_run_it_again_stand_there_as_text(store: Store) -> None:
    write_sweep(store, seeds=1, error="<script>alert(1)</script>", status="failed")
    text = text_of(store)
    assert "Where does it break?" in text
    assert "name: made &lt;&amp;&gt;" in text
    assert "cosweep run made.yaml" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


ONE_AXIS = [
    ({"epsilons": (64 / 255,)}, "beta alone", "scatter"),
    ({"epsilons": (64 / 255,), "betas": (16 / 255,), "methods": ("fgsm", "rs_fgsm")}, "method alone", "bar"),
]


@pytest.mark.parametrize(("space", "label", "kind"), ONE_AXIS)
def test_one_axis_makes_a_line_or_bars(store: Store, space: dict[str, Any], label: str, kind: str) -> None:
    write_sweep(store, seeds=3, **space)
    first = data(text_of(store))["diagrams"][0]
    assert first["label"] == label
    assert first["slices"][0]["figure"]["data"][0]["type"] == kind


def test_trials_without_a_curve_or_with_an_odd_one_do_no_harm(store: Store) -> None:
    rows = write_sweep(store, seeds=1, epsilons=(48 / 255,))
    nan = float("nan")
    store.write_trial("made", rows[0], [])
    store.write_trial("made", rows[1], [{"step": 1, "clean_acc": nan, "fgsm_acc": 0.5, "pgd_acc": None}])
    told = data(text_of(store))
    assert rows[0]["trial_id"] not in told["curves"]
    assert told["curves"][rows[1]["trial_id"]]["clean_acc"] == [None]


def test_long_curves_are_thinned_so_that_the_page_stays_small(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sweep(store, seeds=1, epsilons=(48 / 255,), probe_count=60)
    monkeypatch.setattr("cosweep.report.page._MOST_NUMBERS", 0)
    told = data(text_of(store))
    assert told["thinned"]
    for curve in told["curves"].values():
        assert (len(curve["step"]), curve["step"][0], curve["step"][-1]) == (12, STEPS_A_PROBE, 60 * STEPS_A_PROBE)


def test_trials_whose_gradients_vanish_are_named_at_the_top(store: Store) -> None:
    write_sweep(store, keep=2, robust_zero_grad_share=0.05)
    assert "Vanishing gradients" not in text_of(store)
    (row, _) = write_sweep(store, keep=2, robust_zero_grad_share=0.91)
    text = re.sub(r"\s+", " ", text_of(store))
    assert "<b>Vanishing gradients</b> in 2 trials: at 91 % of the images, at most," in text
    assert f'<a href="#trial={row["trial_id"]}">' in text.split("robust_zero_grad_share</code>")[1][:60]
