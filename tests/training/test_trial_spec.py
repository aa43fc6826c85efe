"""The description of a trial: its id, its defaults, its columns."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest

from cosweep.data import SOURCES
from cosweep.data.sources import TorchvisionSource
from cosweep.errors import SpecError
from cosweep.methods import METHODS
from cosweep.models import MODELS
from cosweep.training import TrialSpec
from cosweep.training.trial_spec import column_of

FULL = {
    "data": {"source": "image_parquet", "root": "here", "size": 32, "train_examples": 100, "split": {}},
    "interventions": [{"kind": "inject", "beta": "8/255"}, {"kind": "inject_orthogonal"}],
    "method": {"name": "pgd"},
    "probe": {"diagnostics": [{"name": "curvature"}, {"name": "ray"}]},
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, str(index)))
    else:
        yield path, value


def with_leaf(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(raw)
    place: Any = changed
    for key in path[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(path[-1]) if isinstance(place, list) else path[-1]] = value
    return changed


OTHER_NAMES: dict[tuple[str, ...], Any] = {
    ("data", "box"): [-1.0, 2.0],
    ("data", "augment"): "flip",
    ("data", "root"): "there",
    ("data", "classes"): 10,
    ("data", "split", "train"): "extra",
    ("data", "split", "test"): "validation",
    ("model", "low_pass"): 4,
    ("model", "high_pass"): 4,
    ("optimizer", "name"): "adam",
    ("optimizer", "schedule"): "constant",
    ("optimizer", "momentum_min"): 0.8,
    ("compute", "precision"): "bf16",
    ("final", "attack"): "autoattack",
    ("final", "alpha"): "2/255",
    ("final", "on"): ["injected", "clean"],
    ("model", "blocks"): [1, 2],
    ("model", "shortcut"): "input",
    ("stop", "co", "detector"): "gap",
    ("probe", "every"): 11,
    ("probe", "trigger"): False,
    ("probe", "diagnostics", "0", "softplus"): 10.0,
    ("method", "norm"): "l2",
    ("method", "warmup_epochs"): 2.0,
    ("method", "attack_mode"): "eval",
    ("interventions", "0", "carriers"): "dct_l2",
    ("interventions", "1", "carriers"): "random_sign",
}
COMPONENTS = {
    ("data", "source"): {"source": "image_folder"},
    ("interventions", "0", "kind"): {"kind": "inject_orthogonal"},
    ("interventions", "1", "kind"): {"kind": "inject"},
    ("model", "name"): {"name": "small_cnn"},
    ("method", "name"): {"name": "fgsm"},
    ("probe", "diagnostics", "0", "name"): {"name": "abnormal"},
    ("probe", "diagnostics", "1", "name"): {"name": "delta_cos"},
}
NEEDS: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = {
    ("model", "low_pass_as_released"): (("model", "low_pass"), 4)
}
"""What has to be set for a field to mean anything."""
FULL_LEAVES = [(path, value) for path, value in leaves(TrialSpec.from_dict(FULL).to_dict())]


def other(path: tuple[str, ...], value: Any) -> Any:
    """A valid value that differs from the one given."""
    if path in OTHER_NAMES:
        return OTHER_NAMES[path]
    if isinstance(value, bool):
        return not value
    assert isinstance(value, (int, float)), f"say in OTHER_NAMES what else {'.'.join(path)} can be"
    return value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize(("path", "value"), FULL_LEAVES, ids=[".".join(path) for path, _ in FULL_LEAVES])
def test_every_changed_field_gives_another_id(path: tuple[str, ...], value: Any) -> None:
    raw = TrialSpec.from_dict(FULL).to_dict()
    if path in NEEDS:
        raw = with_leaf(raw, *NEEDS[path])
    if path in COMPONENTS:
        kept = {"root": "here"} if path[0] == "data" else {}
        changed = with_leaf(raw, path[:-1], kept | COMPONENTS[path])
    else:
        changed = with_leaf(raw, path, other(path, value))
    assert TrialSpec.from_dict(changed).trial_id != TrialSpec.from_dict(raw).trial_id


def test_order_of_interventions_is_part_of_the_id() -> None:
    one, two = FULL["interventions"]
    there = TrialSpec.from_dict({"interventions": [one, two]})
    assert there.trial_id != TrialSpec.from_dict({"interventions": [two, one]}).trial_id


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({}, {"seed": 0}),
        ({"seed": 1, "probe": {"every": 5, "examples": 9}}, {"probe": {"examples": 9, "every": 5}, "seed": 1}),
        ({"method": {"name": "fgsm", "epsilon": "8/255"}}, {"method": {"name": "fgsm", "epsilon": 8 / 255}}),
        ({"method": {"name": "fgsm", "epsilon": 0.1}}, {"method": {"name": "fgsm", "epsilon": 0.1, "alpha": 0.1}}),
        ({"method": {"name": "rs_fgsm", "epsilon": 1}}, {"method": {"name": "rs_fgsm", "epsilon": 1.0, "alpha": 1}}),
        ({"method": {"name": "pgd", "epsilon": 0.5}}, {"method": {"name": "pgd", "epsilon": 0.5, "alpha": 0.1}}),
        ({"optimizer": {"weight_decay": "5e-4", "lr_max": 1}}, {"optimizer": {"lr_max": 1.0}}),
        ({"data": {"source": "digits"}, "model": {"name": "preact_resnet"}}, {}),
    ],
)  # fmt: skip
def test_another_way_to_write_the_same_spec_gives_the_same_id(one: dict[str, Any], same: dict[str, Any]) -> None:
    assert TrialSpec.from_dict(one).trial_id == TrialSpec.from_dict(same).trial_id


def test_plain_data_of_a_spec_builds_the_same_trial() -> None:
    spec = TrialSpec.from_dict(FULL)
    assert TrialSpec.from_dict(spec.to_dict()) == spec
    assert TrialSpec.from_dict(spec.to_dict()).trial_id == spec.trial_id


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if issubclass(source, TorchvisionSource)])
def test_where_a_named_set_lies_is_no_part_of_the_id(name: str) -> None:
    here, there = ({"data": {"source": name, "root": root}} for root in ("here", "there"))
    assert TrialSpec.from_dict(here).trial_id == TrialSpec.from_dict(there).trial_id


@pytest.mark.parametrize("name", ["image_parquet", "image_folder"])
def test_where_unnamed_images_lie_is_part_of_the_id(name: str) -> None:
    here, there = ({"data": {"source": name, "root": root}} for root in ("here", "there"))
    assert TrialSpec.from_dict(here).trial_id != TrialSpec.from_dict(there).trial_id


def test_faults_of_all_sections_come_together_with_the_nearest_name() -> None:
    raw = {
        "method": {"name": "nfgsm"},
        "model": {"name": "preact_resnet", "widht": 8},
        "interventions": [{"kind": "inject", "beta": 8}],
        "optimizer": {"schedule": "triangle"},
        "seed": -1,
    }
    with pytest.raises(SpecError, match="did you mean 'n_fgsm'") as caught:
        TrialSpec.from_dict(raw)
    faults = {fault.path: fault.message for fault in caught.value.faults}
    assert sorted(faults) == ["interventions.0.beta", "method.name", "model.widht", "optimizer.schedule", "seed"]
    assert "write 8/255 for 8 grey levels" in faults["interventions.0.beta"]
    assert "did you mean 'width'" in faults["model.widht"]


@pytest.mark.parametrize("name", METHODS)
def test_an_epsilon_out_of_range_is_the_only_fault_reported(name: str) -> None:
    with pytest.raises(SpecError, match="write 8/255") as caught:
        TrialSpec.from_dict({"method": {"name": name, "epsilon": 8}})
    assert [fault.path for fault in caught.value.faults] == ["method.epsilon"]


def test_no_steps_of_pgd_are_a_fault() -> None:
    with pytest.raises(SpecError, match=r"method\.steps: must be at least 1, got 0"):
        TrialSpec.from_dict({"method": {"name": "pgd", "steps": 0}})


@pytest.mark.parametrize(
    ("name", "alpha"), [("fgsm", 8 / 255), ("rs_fgsm", 10 / 255), ("n_fgsm", 8 / 255), ("pgd", 1.6 / 255)]
)
def test_alpha_defaults_to_that_of_the_methods_paper(name: str, alpha: float) -> None:
    spec = TrialSpec.from_dict({"method": {"name": name, "epsilon": "8/255"}})
    assert math.isclose(spec.to_dict()["method"]["alpha"], alpha)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_every_scalar_has_one_column_of_its_own(method: str, model: str) -> None:
    spec = TrialSpec.from_dict({**FULL, "method": {"name": method}, "model": {"name": model}})
    row = spec.flat()
    columns: dict[str, tuple[str, ...]] = {}
    for path, value in leaves(spec.to_dict()):
        if path == ("interventions", "1", "kind"):
            continue  # joined into the column of the first
        column = column_of(path)
        assert column not in columns, f"{path} and {columns.get(column)} share a column"
        columns[column] = path
        if isinstance(value, list):
            assert row[column] == ",".join(map(str, value))
        elif path[:2] == ("probe", "diagnostics") and path[-1] == "name":
            columns[column] = path  # joined into one column
            assert row["probe_diagnostics"] == "curvature,ray"
        elif path[-1] != "kind":
            assert row[column] == value
    assert row["intervention"] == "inject+inject_orthogonal"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"method": {"name": "fgsm", "warmup_epochs": 25}}, "method.warmup_epochs: must be below optimizer.epochs, 25"),
        ({"optimizer": {"momentum_min": 0.95}}, "optimizer.momentum_min: must be at most momentum, 0.9; got 0.95"),
        (
            {"optimizer": {"momentum_min": 0.8, "schedule": "multistep"}},
            "optimizer.momentum_min: needs name sgd and schedule triangular, got sgd and multistep; leave it out",
        ),
        ({"optimizer": {"momentum_min": 0.8, "name": "adam"}}, "needs name sgd .*, got adam and triangular"),
        ({"method": {"name": "grad_align", "norm": "l2"}}, "method.norm: grad_align is defined for linf, not l2"),
        ({"method": {"name": "grad_align", "lambda_": -1}}, "method.lambda_: must be at least 0, got -1.0"),
        ({"method": {"name": "atas", "step_low": 2}}, "method.step_low: must be at most step_high, 1.75; got 2"),
        ({"data": {"source": "digits", "box": [0, 255]}}, "data.box: must be in .-1, 2., got 255.0; write 255/255"),
        (
            {"data": {"source": "digits", "box": "released"}},
            "expected a list or 'as_released', got 'released'",
        ),
        ({"probe": {"diagnostics": ["ray"]}}, r"probe.diagnostics.0: expected .*, got 'ray'; write \{name: ray\}"),
        ({"probe": {"diagnostics": [{"name": "ray"}] * 2}}, "probe.diagnostics: ray stands there twice"),
        ({"probe": {"grad_cos": False}, "stop": {"co": {"detector": "grad_cos"}}}, "probe.grad_cos: is false, and"),
        ({"final": {"on": ["clean"]}}, "final.on: expected injected"),
        ({"final": {"on": ["injected", "cleen"]}}, "final.on.1: .* did you mean 'clean'"),
        ({"model": {"name": "wide_resnet", "depth": 11}}, "model.depth: must be 6n . 4, got 11; write 10 or 16"),
    ],
)
def test_what_does_not_go_together_is_a_fault(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        TrialSpec.from_dict(raw)


def test_faults_of_a_method_come_together() -> None:
    with pytest.raises(SpecError, match="lambda_") as caught:
        TrialSpec.from_dict({"method": {"name": "grad_align", "norm": "l2", "lambda_": -1}})
    assert sorted(fault.path for fault in caught.value.faults) == ["method.lambda_", "method.norm"]


def test_lengths_in_l2_may_exceed_one_and_say_so_to_no_other_norm() -> None:
    spec = TrialSpec.from_dict({"method": {"name": "fgsm", "norm": "l2", "epsilon": "510/255"}})
    assert (spec.method.epsilon, spec.flat()["alpha"]) == (2.0, 2.0)


def test_columns_have_the_names_that_the_tables_document() -> None:
    row = TrialSpec.from_dict({"interventions": [{"kind": "inject", "beta": "24/255"}]}).flat()
    expected = {
        "data_source": "digits",
        "intervention": "inject",
        "beta": 24 / 255,
        "model": "preact_resnet",
        "blocks": "1,1",
        "method": "fgsm",
        "epsilon": 8 / 255,
        "alpha": 8 / 255,
        "optimizer": "sgd",
        "lr_max": 0.2,
        "epochs": 25,
        "probe_every": None,
        "probe_budget": 0.1,
        "final_steps": 50,
        "stop_co_after_steps": 200,
        "seed": 0,
    }
    assert {name: row.get(name) for name in expected} == expected


def test_a_trial_without_intervention_has_beta_zero() -> None:
    row = TrialSpec().flat()
    assert (row["intervention"], row["beta"]) == ("none", 0.0)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_probes_of_too_few_steps_to_see_co_are_refused(steps: int) -> None:
    with pytest.raises(SpecError, match=f"probe.pgd_steps: must be at least 4, got {steps}: fewer than 4 steps do not"):
        TrialSpec.from_dict({"probe": {"pgd_steps": steps}})
    assert TrialSpec.from_dict({"probe": {"pgd_steps": 4}}).probe.pgd_steps == 4


@pytest.mark.parametrize(
    ("final", "told"),
    [
        ({"alpha": 0, "steps": 50}, "50 steps of 0 cannot reach epsilon, 16/255"),
        ({"alpha": "2/255", "steps": 2}, "2 steps of 2/255 cannot reach epsilon, 16/255"),
        ({"alpha": "2/255", "attack": "autoattack"}, "is of PGD, and final.attack is autoattack"),
    ],
)
def test_a_final_alpha_that_cannot_do_its_work_is_refused(final: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=f"final.alpha: {told}"):
        TrialSpec.from_dict({"method": {"name": "fgsm", "epsilon": "16/255"}, "final": final})
    TrialSpec.from_dict({"method": {"name": "fgsm", "epsilon": "16/255"}, "final": {"alpha": "2/255", "steps": 8}})
