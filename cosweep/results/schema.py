"""Columns of the tables ``trials`` and ``curves``: type, unit and meaning of each."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from cosweep.metrics import ABLATIONS

SCHEMA_VERSION = 1
VERSION_KEY = b"cosweep_schema_version"


class Column(NamedTuple):
    """One documented column."""

    name: str
    type: pa.DataType
    meaning: str


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_FLOATS = pa.list_(pa.float64())
_TIME = pa.timestamp("us", tz="UTC")

TRIAL_COLUMNS = (
    Column("trial_id", _TEXT, "short hash of the spec"),
    Column("status", _TEXT, "how the trial ended: completed, stopped, failed"),
    Column("state", _TEXT, "what its curve shows: healthy, co, recovered, diverged, not_robust"),
    Column("co", _BOOL, "whether catastrophic overfitting was found, recovered from or not"),
    Column("co_step", _INT, "breaking point, optimisation steps"),
    Column("co_step_low", _INT, "last step known to be before the breaking point"),
    Column("co_step_high", _INT, "first probe after the breaking point, steps"),
    Column("co_epoch", _FLOAT, "breaking point, epochs"),
    Column("co_reason", _TEXT, "the numbers behind the verdict"),
    Column("data_source", _TEXT, "name of the data source"),
    Column("data_hash", _TEXT, "fingerprint of the images and labels"),
    Column("intervention", _TEXT, "kinds of the interventions, joined by +; none without"),
    Column("beta", _FLOAT, "strength of the injected feature, pixel scale [0, 1]"),
    Column("bandwidth", _INT, "kept DCT rows and columns of a pass filter"),
    Column("model", _TEXT, "name of the model"),
    Column("method", _TEXT, "name of the training method"),
    Column("epsilon", _FLOAT, "l-inf radius, pixel scale [0, 1]"),
    Column("alpha", _FLOAT, "step of the training attack, pixel scale [0, 1]"),
    Column("seed", _INT, "seed of the trial"),
    Column("epochs", _INT, "epochs of a full training"),
    Column("batch_size", _INT, "examples per step"),
    Column("lr_max", _FLOAT, "largest learning rate"),
    Column("clean_acc", _FLOAT, "last probe: accuracy without perturbation, fraction"),
    Column("fgsm_acc", _FLOAT, "last probe: accuracy under FGSM, fraction"),
    Column("pgd_acc", _FLOAT, "last probe: accuracy under PGD, fraction"),
    Column("box_low", _FLOAT, "smallest pixel that attacks were allowed"),
    Column("box_high", _FLOAT, "largest pixel that attacks were allowed"),
    Column("robust_acc", _FLOAT, "accuracy under the final evaluation, fraction"),
    Column("robust_attack", _TEXT, "the final evaluation, as attack-steps-restarts"),
    *(
        Column(f"{kind}_on_{name}", _FLOAT, f"final evaluation, {images}: accuracy {attack}, fraction")
        for kind, attack in (("clean_acc", "without perturbation"), ("robust_acc", "under attack"))
        for name, images in ABLATIONS.items()
    ),
    Column("steps", _INT, "optimisation steps done"),
    Column("train_seconds", _FLOAT, "seconds of training"),
    Column("probe_seconds", _FLOAT, "seconds of probes and replay"),
    Column("diagnostic_seconds", _FLOAT, "seconds of diagnostics and snapshots"),
    Column("eval_seconds", _FLOAT, "seconds of the final evaluation"),
    Column("wall_seconds", _FLOAT, "seconds from start to finish"),
    Column("device", _TEXT, "device the trial ran on"),
    Column("host", _TEXT, "machine the trial ran on"),
    Column("error", _TEXT, "why the trial failed or ended early; empty otherwise"),
    Column("versions", _TEXT, "versions of cosweep, python and torch"),
    Column("spec_json", _TEXT, "the whole spec; cosweep builds the same trial from it"),
    Column("started_at", _TIME, "start, UTC"),
    Column("finished_at", _TIME, "end, UTC"),
)

CURVE_COLUMNS = (
    Column("trial_id", _TEXT, "short hash of the spec"),
    Column("step", _INT, "optimisation steps done"),
    Column("epoch", _FLOAT, "epochs done"),
    Column("lr", _FLOAT, "learning rate of the last step"),
    Column("train_loss", _FLOAT, "mean loss per training example since the last probe"),
    Column("train_acc", _FLOAT, "accuracy on the perturbed training batches since the last probe, fraction"),
    Column("clean_acc", _FLOAT, "accuracy without perturbation, fraction"),
    Column("fgsm_acc", _FLOAT, "accuracy under FGSM, fraction"),
    Column("pgd_acc", _FLOAT, "accuracy under PGD, fraction"),
    Column("grad_cos", _FLOAT, "mean cosine of input gradients at x and at x + noise"),
    Column("curvature", _FLOAT, "mean largest eigenvalue of the loss's Hessian in the input"),
    Column("delta_cos", _FLOAT, "mean cosine of the perturbations by FGSM and by PGD"),
    Column("delta_high_share", _FLOAT, "share of the FGSM perturbation's energy in the upper half of the frequencies"),
    Column("delta_spectrum", _FLOATS, "share of its energy by frequency, from 0"),
    Column("abnormal_share", _FLOAT, "share of examples whose loss a step of RS-FGSM lowers"),
    Column("distorted_share", _FLOAT, "share of examples right at both ends of the FGSM ray and wrong between"),
    Column("ray_loss", _FLOATS, "mean loss at equal steps from x to x + delta"),
)

SNAPSHOT_COLUMNS = (
    Column("trial_id", _TEXT, "short hash of the spec"),
    Column("moment", _TEXT, "before or after the breaking point, or end of a training that did not break"),
    Column("step", _INT, "optimisation steps done"),
    Column("example", _INT, "number of the image among the held-out ones"),
    Column("label", _INT, "its class"),
    Column("shape", pa.list_(_INT), "channels, height, width"),
    Column("original", _FLOATS, "pixels before intervention, in that order"),
    Column("intervened", _FLOATS, "pixels as attacked"),
    Column("delta", _FLOATS, "FGSM perturbation of the model at that step"),
)

_GIVEN = frozenset(
    {"data_source", "intervention", "beta", "bandwidth", "model", "method", "epsilon", "alpha", "seed"}
    | {"epochs", "batch_size", "lr_max"}
)
OUTCOME_COLUMNS = frozenset(column.name for column in TRIAL_COLUMNS) - _GIVEN
"""Columns of ``trials`` that a trial found out, as against those it was given."""

SWEEP_COLUMN = Column("sweep", _TEXT, "name of the sweep; the folder sweep=NAME, not in the files")


def table_from_rows(rows: list[dict[str, object]], columns: tuple[Column, ...]) -> pa.Table:
    """Table with the documented columns first, typed; columns beyond them keep the type of their values."""
    arrays = {c.name: pa.array([row.get(c.name) for row in rows], c.type) for c in columns}
    extra = dict.fromkeys(name for row in rows for name in row if name not in arrays)
    arrays |= {name: pa.array([row.get(name) for row in rows]) for name in extra}
    metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode()}
    return pa.table(arrays).replace_schema_metadata(metadata)
