"""JSON files of a store as they must be, since whoever handed the folder over may have written anything into them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

MOST_BYTES = 64 << 20
"""Of a JSON file; the record of 20,000 trials takes one or two million."""
_DEEPEST = 200

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
    "waiting": list,
    "most_trials": int,
    "progress": str,
    "mlflow_uri": (str, type(None)),
}


def parse_json(content: bytes) -> Any:
    """Plain data of a JSON text that Python, Parquet and other JSON readers can hold.

    Raises:
        ValueError: If it is none: no JSON, too deep, with numbers that JSON has not or half a character.
    """
    try:
        found = json.loads(content.decode(), parse_float=_finite, parse_constant=_finite, parse_int=_whole)
        json.dumps(found, ensure_ascii=False).encode()  # half a character cannot be
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level, depth = [found], 0
    while level := [item for outer in level for item in _items(outer)]:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number")
    return number


def _whole(text: str) -> int:
    if len(text) > 19:  # tables have 64 bits, and a float has an end
        raise ValueError(f"{text[:20]}... is too large")
    return int(text)


def _items(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def schema_version(content: bytes) -> int:
    """The version that the file at a store's root states.

    Raises:
        ValueError: If it states none.
    """
    found = parse_json(content)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError("it states no schema_version")
    return version


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
    if not all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in running.values()):
        raise ValueError("no pulse")
    return raw


def spec_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a row of ``trials`` as plain data; empty if it holds none, which no row of a trial does."""
    try:
        spec = parse_json((trial["spec_json"] or "{}").encode())
    except ValueError:
        return {}
    interventions = spec.get("interventions", []) if isinstance(spec, dict) else None
    return spec if isinstance(interventions, list) and all(map(_is_intervention, interventions)) else {}


def _is_intervention(value: Any) -> bool:
    amounts = [value.get(name, 0) for name in ("beta", "share", "bandwidth")] if isinstance(value, dict) else []
    return bool(amounts) and isinstance(value.get("kind"), str) and _are((int, float), amounts)


def _are(kind: type | tuple[type, ...], items: list[Any]) -> bool:
    return all(isinstance(item, kind) for item in items)


def _is_axis(axis: Any) -> bool:
    return isinstance(axis, dict) and _are(list, list(axis.values()))
