"""How many trials, and how much training, the breaking line costs by each way to choose them. Prints two tables.

    python benchmarks/boundary.py [--repeats 3] [--trials 100] [--only simulated|recorded]

Simulated: twelve truths of two axes, three of them with a category, whose seeds' times to the breaking point are
log-normal. Recorded: each question is answered by a real training of ``recorded_grid.parquet``, made by

    cosweep run benchmarks/recorded_grid.yaml && python benchmarks/boundary.py --record results

All ways are read by the same belief (:class:`cosweep.search.Belief`), so that only the choice of points differs;
"grid by majority" is the full grid without it. Error is the share of the space on the wrong side of the line.
"""

from __future__ import annotations

import argparse
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
from scipy.stats import qmc

from cosweep.results.query import run_query
from cosweep.results.store import Store
from cosweep.search import Answer, Axis, Belief, Point, Strategy, make_strategy
from cosweep.search.axes import read_axes

STEPS = 1000
AT_ONCE = 4
MESH = 24
LATEST_LOG = -0.35
"""Log share of the training at which trainings at the line break, as in the recorded ones."""
RECORDED = Path(__file__).with_name("recorded_grid.parquet")
X, Y, CATEGORY, SEED = "method.epsilon", "interventions.0.beta", "method.name", "seed"
SPACE: dict[str, Any] = {X: {"uniform": [0, 1]}, Y: {"uniform": [0, 1]}, SEED: {"int": [0, 10**6]}}
NAMES = ("fgsm", "n_fgsm")

Truth = Callable[[float, float, int], float]
"""Log of the median time to the breaking point, in trainings, at a place; below 0 training breaks."""
# Slope over an axis, and the noise between seeds, are about those of the recorded trainings: 1.5 to 2.5, and 0.15.
TRUTHS: dict[str, tuple[Truth, float]] = {
    "line": (lambda x, y, c: 2.0 * (0.3 + 0.4 * y - x), 0.15),
    "steep line": (lambda x, y, c: 2.0 * (y - 2 * x + 0.4), 0.15),
    "bent line": (lambda x, y, c: 2.0 * (0.3 + 0.3 * y + 0.1 * math.sin(6 * y) - x), 0.15),
    "band": (lambda x, y, c: 3.0 * (abs(y - 0.45) - 0.2), 0.15),
    "wedge": (lambda x, y, c: 3.0 * (abs(y - 0.45) - 0.3 * min(1.0, 1.4 * x)), 0.15),
    "corner": (lambda x, y, c: 3.0 * max(0.55 - x, 0.5 - y), 0.15),
    "sharp line": (lambda x, y, c: 8.0 * (0.3 + 0.4 * y - x), 0.15),
    "wide line": (lambda x, y, c: 1.0 * (0.3 + 0.4 * y - x), 0.3),
    "island": (lambda x, y, c: 3.0 * (math.hypot(x - 0.6, y - 0.5) - 0.27), 0.15),
    "two lines": (lambda x, y, c: 2.0 * (0.3 + 0.4 * y - x + 0.2 * c), 0.15),
    "nothing breaks": (lambda x, y, c: 0.6 + 0.2 * x, 0.15),
    "everything breaks": (lambda x, y, c: -0.6 - 0.2 * x, 0.15),
}
CATEGORIES = {"two lines": 2}


class Trials(ABC):
    """What a way to choose points may ask, what it costs, and which answer is right.

    Attributes:
        space: As in a definition.
        axes: Of the space.
        mesh: Places on which the belief is judged.
        right: Whether training breaks there for most seeds.
    """

    space: dict[str, Any]
    axes: tuple[Axis, ...]
    mesh: list[Point]
    right: list[bool]

    @abstractmethod
    def answer(self, point: Point) -> tuple[Answer, float]:
        """The trial at a point, and its cost: in whole trainings, or in seconds."""

    @abstractmethod
    def points(self) -> list[Point]:
        """A full grid with two seeds."""


class Simulated(Trials):
    """Trials of a truth."""

    def __init__(self, name: str, seed: int) -> None:
        self.truth, self.noise = TRUTHS[name]
        self.names = NAMES[: CATEGORIES.get(name, 1)]
        space = SPACE | ({CATEGORY: {"grid": list(self.names)}} if len(self.names) > 1 else {})
        self.space = space
        self.axes = read_axes(space)[0]
        self.draws = random.Random(seed)
        side = [(i + 0.5) / MESH for i in range(MESH)]
        self.mesh = [self.point(x, y, c) for c in range(len(self.names)) for x in side for y in side]
        self.right = [self.log_time(point) < 0 for point in self.mesh]

    def point(self, x: float, y: float, category: int) -> Point:
        named = {CATEGORY: self.names[category]} if len(self.names) > 1 else {}
        return {X: x, Y: y, SEED: self.draws.randrange(10**6), **named}

    def log_time(self, point: Point) -> float:
        return self.truth(point[X], point[Y], self.names.index(point.get(CATEGORY, self.names[0])))

    def answer(self, point: Point) -> tuple[Answer, float]:
        time = self.log_time(point) + self.noise * self.draws.gauss(0, 1)
        if time >= 0:
            return Answer(point, False, None, STEPS), 1.0
        share = math.exp(max(time + LATEST_LOG, -3.0))
        return Answer(point, True, max(1, round(STEPS * share)), STEPS), share

    def points(self) -> list[Point]:
        side = [(i + 0.5) / 12 for i in range(12)]
        each = 2 // len(self.names)  # as many trials with a category as without
        return [self.point(x, y, c) for c in range(len(self.names)) for _ in range(each) for x in side for y in side]


class Recorded(Trials):
    """Real trainings; a place with several seeds is answered by one of them that was not asked for."""

    def __init__(self) -> None:
        rows = pq.read_table(RECORDED).to_pylist()
        self.rows = {(row["epsilon"], row["beta"], row["seed"]): row for row in rows}
        sides = [sorted({row[name] for row in rows}) for name in ("epsilon", "beta", "seed")]
        self.space = {path: {"grid": values} for path, values in zip((X, Y, SEED), sides, strict=True)}
        self.axes = read_axes(self.space)[0]
        everything = Belief(self.axes, [self.answer(point)[0] for point in self.points()])
        places = {(point[X], point[Y]): point for point in self.points()}.values()
        clear = [p for p in places if any(self.answer({**p, SEED: s})[0].co is not None for s in sides[2])]
        self.mesh = list(clear)
        self.right = [p > 0.5 for p in everything.p_co(self.mesh)]

    def answer(self, point: Point) -> tuple[Answer, float]:
        row = self.rows[point[X], point[Y], point[SEED]]
        co = True if row["co_step"] is not None else False if row["state"] == "healthy" else None
        return Answer(point, co, row["co_step"], row["total_steps"]), row["seconds"]

    def points(self) -> list[Point]:
        return [{X: x, Y: y, SEED: seed} for x, y, seed in self.rows]


def grid(trials: Trials, count: int, seed: int) -> Iterator[Point]:
    """The full grid in random order."""
    points = trials.points()
    random.Random(seed).shuffle(points)
    yield from points[:count]


def drawn(trials: Trials, shares: Iterator[list[float]], seed: int) -> Iterator[Point]:
    """Points at shares of the axes, each once."""
    draws, seen = random.Random(seed), set()
    for share in shares:
        point: Point = {}
        for axis, part in zip([a for a in trials.axes if a.path != SEED], share, strict=False):
            if axis.kind == "grid":
                point[axis.path] = axis.values[int(part * len(axis.values))]
            else:
                point[axis.path] = axis.values[0] + part * (axis.values[1] - axis.values[0])
        point[SEED] = next(a for a in trials.axes if a.path == SEED).draw(draws)
        if (key := str(point)) not in seen:
            seen.add(key)
            yield point


def at_random(trials: Trials, count: int, seed: int) -> Iterator[Point]:
    """Independent points."""
    draws = random.Random(seed)
    yield from drawn(trials, ([draws.random() for _ in range(3)] for _ in range(100 * count)), seed)


def sobol(trials: Trials, count: int, seed: int) -> Iterator[Point]:
    """A scrambled Sobol sequence."""
    yield from drawn(trials, iter(qmc.Sobol(3, seed=seed).random(1024).tolist()), seed)


class Asking:
    """A way that is told the answers: by ``ask`` and ``tell``."""

    def __init__(self, trials: Trials, count: int, seed: int) -> None:
        self.trials, self.told = trials, list[Answer]()
        self.strategy: Strategy = make_strategy({"kind": "boundary", "trials": count, "seed": seed}, trials.space)

    def ask(self) -> list[Point]:
        return self.strategy.ask(AT_ONCE)

    def tell(self, answer: Answer) -> None:
        self.told.append(answer)
        self.strategy.tell(answer.point, co=answer.co, co_step=answer.co_step, total_steps=answer.total_steps)


class Straddle(Asking):
    """Where 1.96 standard deviations exceed the distance of the mean from the line most (Bryan et al., 2005)."""

    def ask(self) -> list[Point]:
        strategy: Any = self.strategy
        if corners := strategy._corners_left():
            points = [strategy._with_seed(corners[0])]
        else:
            places = [p for p in strategy._lattice(strategy._rng.random()) if strategy._is_free(p)]
            mean, variance = strategy._fitted().latent(places)
            order = np.argsort(np.abs(mean) - 1.96 * np.sqrt(variance))[:AT_ONCE]
            points = [strategy._with_seed(places[i]) for i in order]
        for point in points:
            strategy.expect(point)
        return points


class Tpe(Asking):
    """Optuna's TPE, which looks for times at the line: a healthy trial counts as half a training beyond it."""

    def __init__(self, trials: Trials, count: int, seed: int) -> None:
        super().__init__(trials, count, seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
        self.asked: dict[str, optuna.Trial] = {}
        self.seen: set[str] = set()

    def ask(self) -> list[Point]:
        points: list[Point] = []
        while len(points) < AT_ONCE:
            trial = self.study.ask()
            point = {axis.path: self._suggest(trial, axis) for axis in self.trials.axes}
            if str(point) in self.seen and len(self.study.trials) < 5000:
                self.study.tell(trial, 1.0)
                continue
            self.seen.add(str(point))
            self.asked[str(point)] = trial
            points.append(point)
        return points

    @staticmethod
    def _suggest(trial: optuna.Trial, axis: Axis) -> Any:
        if axis.kind == "grid":
            return axis.values[trial.suggest_int(axis.path, 0, len(axis.values) - 1)]
        low, high = axis.values
        return (
            trial.suggest_int(axis.path, int(low), int(high))
            if axis.kind == "int"
            else trial.suggest_float(axis.path, low, high)
        )

    def tell(self, answer: Answer) -> None:
        self.told.append(answer)
        share = answer.share
        self.study.tell(self.asked[str(answer.point)], 0.5 if share is None else abs(math.log(share)))


PLANNED = {"grid": grid, "random": at_random, "Sobol": sobol}
TOLD = {"boundary": Asking, "straddle": Straddle, "Optuna TPE": Tpe}
WAYS = [*TOLD, *PLANNED]


def run(trials: Trials, way: str, count: int, seed: int, marks: list[int]) -> list[tuple[float, float]]:
    """Error and cost after so many trials; a search that ended keeps its last."""
    told: list[Answer] = []
    cost, found = 0.0, list[tuple[float, float]]()

    def take(point: Point) -> Answer:
        nonlocal cost
        answer, paid = trials.answer(point)
        told.append(answer)
        cost += paid
        return answer

    def note() -> None:
        if len(told) in marks:
            found.append((error(trials, told), cost))

    if way in PLANNED:
        for point in PLANNED[way](trials, count, seed):
            take(point)
            note()
            if len(told) >= count:
                break
    else:
        asking = TOLD[way](trials, count, seed)
        while len(told) < count and (points := asking.ask()):
            for point in points[: count - len(told)]:
                asking.tell(take(point))
                note()
    last = (error(trials, told), cost)
    return [*found, *[last] * (len(marks) - len(found))]


def error(trials: Trials, told: list[Answer]) -> float:
    """Share of the mesh on the wrong side by the belief in what was told."""
    believed = Belief(trials.axes, told).p_co(trials.mesh)
    return float(np.mean([(p > 0.5) != right for p, right in zip(believed, trials.right, strict=True)]))


def by_majority(trials: Simulated) -> float:
    """Error of the full grid if each of its cells is what most of its seeds are; a half if they are split."""
    cells: dict[tuple[Any, ...], list[bool]] = {}
    for point in trials.points():
        answer, _ = trials.answer(point)
        cells.setdefault(cell_of(point), []).append(bool(answer.co))
    wrong = [abs(np.mean(cells[cell_of(p)]) - right) for p, right in zip(trials.mesh, trials.right, strict=True)]
    return float(np.mean([round(2 * w) / 2 for w in wrong]))


def cell_of(point: Point) -> tuple[Any, ...]:
    return int(point[X] * 12), int(point[Y] * 12), point.get(CATEGORY)


def simulated(repeats: int, count: int) -> None:
    """Errors over the truths, and what they cost."""
    marks = [count * part // 4 for part in (1, 2, 3, 4)]
    heads = [f"{mark} trials" for mark in marks]
    print(f"simulated: error in % (cost in whole trainings), {repeats} repeats; grid of 288: by belief | by majority")
    print(f"{'truth':<18}{'way':<12}" + "".join(f"{head:>16}" for head in heads) + f"{'grid of 288':>22}")
    means: dict[str, list[list[tuple[float, float]]]] = {way: [] for way in WAYS}
    full: list[tuple[float, float, float]] = []
    for name in TRUTHS:
        whole = []
        for seed in range(repeats):
            trials = Simulated(name, seed)
            told = [trials.answer(point) for point in trials.points()]
            whole.append((error(trials, [a for a, _ in told]), sum(c for _, c in told), by_majority(trials)))
        full += whole
        belief, cost, majority = np.mean(whole, axis=0)
        for way in WAYS:
            runs = [run(Simulated(name, 1000 + seed), way, count, seed, marks) for seed in range(repeats)]
            means[way] += runs
            told_grid = f"{100 * belief:>8.1f} ({cost:.0f}) | {100 * majority:.1f}" if way == WAYS[0] else ""
            print(f"{name if way == WAYS[0] else '':<18}{way:<12}{cells(runs)}{told_grid:>22}", flush=True)
    belief, cost, majority = np.mean(full, axis=0)
    for way in WAYS:
        told_grid = f"{100 * belief:>8.1f} ({cost:.0f}) | {100 * majority:.1f}" if way == WAYS[0] else ""
        print(f"{'mean' if way == WAYS[0] else '':<18}{way:<12}{cells(means[way])}{told_grid:>22}")


def cells(runs: list[list[tuple[float, float]]]) -> str:
    return "".join(f"{f'{100 * e:.1f} ({c:.0f})':>16}" for e, c in np.mean(runs, axis=0))


def recorded(repeats: int) -> None:
    """Errors over the recorded trainings, against the belief in all of them."""
    trials = Recorded()
    total = len(trials.rows)
    seconds = sum(row["seconds"] for row in trials.rows.values())
    marks = [total * percent // 100 for percent in (10, 20, 35, 50)]
    print(
        f"\nrecorded: {total} trainings of {seconds:.0f} s; error in % against all of them (share of the seconds in %)"
    )
    print(f"{'way':<12}" + "".join(f"{f'{mark} trials':>16}" for mark in marks))
    for way in WAYS:
        runs = [
            [(e, 100 * cost / seconds) for e, cost in run(trials, way, marks[-1], seed, marks)]
            for seed in range(repeats)
        ]
        print(f"{way:<12}{cells(runs)}", flush=True)


def record(root: str) -> None:
    """Keep the sweep's trials for this benchmark."""
    sql = (
        "SELECT epsilon, beta, seed, state, co_step, robust_acc, "
        "CAST(ceil(train_images / batch_size) * epochs AS INTEGER) AS total_steps, "
        "train_seconds + probe_seconds + eval_seconds AS seconds "
        "FROM trials WHERE sweep = 'recorded_grid' ORDER BY epsilon, beta, seed"
    )
    pq.write_table(run_query(Store(root), sql), RECORDED)
    print(f"{RECORDED}: {pq.read_metadata(RECORDED).num_rows} trainings")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", choices=("simulated", "recorded"))
    parser.add_argument("--record", metavar="RESULTS", help="keep the trials of a results folder, and end")
    options = parser.parse_args()
    if options.record:
        record(options.record)
    else:
        if options.only != "recorded":
            simulated(options.repeats, options.trials)
        if options.only != "simulated":
            recorded(options.repeats)
