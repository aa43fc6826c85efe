"""Rows as trials leave them, for tests of the results layer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from cosweep.results.schema import FIRST_COLUMNS, TRIAL_COLUMNS, table_from_rows

START = datetime(2026, 1, 1, tzinfo=UTC)


def trial_row(trial_id: str, **values: object) -> dict[str, object]:
    """Row of a completed healthy trial; ``values`` replace columns."""
    row: dict[str, object] = {
        "trial_id": trial_id,
        "status": "completed",
        "state": "healthy",
        "co": False,
        "co_reason": "",
        "data_source": "digits",
        "data_hash": "abc",
        "intervention": "inject",
        "beta": 0.0,
        "model": "preact_resnet",
        "method": "fgsm",
        "epsilon": 64 / 255,
        "alpha": 64 / 255,
        "seed": 0,
        "epochs": 2,
        "batch_size": 64,
        "lr_max": 0.2,
        "clean_acc": 0.9,
        "fgsm_acc": 0.7,
        "pgd_acc": 0.5,
        "robust_acc": 0.4,
        "robust_attack": "pgd-50-10",
        "steps": 46,
        "total_steps": 46,
        "wall_seconds": 10.0,
        "error": "",
        "spec_json": "{}",
        "started_at": START,
        "finished_at": START + timedelta(seconds=10),
    }
    return row | values


def broken_row(trial_id: str, co_step: int = 20, **values: object) -> dict[str, object]:
    """Row of a trial that broke."""
    low = {"co_step": co_step, "co_step_low": co_step - 5, "co_step_high": co_step + 5, "co_epoch": co_step / 23}
    return trial_row(trial_id, **({"status": "stopped", "state": "co", "co": True, "pgd_acc": 0.0} | low | values))


def old_table(trial_id: str, **values: object) -> pa.Table:
    """Row of a completed trial as the first cosweep wrote it, with fewer columns than now."""
    columns = tuple(column for column in TRIAL_COLUMNS if column.name in FIRST_COLUMNS["trials"])
    row = trial_row(trial_id, **values)
    return table_from_rows([{name: row.get(name) for name in FIRST_COLUMNS["trials"]}], columns)


def curve(steps: int = 3) -> list[dict[str, Any]]:
    """Probes of a healthy trial."""
    return [
        {"step": 11 * i, "epoch": i / 2, "clean_acc": 0.5, "fgsm_acc": 0.4, "pgd_acc": 0.3, "train_loss": 1.0}
        for i in range(1, steps + 1)
    ]


def measured_curve() -> list[dict[str, Any]]:
    """Probes of which the second and the last have diagnostics; the last those of a diverged model."""
    nan = float("nan")
    found: list[dict[str, Any]] = [
        {},
        {"curvature": 2.5, "delta_spectrum": [0.5, 0.25, 0.25], "ray_loss": [0.1, 0.2]},
        {"curvature": nan, "delta_spectrum": [0.0, 0.0, 0.0], "ray_loss": [0.3, nan]},
    ]
    return [probe | columns for probe, columns in zip(curve(), found, strict=True)]


def snapshot_rows(*moments: tuple[str, int]) -> list[dict[str, Any]]:
    """Two images of two pixels at each moment."""
    return [
        {
            "moment": moment,
            "step": step,
            "example": example,
            "label": example % 10,
            "shape": [1, 1, 2],
            "original": [0.0, 1.0],
            "intervened": [0.1, 0.9],
            "delta": [0.25 * example, -0.25],
        }
        for moment, step in moments
        for example in (7, 12)
    ]
