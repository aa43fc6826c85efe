"""JSON files of a store as they must be, since whoever handed the folder over may have written anything into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_KINDS: dict[str, type | tuple[type, ...]] = {
    "trial_ids": list,
    "axes": list,
    "space": dict,
    "search": dict,
    "tracking": dict,
    "source": str,
    "overrides": list,
    "finished": list,
    "command": str,
    "mlflow_uri": (str, type(None)),
}


def checked_record(raw: Any, name: str) -> dict[str, Any]:
    """The record of a sweep of this name.

    Raises:
        ValueError: If it is none; says which part is wrong.
    """
    if not isinstance(raw, dict) or "trial_ids" not in raw:
        raise ValueError("no record with trial_ids")
    record = {"axes": [], "space": {}, "tracking": {}, **raw, "name": name}
    wrong = [key for key, kind in _KINDS.items() if key in record and not isinstance(record[key], kind)]
    texts = ("trial_ids", "axes", "overrides", "finished")
    wrong += [key for key in texts if key in record and key not in wrong and not _are(str, record[key])]
    if "space" not in wrong and not all(_is_axis(axis) for axis in record["space"].values()):
        wrong.append("space")
    if not isinstance(record["tracking"], dict) or not isinstance(record["tracking"].get("uri"), (str, type(None))):
        wrong.append("tracking")
    if wrong:
        raise ValueError(f"{wrong[0]} holds something else than a record has there")
    return record


def checked_pulse(raw: Any) -> dict[str, Any]:
    """What a driver said of itself.

    Raises:
        ValueError: If no driver says that.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("at"), str):
        raise ValueError("no pulse")
    running = raw.get("running", {})
    if datetime.fromisoformat(raw["at"]).tzinfo is None or not isinstance(running, dict):
        raise ValueError("no pulse")
    if not _are((int, float), list(running.values())):
        raise ValueError("no pulse")
    return raw


def spec_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a row of ``trials`` as plain data; empty if it holds none, which no row of a trial does."""
    try:
        spec = json.loads(trial["spec_json"] or "{}")
    except (ValueError, RecursionError):
        return {}
    interventions = spec.get("interventions", []) if isinstance(spec, dict) else None
    sound = isinstance(interventions, list) and all(isinstance(i, dict) and "kind" in i for i in interventions)
    return spec if sound else {}


def _are(kind: type | tuple[type, ...], items: list[Any]) -> bool:
    return all(isinstance(item, kind) for item in items)


def _is_axis(axis: Any) -> bool:
    return isinstance(axis, dict) and _are(list, list(axis.values()))
