"""Applying a detector to a table of curves, from this system or another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cosweep.detection import DETECTORS, Verdict
from cosweep.detection.published import GradientCosine
from cosweep.errors import CosweepError, UnknownNameError
from cosweep.metrics import ProbeMetrics

REQUIRED = ("trial_id", "step", "clean_acc", "fgsm_acc", "pgd_acc")
_OPTIONAL = ("epoch", "lr", "train_loss", "train_acc", "grad_cos")
VERDICT_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("state", pa.string()),
        ("co", pa.bool_()),
        ("co_step", pa.int64()),
        ("co_step_low", pa.int64()),
        ("co_step_high", pa.int64()),
        ("co_reason", pa.string()),
    ]
)


def detect_file(path: Path, detector: str, num_classes: int) -> pa.Table:
    """Verdict on each curve of a CSV or Parquet file, one row per ``trial_id`` in order of appearance.

    Probes are read in order of ``step``. Without a replay ``co_step`` is the first collapsed probe.

    Raises:
        CosweepError: If the file cannot be read or lacks a column.
    """
    if detector not in DETECTORS:
        raise UnknownNameError("detector", detector, DETECTORS)
    curves = _read_curves(path, detector)
    verdicts = [
        {"trial_id": trial_id, **judge(probes, detector, num_classes).to_dict()} for trial_id, probes in curves.items()
    ]
    return pa.Table.from_pylist(verdicts, VERDICT_SCHEMA)


def judge(probes: list[ProbeMetrics], detector: str, num_classes: int) -> Verdict:
    """Verdict on one curve."""
    judgement = DETECTORS[detector](num_classes)
    for probe in sorted(probes, key=lambda p: p.step):
        judgement.update(probe)
    return judgement.verdict


def _read_curves(path: Path, detector: str) -> dict[str, list[ProbeMetrics]]:
    table = _read_table(path)
    if len(set(table.column_names)) < len(table.column_names):
        raise CosweepError(f"{path}: a column name stands there twice: {', '.join(table.column_names)}")
    absent = [name for name in REQUIRED if name not in table.column_names]
    if absent:
        raise CosweepError(
            f"{path}: no column {', '.join(absent)}; a table of curves has {', '.join(REQUIRED)}, "
            f"this one has {', '.join(table.column_names) or 'none'}"
        )
    if detector == GradientCosine.name and "grad_cos" not in table.column_names:
        raise CosweepError(f"{path}: no column grad_cos, which detector {detector} reads")
    names = [*REQUIRED, *(name for name in _OPTIONAL if name in table.column_names)]
    curves: dict[str, list[ProbeMetrics]] = {}
    for number, row in enumerate(table.select(names).to_pylist(), start=1):
        curves.setdefault(str(row.pop("trial_id")), []).append(_probe(row, path, number))
    return curves


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pq.read_table(path)
        return pyarrow.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise CosweepError(f"{path}: cannot be read as CSV or Parquet: {error}") from error


def _probe(row: dict[str, Any], path: Path, number: int) -> ProbeMetrics:
    """Probe of a row. No accuracy at all is a training that diverged (NaN is often written as an empty cell)."""
    try:
        empty = [name for name in REQUIRED[1:] if row[name] is None]
        if empty and empty != list(REQUIRED[2:]):
            raise ValueError(f"{', '.join(empty)} is empty")
        values = {name: float("nan") if value is None else float(value) for name, value in row.items()}
        accuracies = [values[name] for name in REQUIRED[2:]]
        if any(a < 0 or a > 1 for a in accuracies):
            raise ValueError(f"accuracies are fractions in [0, 1], got {accuracies}")
        if not values["step"].is_integer():
            raise ValueError(f"step must be a whole number, got {values['step']}")
        return ProbeMetrics(**{**values, "step": int(values["step"])})  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise CosweepError(f"{path}, row {number}: {error}") from error
