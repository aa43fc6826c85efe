"""Made-up sweeps in a store: training breaks at large epsilon, for beta between two values."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from cosweep.results.store import Store
from tests.results.rows import START, broken_row, snapshot_rows, trial_row

STEPS_A_PROBE = 11


def breaks(epsilon: float, beta: float, seed: int) -> bool:
    """Whether a made-up trial breaks; at epsilon 64/255 without the feature only every other seed does."""
    if round(epsilon * 255) == 64 and beta == 0:
        return seed % 2 == 1
    return epsilon * 255 >= 60 and 0 < beta * 255 < 100


def probes(count: int, co_step: int | None) -> list[dict[str, Any]]:
    """A curve of so many probes that loses its PGD accuracy at ``co_step``."""
    rows = []
    for i in range(1, count + 1):
        step = STEPS_A_PROBE * i
        gone = co_step is not None and step >= co_step
        level = 0.8 * i / count
        accuracies = {
            "clean_acc": level + 0.1,
            "fgsm_acc": 0.95 if gone else level,
            "pgd_acc": 0.0 if gone else level / 2,
        }
        rows.append({"step": step, "epoch": i / 2, "lr": 0.1, "train_loss": 2 - level, "grad_cos": 0.9, **accuracies})
    return rows


def write_sweep(
    store: Store,
    name: str = "made",
    *,
    epsilons: Sequence[float] = (48 / 255, 64 / 255, 80 / 255),
    betas: Sequence[float] = (0.0, 16 / 255, 32 / 255, 128 / 255),
    methods: Sequence[str] = ("fgsm",),
    seeds: int = 2,
    probe_count: int = 12,
    snapshots: bool = False,
    keep: int | None = None,
    record: dict[str, Any] | None = None,
    **columns: object,
) -> list[dict[str, Any]]:
    """Write a grid of trials, or the first ``keep`` of them; returns their rows."""
    store.create()
    rows: list[dict[str, Any]] = []
    grid = list(itertools.product(methods, epsilons, betas, range(seeds)))
    ids = [f"{number:012x}" for number in range(len(grid))]
    for number, (method, epsilon, beta, seed) in enumerate(grid[:keep]):
        co = method != "pgd" and breaks(epsilon, beta, seed)
        co_step = 50 + 10 * seed + 3 * (number % 7) if co else None
        spec = {
            "data": {"source": "digits"},
            "interventions": [{"kind": "inject", "beta": beta, "carriers": "dct_sign"}],
            "method": {"name": method, "epsilon": epsilon},
            "seed": seed,
        }
        place = {"epsilon": epsilon, "beta": beta, "seed": seed, "method": method, "spec_json": json.dumps(spec)}
        ended = START + timedelta(seconds=10 * (number + 1))
        common: dict[str, Any] = {**place, "steps": STEPS_A_PROBE * probe_count, "finished_at": ended, **columns}
        row = trial_row(ids[number], **common) if co_step is None else broken_row(ids[number], co_step, **common)
        moments = [("end", common["steps"])] if co_step is None else [("before", co_step - 5), ("after", co_step + 9)]
        store.write_trial(name, row, probes(probe_count, co_step), snapshot_rows(*moments) if snapshots else None)
        rows.append(row)
    space: dict[str, Sequence[Any]] = {"method": methods, "epsilon": epsilons, "beta": betas, "seed": range(seeds)}
    asked = {
        "name": name,
        "trial_ids": ids,
        "axes": [axis for axis, values in space.items() if len(values) > 1],
        "space": {"method.epsilon": {"grid": [f"{round(e * 255)}/255" for e in epsilons]}},
        "search": {"kind": "grid"},
        "source": "# Question: where does it break?\nname: made <&>\n",
        "command": "cosweep run made.yaml",
    }
    store.write_sweep(name, asked | (record or {}))
    return rows
