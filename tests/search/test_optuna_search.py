"""What an Optuna search asks for, what counts as good, and what it leaves for Optuna's own tools."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from cosweep.search import Point, Strategy, make_strategy
from tests.search.faults import only_fault

SPACE: dict[str, Any] = {
    "method.epsilon": {"uniform": ["16/255", "96/255"]},
    "optimizer.lr_max": {"loguniform": [0.01, 1]},
    "optimizer.epochs": {"int": [5, 40]},
    "optimizer.batch_size": {"grid": [128, 32, 64]},
    "method.name": {"grid": ["fgsm", "n_fgsm"]},
    "seed": {"int": [0, 9]},
}
LINE: dict[str, Any] = {"method.epsilon": {"uniform": [0, 1]}, "seed": {"int": [0, 9]}}


def made(trials: int = 40, space: dict[str, Any] = LINE, **search: Any) -> Strategy:
    return make_strategy({"kind": "optuna", "trials": trials, **search}, space)


def searched(strategy: Strategy, breaks_above: float = 2.0) -> list[Point]:
    """All points, of which those with a larger epsilon have the better accuracy, unless they break."""
    asked = []
    while not strategy.done:
        for point in strategy.ask(2):
            x = point["method.epsilon"]
            values = {"robust_acc": x, "clean_acc": 1 - x, "wall_seconds": x}
            strategy.tell(point, co=x > breaks_above, co_step=5 if x > breaks_above else None, values=values)
            asked.append(point)
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_it_comes_nearer_to_the_best_than_random_points(sampler: str) -> None:
    late = [point["method.epsilon"] for point in searched(made(trials=30, sampler=sampler))[15:]]
    drawn = [point["method.epsilon"] for point in searched(made(sampler="random", trials=30))[15:]]
    assert sum(late) > sum(drawn)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_every_sampler_takes_several_objectives(sampler: str) -> None:
    assert len(searched(made(14, sampler=sampler, objective=["robust_acc", "clean_acc"]))) == 14


def test_a_minus_sign_looks_for_the_lowest() -> None:
    late = [point["method.epsilon"] for point in searched(made(objective="-wall_seconds"))[25:]]
    assert sum(late) / len(late) < 0.35


def test_where_training_breaks_no_accuracy_counts() -> None:
    late = [point["method.epsilon"] for point in searched(made(trials=60), breaks_above=0.6)[40:]]
    assert sum(x <= 0.6 for x in late) > 10
    assert 0.4 < sum(late) / len(late) < 0.75


def test_all_kinds_of_axes_have_values_of_their_own() -> None:
    strategy = made(20, SPACE)
    draws = random.Random(0)
    for _ in range(20):
        (point,) = strategy.ask(1)
        assert list(point) == list(SPACE)
        assert 16 / 255 <= point["method.epsilon"] <= 96 / 255
        assert 0.01 <= point["optimizer.lr_max"] <= 1
        assert isinstance(point["optimizer.epochs"], int)
        assert point["optimizer.batch_size"] in (128, 32, 64)
        assert point["method.name"] in ("fgsm", "n_fgsm")
        strategy.tell(point, co=False, values={"robust_acc": draws.random()})
    assert strategy.done


def test_answers_decide_what_is_asked_and_failed_trials_do_not_stop_it() -> None:
    def asked(value: float | None) -> list[Point]:
        strategy, draws = made(20), random.Random(0)
        points = []
        while not strategy.done:
            (point,) = strategy.ask(1)
            good = None if value is None else {"robust_acc": value * point["method.epsilon"] + 0.1 * draws.random()}
            strategy.tell(point, co=None if value is None else False, values=good)
            points.append(point)
        return points

    up, down, failed = asked(1.0), asked(-1.0), asked(None)
    assert up[:5] == down[:5] == failed[:5], "before there is anything to go by"
    assert up[12:] != down[12:]
    assert len(failed) == 20


def test_a_point_is_asked_for_once_and_a_small_space_ends_it() -> None:
    space = {"method.epsilon": {"grid": [0.1, 0.2, 0.3]}, "seed": {"grid": [0, 1]}}
    strategy = made(40, space)
    asked = searched(strategy)
    assert len(asked) == len(set(map(str, asked))) == 6
    assert strategy.reason == "no point is left that was not asked for, after 6 trials"
    assert len(searched(made(40, {"method.epsilon": {"grid": [0.1, 0.2, 0.3]}}))) == 3


def test_the_best_so_far_is_told() -> None:
    strategy = made(2)
    assert strategy.progress == ""
    first, second = strategy.ask(2)
    strategy.tell(first, co=False, values={"robust_acc": 0.25})
    strategy.tell(second, co=True, co_step=3, values={"robust_acc": 0.75})
    assert strategy.progress == "best robust_acc without CO: 0.25"


def test_its_study_opens_in_optuna(tmp_path: Path) -> None:
    strategy = made(6, objective=["robust_acc", "clean_acc"])
    points = searched(strategy, breaks_above=0.7)
    (name,) = strategy.files()
    assert name == "optuna.log"
    (tmp_path / name).write_bytes(strategy.files()[name])
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / name)))
    study = optuna.load_study(study_name="search", storage=storage)
    assert len(study.trials) == 6
    for trial, point in zip(study.trials, points, strict=True):
        assert trial.params == {"method.epsilon": point["method.epsilon"]}
        assert trial.values == [point["method.epsilon"], 1 - point["method.epsilon"]]
        assert (trial.constraints["co"] > 0) == (point["method.epsilon"] > 0.7)


@pytest.mark.parametrize(
    ("search", "space", "path", "message"),
    [
        ({"trials": None}, LINE, "search.trials", "missing; say how many trials"),
        (
            {"objective": "robust"},
            LINE,
            "search.objective",
            "unknown column of results 'robust'; did you mean 'robust_acc'?",
        ),
        ({"objective": ["method"]}, LINE, "search.objective", "unknown column of results 'method'"),
        ({"objective": []}, LINE, "search.objective", "is empty; name a column of trials"),
        ({"sampler": "tpee"}, LINE, "search.sampler", "did you mean 'tpe'?"),
        ({}, {"seed": {"int": [0, 9]}}, "space", "has no axis to search, besides seed"),
        ({"tolerance": 0.1}, LINE, "search.tolerance", "is of search.kind boundary, not of optuna"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(
    search: dict[str, Any], space: dict[str, Any], path: str, message: str
) -> None:
    fault = only_fault({"kind": "optuna", "trials": 10, **search}, space)
    assert fault.path == path
    assert message in fault.message
