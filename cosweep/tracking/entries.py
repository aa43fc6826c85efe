"""What MLflow shows of one trial: name, tags, params and metrics from its row and curve."""

from __future__ import annotations

import colorsys
import html
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from cosweep.analysis.values import PIXEL_COLUMNS, format_value
from cosweep.metrics import TrialState, TrialStatus
from cosweep.results.schema import CURVE_COLUMNS, IN_DEFINITION, OUTCOME_COLUMNS, SWEEP_COLUMN
from cosweep.wording import at_root, counted

TRIAL_TAG, STATE_TAG, NOTE_TAG = "trial_id", "state", "mlflow.note.content"
IN_DEFINITION_TAG = IN_DEFINITION.name
"""``true``, or ``false`` for the trials of earlier definitions of the sweep's name."""
CURVE_METRICS = tuple(c.name for c in CURVE_COLUMNS if c.type == pa.float64() and c.name != "epoch")
_OUTCOMES = ("co", "co_step", "co_epoch", "robust_acc", "steps", "wall_seconds")
_MEASURING = ("probe_", "final_", "stop_")
_MOST_POINTS = 2000
_MOST_ERROR = 3000
_MARKUP = re.compile(r"[\\`*_{}\[\]()#!|~:]")
_HUES = {
    TrialState.CO: 0.0,
    TrialState.RECOVERED: 0.1,
    TrialState.HEALTHY: 0.58,
    TrialState.DIVERGED: 0.8,
    TrialState.NOT_ROBUST: 0.15,
}


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    step: int


@dataclass(frozen=True)
class Entry:
    """A trial as MLflow keeps it.

    Attributes:
        name: Of the run.
        failed: Whether the trial crashed.
        started, ended: Milliseconds since 1970.
        tags, params: Key to text.
        points: Curves by step; outcomes at step 0, which MLflow draws as bars.
    """

    name: str
    failed: bool
    started: int
    ended: int
    tags: dict[str, str]
    params: dict[str, str]
    points: list[Point]


def trial_entry(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]], axes: Sequence[str], where: str) -> Entry:
    """What to log of a trial.

    Args:
        row: Its row of ``trials``.
        curve: Its rows of ``curves``.
        axes: Columns that the sweep varies.
        where: Location of the results.
    """
    params = dict(_params(row, axes))
    first_line, *_ = (row["error"] or "").splitlines() or [""]
    tags = {
        TRIAL_TAG: str(row["trial_id"]),
        STATE_TAG: str(row["state"] or row["status"]),
        "status": str(row["status"]),
        "mlflow.runColor": _colour(row),
        NOTE_TAG: _note(row, where),
        # A param is text to MLflow's filter: tags.epsilon = '64/255' can be typed, 0.25098 cannot be guessed.
        **{name: format_value(name, row[name]) for name in params if name in PIXEL_COLUMNS},
        **({"error": first_line} if first_line else {}),
    }
    return Entry(
        name=run_name(row, axes),
        failed=row["status"] == TrialStatus.FAILED,
        started=milliseconds(row["started_at"]),
        ended=milliseconds(row["finished_at"]),
        tags=tags,
        params={name: _text(value) for name, value in params.items()},
        points=[*_outcomes(row), *_curves(thinned(curve, row))],
    )


def run_name(row: Mapping[str, Any], axes: Sequence[str]) -> str:
    """What tells a trial from the others of its sweep: ``epsilon 64/255 beta 16/255 seed 0``; a word stands alone."""
    told = [*(axis for axis in axes if axis != "seed"), *(["seed"] if "seed" in axes else [])]
    parts = []
    for name in told or ["method", "epsilon", "seed"]:
        value = row.get(name)
        if value is not None:
            text = format_value(name, value)
            parts.append(text if isinstance(value, str) else f"{name} {text}")
    return " ".join(parts)[:250]


def thinned(curve: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Probes, evenly, so that a trial has about 2000 points, with those around the breaking point."""
    columns = sum(any(probe.get(name) is not None for probe in curve) for name in CURVE_METRICS)
    most = max(2, _MOST_POINTS // max(1, columns))
    if len(curve) <= most:
        return curve
    last = len(curve) - 1
    kept = {round(number * last / (most - 1)) for number in range(most)}
    around = (row["co_step_low"], row["co_step"], row["co_step_high"])
    kept |= {place for place, probe in enumerate(curve) if probe["step"] in around}
    return [curve[place] for place in sorted(kept)]


def milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return int(moment.timestamp() * 1000)


def _params(row: Mapping[str, Any], axes: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """What defines the training; how it was measured only if the sweep varies it."""
    for name, value in row.items():
        given = name not in OUTCOME_COLUMNS and name != SWEEP_COLUMN.name and value is not None
        if given and (name in axes or not name.startswith(_MEASURING)):
            yield name, value


def _outcomes(row: Mapping[str, Any]) -> Iterator[Point]:
    for name, value in row.items():
        if (name in _OUTCOMES or "_acc_on_" in name) and value is not None and math.isfinite(value):
            yield Point(name, float(value), 0)


def _curves(curve: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    for name in CURVE_METRICS:
        for probe in curve:
            value = probe.get(name)
            # MLflow draws infinity as 1.8e308, which hides the rest of the curve.
            if value is not None and math.isfinite(value):
                yield Point(name, float(value), probe["step"])


def literal(text: str) -> str:
    """Markdown that shows a text as it is: no links, pictures or markup of its own."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def fenced(text: str, language: str = "") -> str:
    """Markdown of a text as code, in a fence that nothing in it ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _note(row: Mapping[str, Any], where: str) -> str:
    """Markdown: what happened, and where all numbers of the trial are."""
    lines = [_story(row)]
    if row["co_reason"]:
        lines.append(literal(row["co_reason"]))
    if row["error"]:
        lines.append(fenced(row["error"][:_MOST_ERROR]))
    query = f"cosweep query \"SELECT * FROM curves WHERE trial_id = '{row['trial_id']}'\""
    lines.append(f"All its probes: `{at_root(query, where)}`")
    return "\n\n".join(lines)


def _story(row: Mapping[str, Any]) -> str:
    if row["status"] == TrialStatus.FAILED:
        return "**Failed.** The next `cosweep run` tries it again."
    steps = counted(row["steps"], "step")
    if row["co"]:
        healed = ", and recovered" if row["state"] == TrialState.RECOVERED else ""
        return f"**Broke at step {row['co_step']}** (epoch {row['co_epoch']:.1f}){healed}; trained {steps}."
    return f"**{str(row['state']).replace('_', ' ').capitalize()}** after {steps}."


def _colour(row: Mapping[str, Any]) -> str:
    """Hue by state, so that charts show at a glance which trials broke; shade by trial."""
    shade = (zlib.crc32(str(row["trial_id"]).encode()) % 7) / 7
    hue = _HUES.get(row["state"])
    red, green, blue = colorsys.hls_to_rgb(hue or 0.0, 0.32 + 0.36 * shade, 0.0 if hue is None else 0.7)
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
