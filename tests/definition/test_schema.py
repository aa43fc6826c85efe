"""The schema of a definition, against every definition of the project and planted faults."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from cosweep.cli.commands import app
from cosweep.definition.schema import sweep_schema
from cosweep.definition.yaml_file import parse_yaml
from cosweep.training.trial_spec import MENUS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
GOOD: dict[str, Any] = {
    "name": "s",
    "trial": {
        "data": {"source": "digits"},
        "interventions": [{"kind": "inject", "beta": "24/255"}],
        "method": {"epsilon": "64/255"},
        "optimizer": {"weight_decay": "5e-4"},
        "probe": {"diagnostics": [{"name": "curvature"}]},
    },
    "space": {"seed": [0, 1], "method.alpha": {"uniform": ["8/255", "16/255"]}},
    "search": {"kind": "random", "trials": 3},
    "stop": {"co": {"after_steps": "never"}},
    "results": None,
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(sweep_schema())


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(sweep_schema())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_search_space_is_valid_by_it(validator: Draft202012Validator, file: Path) -> None:
    errors = list(validator.iter_errors(parse_yaml(file.read_text(), str(file))))
    assert [error.message for error in errors] == []


def test_there_are_search_spaces() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["trails"], {}),
        (["name"], 7),
        (["trial", "seeds"], 0),
        (["trial", "stop"], {}),
        (["trial", "method", "name"], "fgms"),
        (["trial", "method", "noise_scale"], 2),
        (["trial", "method", "epsilon"], -1),
        (["trial", "method", "epsilon"], "eight"),
        (["trial", "interventions"], [{"beta": 0.1}]),
        (["trial", "interventions"], {"kind": "inject"}),
        (["trial", "interventions"], [{"kind": "inject", "beta": -1}]),
        (["trial", "probe", "every"], 1.5),
        (["trial", "probe", "grad_cos"], "yes"),
        (["trial", "data", "source"], "digit"),
        (["trial", "optimizer", "epochs"], 0),
        (["trial", "optimizer", "schedule"], "square"),
        (["space", "seed"], {"grids": [0]}),
        (["space", "seed"], {"grid": [0], "range": [0, 3]}),
        (["space", "seed"], []),
        (["search", "kind"], "greedy"),
        (["stop", "co", "detector"], "collaps"),
        (["stop", "co", "after_steps"], "always"),
        (["resources"], {"gpus": 1}),
    ],
)
def test_a_planted_fault_is_marked(validator: Draft202012Validator, path: list[str], value: object) -> None:
    assert validator.is_valid(GOOD)
    wrong = copy.deepcopy(GOOD)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not validator.is_valid(wrong)


def test_every_component_and_what_it_is_stand_there() -> None:
    text = json.dumps(sweep_schema())
    for menu in MENUS.values():
        for name, component in menu.items():
            assert f'{{"const": "{name}"}}' in text
            first = (component.__doc__ or "").splitlines()[0].replace("``", "")
            assert json.dumps(first) in text


def test_options_are_explained_by_their_docstrings() -> None:
    probe = sweep_schema()["properties"]["trial"]["anyOf"][0]["properties"]["probe"]["properties"]
    assert probe["examples"]["description"] == "Held-out images, the same for all trials."
    assert probe["examples"]["minimum"] == 1


def test_the_command_prints_it() -> None:
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == sweep_schema()
