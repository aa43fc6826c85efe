"""Applying a detector to a table of curves, from this system or another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cosweep.detection import Chance, CurveReader, Detector, Verdict
from cosweep.errors import CosweepError
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


def detect_file(path: Path, detector: Detector, chance: Chance) -> pa.Table:
    """Verdict on each curve of a CSV or Parquet file, one row per ``trial_id`` in order of appearance.

    Probes are read in order of ``step``; a row that is there twice counts once. Without a replay ``co_step`` is the
    first collapsed probe.

    Args:
        path: The file.
        detector: Which rule.
        chance: What guessing reaches on the examples that the accuracies were counted over.

    Raises:
        CosweepError: If the file cannot be read, lacks a column, or holds what is no curve.
    """
    verdicts = [
        {"trial_id": trial_id, **judge(list(probes.values()), detector, chance).to_dict()}
        for trial_id, probes in _read_curves(path, detector).items()
    ]
    return pa.Table.from_pylist(verdicts, VERDICT_SCHEMA)


def judge(probes: list[ProbeMetrics], detector: Detector, chance: Chance) -> Verdict:
    """Verdict on one curve."""
    reader = CurveReader(detector, chance)
    for probe in sorted(probes, key=lambda p: p.step):
        reader.update(probe)
    return reader.verdict


def _read_curves(path: Path, detector: Detector) -> dict[str, dict[int, ProbeMetrics]]:
    """Probes by trial and step."""
    table = _read_table(path)
    if len(set(table.column_names)) < len(table.column_names):
        raise CosweepError(f"{path}: a column name stands there twice: {', '.join(table.column_names)}")
    absent = [name for name in REQUIRED if name not in table.column_names]
    if absent:
        raise CosweepError(
            f"{path}: no column {', '.join(absent)}; a table of curves has {', '.join(REQUIRED)}, "
            f"this one has {', '.join(table.column_names) or 'none'}"
        )
    if unread := [name for name in detector.needs if name not in table.column_names]:
        raise CosweepError(f"{path}: no column {', '.join(unread)}, which detector {detector.name} reads")
    names = [*REQUIRED[1:], *(name for name in _OPTIONAL if name in table.column_names)]
    ids = _trial_ids(table["trial_id"], path)
    curves: dict[str, dict[int, ProbeMetrics]] = {}
    for number, (trial_id, row) in enumerate(zip(ids, table.select(names).to_pylist(), strict=True), start=1):
        probe = _probe(row, path, number)
        known = curves.setdefault(trial_id, {}).setdefault(probe.step, probe)
        if repr(known) != repr(probe):  # equal and not NaN, or both NaN
            raise CosweepError(
                f"{path}, row {number}: trial {trial_id!r} has step {probe.step} once more, with other numbers "
                f"({_difference(known, probe, names)}); leave one row for each trial and step"
            )
    return curves


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pq.read_table(path)
        # Ids are text as they stand there: 007 is not 7, and NA is a name.
        options = pyarrow.csv.ConvertOptions(column_types={"trial_id": pa.string()}, strings_can_be_null=False)
        return pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise CosweepError(f"{path}: cannot be read as CSV or Parquet: {error}") from error


def _trial_ids(column: pa.ChunkedArray, path: Path) -> list[str]:
    """The ids as text.

    Raises:
        CosweepError: If one is empty, or they are of a type that is no name, such as a float.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise CosweepError(f"{path}: trial_id is of type {kind}; write the ids as text or whole numbers")
    ids: list[str | int | None] = column.to_pylist()
    for number, trial_id in enumerate(ids, start=1):
        if trial_id is None or not str(trial_id).strip():
            raise CosweepError(f"{path}, row {number}: trial_id is empty; each row names its trial")
    return list(map(str, ids))


def _difference(known: ProbeMetrics, probe: ProbeMetrics, names: list[str]) -> str:
    """The first number in which two probes differ."""
    pairs = ((name, getattr(known, name), getattr(probe, name)) for name in names)
    name, before, after = next(pair for pair in pairs if repr(pair[1]) != repr(pair[2]))
    return f"{name} {before} and {after}"


def _probe(row: dict[str, Any], path: Path, number: int) -> ProbeMetrics:
    """Probe of a row. No accuracy at all is a training that diverged (NaN is often written as an empty cell)."""
    try:
        empty = [name for name in REQUIRED[1:] if row[name] is None]
        if empty and empty != list(REQUIRED[2:]):
            raise ValueError(f"{', '.join(empty)} is empty")
        values = {name: float("nan") if value is None else float(value) for name, value in row.items()}
        for name in REQUIRED[2:]:
            if not (math.isnan(values[name]) or 0 <= values[name] <= 1):
                raise ValueError(
                    f"accuracies are fractions in [0, 1], got {name} {values[name]:g}; if the file has percentages, "
                    "divide them by 100 in all of its rows and columns"
                )
        if not values["step"].is_integer():
            raise ValueError(f"step must be a whole number, got {values['step']}")
        return ProbeMetrics(**{**values, "step": int(values["step"])})  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise CosweepError(f"{path}, row {number}: {error}") from error
