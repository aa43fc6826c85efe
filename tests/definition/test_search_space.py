"""From a definition to specs: expansion, and every kind of fault."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from cosweep.definition.search_space import _base_trial, _expand, _Space, load_sweep, parse_sweep
from cosweep.errors import CosweepError, SpecError
from cosweep.search import SearchSpec

BASE: dict[str, Any] = {
    "name": "s",
    "trial": {
        "data": {"source": "digits"},
        "interventions": [{"kind": "inject", "beta": "24/255"}],
        "method": {"name": "fgsm", "epsilon": "64/255"},
    },
    "space": {
        "method.epsilon": {"grid": ["48/255", "64/255"]},
        "interventions.0.beta": {"grid": [0, "24/255"]},
        "seed": {"grid": [0, 1]},
    },
    "stop": {"co": {"after_steps": 50}},
}


def definition(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BASE), **changes}


def faults(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SpecError, match=r".") as caught:
        parse_sweep(raw)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_a_grid_is_the_product_of_its_axes() -> None:
    sweep = parse_sweep(BASE)
    assert len(sweep.trials) == 8
    assert len({t.trial_id for t in sweep.trials}) == 8
    assert {(t.method.epsilon, t.seed) for t in sweep.trials} == {(e / 255, s) for e in (48, 64) for s in (0, 1)}
    assert all(t.stop.co.after_steps == 50 for t in sweep.trials)
    assert sweep.varied_columns() == ["epsilon", "beta", "seed"]


@pytest.mark.parametrize(
    ("section", "key", "address", "secret"),
    [
        ("tracking", "uri", "http://me:secret@host:5000", "me:secret@"),
        ("results", "root", "s3://key:secret@b/r", ":secret"),
    ],
)
def test_a_password_is_refused_since_the_definition_is_kept_with_the_results(
    section: str, key: str, address: str, secret: str
) -> None:
    told = faults(definition(**{section: {key: address}}))[f"{section}.{key}"]
    assert "a password would be kept with the results" in told
    assert "secret" not in told.replace("SECRET", "")
    parse_sweep(definition(**{section: {key: address.replace(secret, "")}}))


def test_the_text_of_the_definition_and_the_command_are_kept(tmp_path: Path) -> None:
    text = "# Question: does it?\nname: s\n"
    (tmp_path / "s.yaml").write_text(text)
    record = load_sweep(tmp_path / "s.yaml", ["trial.seed=3"]).record()
    assert record["source"] == text
    assert record["command"] == f"cosweep run {tmp_path / 's.yaml'} --set trial.seed=3"


def test_a_default_follows_the_axis_it_depends_on() -> None:
    assert all(t.to_dict()["method"]["alpha"] == t.method.epsilon for t in parse_sweep(BASE).trials)


def test_sections_without_a_component_name_take_the_default_one() -> None:
    sweep = parse_sweep({"trial": {"method": {"epsilon": "8/255"}, "model": {"width": 4}}})
    assert (sweep.trials[0].method.name, sweep.trials[0].to_dict()["model"]["width"]) == ("fgsm", 4)


def test_overlapping_axes_do_not_depend_on_their_order() -> None:
    axes = {"method.noise_scale": {"grid": [1, 2]}, "method": {"grid": [{"name": "n_fgsm"}]}}
    one, other = (parse_sweep({"space": dict(pairs)}) for pairs in (axes.items(), reversed(axes.items())))
    assert len(one.trials) == 2
    assert {t.trial_id for t in one.trials} == {t.trial_id for t in other.trials}


def test_an_axis_of_mappings_keeps_the_other_options_and_varies_columns() -> None:
    raw = definition(space={"optimizer": {"grid": [{"lr_max": 0.1}, {"lr_max": 0.2, "epochs": 3}]}})
    raw["trial"]["optimizer"] = {"batch_size": 32, "epochs": 7}
    sweep = parse_sweep(raw)
    assert [(t.optimizer.batch_size, t.optimizer.epochs) for t in sweep.trials] == [(32, 7), (32, 3)]
    assert set(sweep.varied_columns()) == {"lr_max", "epochs"}


def test_a_path_into_a_list_that_an_axis_empties_is_a_fault() -> None:
    space = {"interventions": {"grid": [[]]}, "interventions.0.beta": {"grid": [0]}}
    assert any("no such place in the trial here" in message for message in faults(definition(space=space)).values())


def test_without_a_space_there_is_one_trial() -> None:
    assert len(parse_sweep({"name": "one"}).trials) == 1


def test_points_that_are_the_same_spec_run_once_and_are_counted() -> None:
    space = {"method": {"grid": [{"name": "fgsm"}, {"name": "fgsm", "alpha": "64/255"}]}}
    sweep = parse_sweep(definition(space=space))
    assert (len(sweep.trials), sweep.points) == (1, 2)


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("method.epsilon", ["8/255", 8 / 255], "0.03137254901960784 is the same as value 0, '8/255'"),
        ("seed", [0, 1, 0], "0 is the same as value 0, 0"),
        ("interventions.0.beta", ["48/255", 0.18823529411764706], "is the same as value 0"),
        ("method", [{"name": "fgsm"}, {"name": "fgsm"}], "is the same as value 0"),
        ("model.blocks", [[1, 1], [1.0, 1]], "is the same as value 0"),
        ("data.box", [None, None], "None is the same as value 0"),
    ],
)
def test_a_value_that_stands_there_twice_is_refused(path: str, values: list[Any], message: str) -> None:
    ((place, told),) = faults(definition(space={path: {"grid": values}, "optimizer.epochs": [1, 2]})).items()
    assert place == f"space.{path}.grid.{len(values) - 1}"
    assert "stands there twice" in told
    assert message in told


def test_a_default_that_follows_another_axis_is_no_value_twice() -> None:
    space = {"method.alpha": [None, "64/255"], "method.epsilon": ["32/255", "64/255"]}
    sweep = parse_sweep(definition(space=space))
    assert (len(sweep.trials), sweep.points) == (3, 4)


BASE_METHOD = {"name": "pgd", "epsilon": "64/255", "steps": 3, "alpha": "8/255", "warmup_epochs": 1}


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("method", [{"name": "pgd"}, {"name": "n_fgsm"}, {"name": "rs_fgsm", "alpha": "16/255"}]),
        ("method.name", ["pgd", "n_fgsm"]),
    ],
)
def test_another_component_keeps_the_options_that_it_has_as_well(axis: str, values: list[Any]) -> None:
    raw = definition(space={axis: {"grid": values}})
    raw["trial"]["method"] = BASE_METHOD
    told = {t.method.name: t.to_dict()["method"] for t in parse_sweep(raw).trials}
    assert len(told) == len(values)
    assert {m["epsilon"] for m in told.values()} == {64 / 255}
    assert {m["warmup_epochs"] for m in told.values()} == {1}
    assert {name: m["alpha"] * 255 for name, m in told.items()} == {
        name: 16 if name == "rs_fgsm" else 8 for name in told
    }
    assert {name for name, m in told.items() if "steps" in m} == {"pgd"}


def test_an_entry_of_a_list_keeps_its_options_too() -> None:
    raw = definition(space={"interventions.0": [{"kind": "inject"}, {"kind": "shuffled"}, {"kind": "low_pass"}]})
    trials = parse_sweep(raw).trials
    assert [t.flat()["beta"] for t in trials] == [24 / 255, 24 / 255, 0.0]


def test_an_option_that_only_some_components_have_is_swept_for_those() -> None:
    space = {
        "method.lambda_": {"grid": [0.2, 2]},
        "method.name": {"grid": ["fgsm", "grad_align"]},
        "seed": {"range": [0, 3]},
    }
    sweep = parse_sweep(definition(space=space))
    found = sorted((t.method.name, t.flat().get("lambda_"), t.seed) for t in sweep.trials if t.method.name != "fgsm")
    assert found == [("grad_align", weight, seed) for weight in (0.2, 2.0) for seed in range(3)]
    assert (len(sweep.trials), sweep.points) == (9, 12)
    assert "method.lambda_ has no place in 6 of 12 points, which count once without it" in sweep.notes
    assert sweep.varied_columns() == ["lambda_", "method", "seed"]


def test_an_option_of_an_intervention_is_swept_where_there_is_one() -> None:
    space = {"interventions": [[], [{"kind": "inject"}]], "interventions.0.beta": ["8/255", "16/255"]}
    sweep = parse_sweep(definition(space=space))
    assert [t.flat()["beta"] for t in sweep.trials] == [0.0, 8 / 255, 16 / 255]


def test_common_options_that_differ_and_are_no_axis_are_noted() -> None:
    methods = [{"name": "fgsm"}, {"name": "n_fgsm", "epsilon": "8/255"}, {"name": "rs_fgsm"}]
    notes = parse_sweep(definition(space={"method": methods, "seed": [0, 1]})).notes
    assert notes == (
        "method.epsilon differs between the values of space.method and is no axis: 64/255 (fgsm, rs_fgsm); "
        "8/255 (n_fgsm)",
        "method.alpha differs between the values of space.method and is no axis: 64/255 (fgsm); 8/255 (n_fgsm); "
        "80/255 (rs_fgsm)",
    )
    same = {"method.name": ["fgsm", "n_fgsm"], "method.epsilon": ["8/255", "16/255"]}
    assert parse_sweep(definition(space=same)).notes == ()


@pytest.mark.parametrize(
    ("space", "path", "message"),
    [
        (
            {"method": [{"name": "fgsm"}, {"name": "n_fgsm"}], "method.name": ["fgsm", "n_fgsm"]},
            "space.method.name",
            "overwrites the values of the axis space.method",
        ),
        (
            {"interventions.0.kind": ["inject"], "interventions.0": [{"beta": 0}, {"beta": "8/255"}]},
            "space.interventions.0.kind",
            "overwrites the values of the axis space.interventions.0",
        ),
        (
            {"method": [{"name": "fgsm"}, {"name": "n_fgsm", "epsilon": 0}], "method.epsilon": ["8/255"]},
            "space.method.epsilon",
            "overwrites epsilon, which value 1 of the axis space.method states",
        ),
        (
            {"interventions": [[], [{"kind": "inject", "beta": "8/255"}]], "interventions.0.beta": ["24/255"]},
            "space.interventions.0.beta",
            "overwrites 0.beta, which value 1",
        ),
        (
            {"interventions": [[{"kind": "inject"}]], "interventions.0": [{"kind": "shared"}]},
            "space.interventions.0",
            "overwrites 0, which value 0",
        ),
        (
            {"optimizer": [{"epochs": 3}], "optimizer.epochs": [4]},
            "space.optimizer.epochs",
            "overwrites epochs, which value 0",
        ),
    ],
)
def test_axes_that_overwrite_each_other_are_refused(space: dict[str, Any], path: str, message: str) -> None:
    for axes in (space.items(), reversed(space.items())):
        found = faults(definition(space=dict(axes)))
        assert list(found) == [path]
        assert message in found[path]


@pytest.mark.parametrize("index", ["00", "\u0660", "\u00b2", "+0", "-0", "0x0", " 0", "1e0", ""])
def test_a_place_of_a_list_has_one_spelling(tmp_path: Path, index: str) -> None:
    path = f"interventions.{index}.beta"
    space = {"interventions.0.beta": [0, "24/255"], path: ["12/255"]}
    told = faults(definition(space=space))[f"space.{path}"]
    assert "is no place in interventions; count from 0, without leading zeros" in told
    file = tmp_path / "sweep_file.yaml"
    file.write_text("trial: {interventions: [{kind: inject}]}\n")
    with pytest.raises(CosweepError, match="is no place in a list; count from 0, without leading zeros"):
        load_sweep(file, [f"trial.{path}=0"])


def test_a_value_of_an_axis_that_is_in_no_trial_is_told() -> None:
    """The last defence against axes that lead to one place."""
    space = _Space({"seed": [0, 1], "optimizer.epochs": [3, 4]})
    base, _ = _base_trial({})
    assert not list(space.value_faults(base, sound=True))
    assert len(_expand(base, space, SearchSpec()).specs) == 4
    space.held["seed", 1] = "9"
    with pytest.raises(SpecError, match=r"space\.seed\.1: no trial has this value; another axis overwrites it"):
        _expand(base, space, SearchSpec())


def test_an_axis_may_choose_components_and_lists() -> None:
    space = {
        "method": {"grid": [{"name": "fgsm"}, {"name": "n_fgsm", "noise_scale": 1}]},
        "interventions": {"grid": [[], [{"kind": "inject_orthogonal"}]]},
        "method.epsilon": {"grid": ["8/255"]},
    }
    sweep = parse_sweep(definition(space=space))
    assert {(t.method.name, len(t.interventions)) for t in sweep.trials} == {
        (m, n) for m in ("fgsm", "n_fgsm") for n in (0, 1)
    }


def test_a_random_search_is_the_same_for_the_same_seed() -> None:
    space = {
        "method.epsilon": {"uniform": ["8/255", "64/255"]},
        "optimizer.lr_max": {"loguniform": [0.01, 1]},
        "optimizer.epochs": {"int": [2, 4]},
        "interventions.0.beta": {"grid": [0, "8/255"]},
    }

    def ids(seed: int) -> list[str]:
        raw = definition(space=space, search={"kind": "random", "trials": 20, "seed": seed})
        return [t.trial_id for t in parse_sweep(raw).trials]

    assert len(ids(0)) == 20
    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_all_faults_come_together_with_their_paths() -> None:
    raw = definition(nmae="x", resources={"cpus": 1})
    raw["trial"]["method"] = {"name": "fgsm", "epsilon": 8}
    raw["trial"]["optimizer"] = {"epoch": 3, "lr_max": "fast"}
    raw["space"]["seed"] = {"grid": []}
    found = faults(raw)
    assert found.keys() >= {"nmae", "resources.cpus", "trial.method.epsilon", "space.seed"}
    assert found.keys() >= {"trial.optimizer.epoch", "trial.optimizer.lr_max"}
    assert "did you mean 'name'?" in found["nmae"]
    assert "write 8/255" in found["trial.method.epsilon"]
    assert "did you mean 'epochs'?" in found["trial.optimizer.epoch"]


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"space": {"method.epsilon": {"grid": [8]}}}, "space.method.epsilon.grid.0", "write 8/255"),
        ({"space": {"method.epsilon": {"grid": ["x"]}}}, "space.method.epsilon.grid.0", "fraction such as 8/255"),
        ({"space": {"method.eps": {"grid": [0]}}}, "space.method.eps", "did you mean 'epsilon'?"),
        ({"space": {"interventions.3.beta": {"grid": [0]}}}, "space.interventions.3.beta", "has 1 intervention;"),
        ({"space": {"seed": 3}}, "space.seed", "expected {grid: [...]}, a list of values, or one of range, uniform"),
        ({"space": {"seed": None}}, "space.seed", "expected {grid: [...]}"),
        ({"space": {f"x{n}": [n] for n in range(60_000)}}, "space", "has 60,000 axes; at most 100 are allowed"),
        ({"space": {"seed": []}}, "space.seed", "grid is empty"),
        ({"space": {"seed": [0, "x"]}}, "space.seed.1", "expected a whole number, got 'x'"),
        ({"space": {"seed": {"range": [0, 2.5]}}}, "space.seed", "range: expected whole numbers, got [0, 2.5]"),
        ({"space": {"seed": {"range": [5]}}}, "space.seed", "range: expected [low, high], got [5]"),
        ({"space": {"seed": {"range": [5, 5]}}}, "space.seed", "range: expected low < high"),
        ({"space": {"seed": {"range": [-1, 2]}}}, "space.seed.range", "must be at least 0, got -1"),
        ({"space": {"method.epsilon": {"uniform": [0, float("inf")]}}, "search": {"kind": "random", "trials": 1}},
         "space.method.epsilon", "uniform: expected finite numbers"),
        ({"search": {"kind": "random", "trials": 10**9}}, "search.trials", "must be in [1, 1e+06], got 1000000000"),
        ({"tracking": {"uri": False}}, "tracking.uri", "expected a text or 'off', got False"),
        ({"name": 1e5}, "name", "expected a text, got 100000.0; a text that looks like a number takes quotes"),
        ({"name": "n" * 200}, "name", "at most 100 of them; it has 200"),
        ({"space": {"seed": {"gird": [0]}}}, "space.seed", "did you mean 'grid'?"),
        ({"space": {"seed": {"grid": 3}}}, "space.seed", "expected a list"),
        ({"space": {"seed": {"int": [0, 9]}}}, "space.seed", "needs search.kind random"),
        ({"space": {"seed": {"int": [9, 0]}}, "search": {"kind": "random", "trials": 1}}, "space.seed", "low < high"),
        ({"search": {"kind": "random"}}, "search.trials", "missing"),
        ({"search": {"kind": "greedy"}}, "search.kind", "known: boundary, grid, optuna, random"),
        ({"space": 3}, "space", "expected paths"),
        ({"trial": 3}, "trial", "expected a mapping"),
        ({"trial": {"method": {"name": None}}, "space": {}}, "trial.method.name", "unknown method None"),
        ({"name": None}, "name", "expected a text, got None"),
        ({"resources": False}, "resources", "expected a mapping"),
        ({"space": {"seed": {"grid": [10**20]}}}, "space.seed.grid.0", "must be at most"),
        ({"trial": {"model": {"name": "preact_resnet", "blocks": []}}, "space": {}}, "trial.model.blocks", "empty"),
        ({"trial": {"data": {"source": "digits", "box": [0.5, 1]}}, "space": {}}, "trial.data.box", "low <= 0"),
        ({"trial": {"method": {"name": "nfgsm"}}, "space": {}}, "trial.method.name", "did you mean 'n_fgsm'?"),
        ({"trial": {"data": {"source": "image_parquet"}}, "space": {}}, "trial.data.root", "missing"),
        ({"stop": {"co": {"after_steps": "soon"}}}, "stop.co.after_steps", "or 'never'"),
        ({"stop": {"co": {"detector": "collaps"}}}, "stop.co.detector", "did you mean 'collapse'?"),
        ({"search": {"kind": "boundary", "trials": 40}, "stop": {"co": {"after_steps": "never"}}},
         "stop.co.after_steps", "write a number of steps, or leave it out"),
        ({"resources": {"cpu": 0}}, "resources.cpu", "at least 0.001"),
        ({"name": "../up"}, "name", "must start with a letter"),
        ({"space": {p: {"grid": [*range(1, 1002)]} for p in ("seed", "optimizer.epochs")}}, "space", "1,002,001"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_place_and_remedy(changes: dict[str, Any], path: str, message: str) -> None:
    found = faults(definition(**changes))
    assert list(found) == [path]
    assert message in found[path]


def test_faults_of_the_space_come_with_those_of_the_trial() -> None:
    raw = definition(space={"method.nope": {"grid": [1]}, "optimizer.epochs": {"grid": [0]}})
    raw["trial"]["model"] = {"name": "resnet"}
    assert faults(raw).keys() == {"trial.model.name", "space.method.nope", "space.optimizer.epochs.grid.0"}


def test_a_fault_between_sections_hides_no_other_and_says_its_place_in_the_file() -> None:
    trial = {
        "interventions": [{"kind": "inject", "beta": -1}],
        "method": {"name": "pgd", "warmup_epochs": 4},
        "optimizer": {"epochs": 3},
    }
    found = faults({"name": "s", "trial": trial, "search": {"kind": "gird"}})
    assert sorted(found) == ["search.kind", "trial.interventions.0.beta", "trial.method.warmup_epochs"]
    alone = faults({"name": "s", "trial": {**trial, "interventions": []}})
    assert list(alone) == ["trial.method.warmup_epochs"]


def test_beta_for_a_trial_without_injection_is_refused() -> None:
    raw = definition()
    raw["trial"]["interventions"] = []
    found = faults(raw)
    assert "add one under trial.interventions" in found["space.interventions.0.beta"]


def test_a_fault_of_a_combination_names_the_point() -> None:
    space = {"method.warmup_epochs": {"grid": [1, 5]}, "optimizer.epochs": {"grid": [3, 9]}}
    ((path, message),) = faults(definition(space=space)).items()
    assert "(at method.warmup_epochs=5, optimizer.epochs=3)" in path
    assert "must be below optimizer.epochs, 3" in message


@pytest.mark.parametrize("others", [{}, {"method.name": ["fgsm", "n_fgsm"]}, {"method": [{"name": "pgd"}]}])
@pytest.mark.parametrize("method", [{"name": "fgsm", "epsilon": 8}, {"name": "nfgsm"}, {"epsilom": 1}, "fgsm", None])
def test_an_unknown_axis_is_told_beside_any_other_fault(method: Any, others: dict[str, Any]) -> None:
    raw = definition(space={**others, "method.nmae": ["fgsm"], "optimizer.epochs": [0]}, nmae="x")
    raw["trial"]["method"] = method
    found = faults(raw)
    assert found.keys() >= {"nmae", "space.method.nmae", "space.optimizer.epochs.0"}
    assert any(path.startswith("trial.method") for path in found)
    assert "did you mean 'name'?" in found["space.method.nmae"]


def test_all_faults_of_values_come_with_those_of_other_sections() -> None:
    raw = definition(space={"method.epsilon": [9], "method.alpha": ["x"], "seed": [0, 0]}, search={"kind": "gird"})
    raw["trial"]["method"]["alpha"] = -1
    raw["trial"]["model"] = {"name": "resnet"}
    assert faults(raw).keys() == {
        "trial.method.alpha",
        "trial.model.name",
        "search.kind",
        "space.method.epsilon.0",
        "space.method.alpha.0",
        "space.seed.1",
    }


def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep_file.yaml"
    path.write_text("- 1\n")
    with pytest.raises(CosweepError, match="expected a mapping with the keys name, trial"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("detector", "space", "expected"),
    [
        (None, {"stop.co.detector.gap": {"grid": [0.2, 0.3]}}, [("collapse", 0.2), ("collapse", 0.3)]),
        ("collapse", {"stop.co.detector.gap": {"grid": [0.2, 0.3]}}, [("collapse", 0.2), ("collapse", 0.3)]),
        ({"name": "collapse", "gap": 0.3}, {"stop.co.detector": {"grid": ["collapse", "gap"]}},
         [("collapse", 0.3), ("gap", None)]),
        ("gap", {"stop.co.detector.threshold": {"grid": [0.5]}}, [("gap", None)]),
    ],
)  # fmt: skip
def test_a_detector_and_its_options_may_be_axes(
    detector: Any, space: dict[str, Any], expected: list[tuple[str, float | None]]
) -> None:
    stop = {} if detector is None else {"co": {"detector": detector}}
    flat = [spec.flat() for spec in parse_sweep({"stop": stop, "space": space}).trials]
    assert [(row["stop_co_detector"], row.get("stop_co_detector_gap")) for row in flat] == expected


def test_an_option_of_a_detector_that_is_named_alone_may_be_set(tmp_path: Path) -> None:
    file = tmp_path / "sweep_file.yaml"
    file.write_text("stop: {co: {detector: gap}}\n")
    (spec,) = load_sweep(file, ["stop.co.detector.threshold=0.6"]).trials
    assert spec.stop.co.detector.to_dict() == {"name": "gap", "threshold": 0.6}
