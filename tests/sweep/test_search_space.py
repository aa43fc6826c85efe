"""From a definition to specs: expansion, overrides, and every kind of fault."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from cosweep.errors import CosweepError, SpecError
from cosweep.sweep.definition import Sweep
from cosweep.sweep.search_space import load_sweep, parse_sweep

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


def test_a_sweep_keeps_what_was_changed_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("trial: {seed: 1}\n")
    changes = ["trial.seed=2", "results.root=my results"]
    sweep = load_sweep(tmp_path / "s.yaml", changes)
    assert sweep.record()["overrides"] == changes
    assert sweep.record()["source"] == "trial: {seed: 1}\n"
    assert sweep.command == f"cosweep run {tmp_path / 's.yaml'} --set trial.seed=2 --set 'results.root=my results'"
    assert load_sweep(tmp_path / "s.yaml").record()["overrides"] == []


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
    ("section", "key", "address"),
    [("tracking", "uri", "http://me:secret@host:5000"), ("results", "root", "s3://key:secret@bucket/runs")],
)
def test_a_password_is_refused_since_the_definition_is_kept_with_the_results(
    section: str, key: str, address: str
) -> None:
    told = faults(definition(**{section: {key: address}}))[f"{section}.{key}"]
    assert "a password would be kept with the results" in told
    assert "secret" not in told.replace("SECRET", "")
    parse_sweep(definition(**{section: {key: address.replace(":secret", "")}}))


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


def test_points_that_are_the_same_spec_run_once() -> None:
    sweep = parse_sweep(definition(space={"method.epsilon": {"grid": ["8/255", 8 / 255]}}))
    assert len(sweep.trials) == 1


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
        ({"space": {"seed": [0, 1]}}, "space.seed", "expected {grid: [...]}"),
        ({"space": {"seed": {"gird": [0]}}}, "space.seed", "did you mean 'grid'?"),
        ({"space": {"seed": {"grid": 3}}}, "space.seed", "expected a list"),
        ({"space": {"seed": {"int": [0, 9]}}}, "space.seed", "needs search.kind random"),
        ({"space": {"seed": {"int": [9, 0]}}, "search": {"kind": "random", "trials": 1}}, "space.seed", "low < high"),
        ({"search": {"kind": "random"}}, "search.trials", "missing"),
        ({"search": {"kind": "greedy"}}, "search.kind", "known: grid, random"),
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
    space = {
        "method.name": {"grid": ["fgsm", "n_fgsm"]},
        "method.noise_scale": {"grid": [1.0]},
    }
    found = faults(definition(space=space))
    ((path, message),) = found.items()
    assert "method.name=fgsm" in path
    assert "unknown key 'noise_scale'" in message


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep_file.yaml"
    path.write_text(text)
    return path


def test_overrides_are_put_in_before_the_check(tmp_path: Path) -> None:
    path = write(tmp_path, "space: {seed: {grid: [0, 1]}}\n")
    changes = [
        "trial.optimizer.epochs=2",
        "space.seed.grid=[5]",
        "results.root=elsewhere",
        "space.method.epsilon.grid=[8/255]",
    ]
    sweep: Sweep = load_sweep(path, changes)
    assert (sweep.name, sweep.results.root) == ("sweep_file", "elsewhere")
    assert [(t.seed, t.optimizer.epochs, t.method.epsilon) for t in sweep.trials] == [(5, 2, 8 / 255)]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.optimizer.epochs", "expected path=value"),
        ("trial.optimizer.epochs=[", "not valid YAML"),
        ("trial.interventions.-1.beta=0", "expected a list"),
        ("trial.interventions.4.beta=0", "no such place|unknown|no interventions|expected"),
        ("trial.seed.x=1", "expected a whole number|no such place"),
        ("nothing=1", "unknown key 'nothing'"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(CosweepError, match=message):
        load_sweep(write(tmp_path, "trial: {seed: 1}\n"), [override])


def test_a_file_that_holds_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosweepError, match="expected a mapping with the keys name, trial"):
        load_sweep(write(tmp_path, "- 1\n"))
