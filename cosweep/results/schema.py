"""Columns of the tables ``trials``, ``curves`` and ``snapshots``: type, unit and meaning of each."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, NamedTuple

import pyarrow as pa

from cosweep.metrics import ABLATIONS

SCHEMA_VERSION = 1
VERSION_KEY = b"cosweep_schema_version"


class Column(NamedTuple):
    """One documented column. Every number has a unit; ``number`` is that of a pure one."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str


DECLARED: dict[str, Any] = json.loads(files("cosweep.results").joinpath("declared.json").read_text())
"""What diagnostics and interventions declare; ``make reference`` writes it, since readers of tables import no torch."""

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_FLOATS = pa.list_(pa.float64())
_TIME = pa.timestamp("us", tz="UTC")
_SHARE, _PIXEL, _COSINE, _PURE = "fraction", "pixel scale [0, 1]", "cosine [-1, 1]", "number"
_LENGTH = "pixel scale [0, 1]; in l2 a length on it"

TRIAL_COLUMNS = (
    Column("trial_id", _TEXT, "", "short hash of the spec"),
    Column("status", _TEXT, "", "how the trial ended: completed, stopped, failed"),
    Column("state", _TEXT, "", "what its curve shows: healthy, co, recovered, diverged, not_robust"),
    Column("co", _BOOL, "", "whether catastrophic overfitting was found, recovered from or not"),
    Column("co_step", _INT, "steps", "breaking point"),
    Column("co_step_low", _INT, "steps", "last step known to be before the breaking point"),
    Column("co_step_high", _INT, "steps", "first probe after the breaking point"),
    Column("co_epoch", _FLOAT, "epochs", "breaking point"),
    Column("co_reason", _TEXT, "", "the numbers behind the verdict"),
    Column("data_source", _TEXT, "", "name of the data source"),
    Column("data_hash", _TEXT, "", "fingerprint of the images and labels"),
    Column("train_images", _INT, "images", "images to train on"),
    Column("test_images", _INT, "images", "images held out"),
    Column("num_classes", _INT, "classes", "number of classes"),
    Column("image_shape", _TEXT, "", "channels x height x width, in pixels"),
    Column("intervention", _TEXT, "", "kinds of the interventions, joined by +; none without"),
    Column("beta", _FLOAT, _LENGTH, "strength of the injected feature"),
    Column("bandwidth", _INT, "frequencies", "kept DCT rows and columns of a pass filter"),
    Column("model", _TEXT, "", "name of the model"),
    Column("method", _TEXT, "", "name of the training method"),
    Column("epsilon", _FLOAT, _LENGTH, "radius of perturbations in the trial's norm"),
    Column("alpha", _FLOAT, _LENGTH, "step of the training attack in the trial's norm"),
    Column("seed", _INT, _PURE, "seed of the trial"),
    Column("epochs", _INT, "epochs", "length of a full training"),
    Column("batch_size", _INT, "examples", "examples per step"),
    Column("lr_max", _FLOAT, _PURE, "largest learning rate"),
    Column("probe_examples", _INT, "images", "held-out images that the spec asks probes to measure on"),
    Column("probe_examples_used", _INT, "images", "held-out images that probes measured on: all if there are fewer"),
    Column("clean_acc", _FLOAT, _SHARE, "last probe: accuracy without perturbation"),
    Column("fgsm_acc", _FLOAT, _SHARE, "last probe: accuracy under FGSM"),
    Column("pgd_acc", _FLOAT, _SHARE, "last probe: accuracy under PGD"),
    Column("box_low", _FLOAT, _PIXEL, "smallest pixel that attacks were allowed"),
    Column("box_high", _FLOAT, _PIXEL, "largest pixel that attacks were allowed"),
    Column("final_examples", _INT, "images", "held-out images that the spec asks to evaluate on at the end"),
    Column("final_examples_used", _INT, "images", "held-out images evaluated on at the end: all if there are fewer"),
    Column("robust_acc", _FLOAT, _SHARE, "accuracy under the final evaluation"),
    Column("robust_zero_grad_share", _FLOAT, _SHARE, "its examples whose input gradient is exactly zero"),
    Column("robust_attack", _TEXT, "", "the final evaluation, as pgd-50-10 (steps, restarts), or AutoAttack's attacks"),
    *(
        Column(f"{kind}_on_{name}", _FLOAT, _SHARE, f"final evaluation, {images}: accuracy {attack}")
        for kind, attack in (("clean_acc", "without perturbation"), ("robust_acc", "under attack"))
        for name, images in ABLATIONS.items()
    ),
    Column("steps", _INT, "steps", "optimisation steps done"),
    Column("total_steps", _INT, "steps", "optimisation steps of the whole training; null in results of older versions"),
    Column("probes", _INT, "probes", "rows of curves that were written with it; null in results of older versions"),
    Column("train_seconds", _FLOAT, "seconds", "training"),
    Column("probe_seconds", _FLOAT, "seconds", "probes and replay"),
    Column("diagnostic_seconds", _FLOAT, "seconds", "diagnostics and snapshots"),
    Column("eval_seconds", _FLOAT, "seconds", "the final evaluation"),
    Column("wall_seconds", _FLOAT, "seconds", "from start to finish"),
    Column("workers", _INT, "processes", "workers that trained it together, each with its rows of every batch"),
    Column("device", _TEXT, "", "device the trial ran on; null if its worker was lost"),
    Column("host", _TEXT, "", "machine the trial ran on; null if its worker was lost"),
    Column("error", _TEXT, "", "why the trial failed or ended early; empty otherwise"),
    Column("versions", _TEXT, "", "versions of cosweep, python and torch"),
    Column("spec_json", _TEXT, "", "the whole spec; cosweep builds the same trial from it"),
    Column("started_at", _TIME, "UTC", "start"),
    Column("finished_at", _TIME, "UTC", "end"),
)

CURVE_COLUMNS = (
    Column("trial_id", _TEXT, "", "short hash of the spec"),
    Column("step", _INT, "steps", "optimisation steps done"),
    Column("epoch", _FLOAT, "epochs", "epochs done"),
    Column("lr", _FLOAT, _PURE, "learning rate of the last step"),
    Column("train_loss", _FLOAT, "nats", "mean loss per training example since the last probe"),
    Column("train_acc", _FLOAT, _SHARE, "accuracy on the perturbed training batches since the last probe"),
    Column("train_abnormal", _FLOAT, _SHARE, "share of training examples whose loss their perturbation lowered"),
    Column("train_gain", _FLOAT, "fraction [-1, 1]", "training accuracy with the perturbation minus that at its start"),
    Column("clean_acc", _FLOAT, _SHARE, "accuracy without perturbation"),
    Column("fgsm_acc", _FLOAT, _SHARE, "accuracy under FGSM"),
    Column("pgd_acc", _FLOAT, _SHARE, "accuracy under PGD"),
    Column("grad_cos", _FLOAT, _COSINE, "mean cosine of input gradients at x and at x + noise"),
    Column("zero_grad_share", _FLOAT, _SHARE, "share of examples whose input gradient is exactly zero"),
    *(
        Column(column["name"], _FLOATS if column["many"] else _FLOAT, column["unit"], column["meaning"])
        for column in DECLARED["diagnostic_columns"]
    ),
)

SNAPSHOT_COLUMNS = (
    Column("trial_id", _TEXT, "", "short hash of the spec"),
    Column("moment", _TEXT, "", "before or after the breaking point, or end of a training that did not break"),
    Column("step", _INT, "steps", "optimisation steps done"),
    Column("example", _INT, _PURE, "place of the image among the held-out ones"),
    Column("label", _INT, _PURE, "its class"),
    Column("shape", pa.list_(_INT), "pixels", "channels, height, width"),
    Column("original", _FLOATS, _PIXEL, "pixels before intervention, in that order"),
    Column("intervened", _FLOATS, _PIXEL, "pixels as attacked"),
    Column("delta", _FLOATS, _PIXEL, "FGSM perturbation of the model at that step"),
)

_GIVEN = frozenset(
    {"data_source", "intervention", "beta", "bandwidth", "model", "method", "epsilon", "alpha", "seed"}
    | {"epochs", "batch_size", "lr_max", "probe_examples", "final_examples"}
)
OUTCOME_COLUMNS = frozenset(column.name for column in TRIAL_COLUMNS) - _GIVEN
"""Columns of ``trials`` that a trial found out, as against those it was given."""
MEASURED_COLUMNS = tuple(
    column.name
    for column in TRIAL_COLUMNS
    if column.name in OUTCOME_COLUMNS and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type))
)
"""Those of them that are numbers."""

SWEEP_COLUMN = Column("sweep", _TEXT, "", "name of the sweep; the folder sweep=NAME, not in the files")
IN_DEFINITION = Column(
    "in_definition",
    _BOOL,
    "",
    "whether the definition that the sweep was last run with has this trial; the views all_trials, all_curves and "
    "all_snapshots show those it has not as well; null if no definition is kept; not in the files",
)
VIEW_COLUMNS = (SWEEP_COLUMN, IN_DEFINITION)
"""Columns that every view has behind those of its table."""

TABLES = {"trials": TRIAL_COLUMNS, "curves": CURVE_COLUMNS, "snapshots": SNAPSHOT_COLUMNS}

_FIRST = {
    "trials": "trial_id status state co co_step co_step_low co_step_high co_epoch co_reason data_source data_hash "
    "intervention beta bandwidth model method epsilon alpha seed epochs batch_size lr_max clean_acc fgsm_acc pgd_acc "
    "robust_acc robust_attack steps train_seconds probe_seconds eval_seconds wall_seconds device host error versions "
    "spec_json started_at finished_at",
    "curves": "trial_id step epoch lr train_loss train_acc clean_acc fgsm_acc pgd_acc grad_cos",
    "snapshots": "trial_id moment step example label shape original intervened delta",
}
FIRST_COLUMNS = {kind: frozenset(names.split()) for kind, names in _FIRST.items()}
"""Columns that the first cosweep wrote, so that every file has them; later ones may be absent from a file."""


def table_from_rows(rows: list[dict[str, object]], columns: tuple[Column, ...]) -> pa.Table:
    """Table with the documented columns first, typed; columns beyond them keep the type of their values."""
    arrays = {c.name: pa.array([row.get(c.name) for row in rows], c.type) for c in columns}
    extra = dict.fromkeys(name for row in rows for name in row if name not in arrays)
    arrays |= {name: pa.array([row.get(name) for row in rows]) for name in extra}
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode()}
    return pa.table(arrays).replace_schema_metadata(metadata)
