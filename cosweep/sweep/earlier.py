"""Finished trials that were trained as a definition's are, and do not count since they were measured otherwise."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cosweep.definition.sweep import Sweep
from cosweep.metrics import TrialStatus
from cosweep.results.records import spec_of
from cosweep.results.store import Store
from cosweep.specs import canonical_json

_MEASURING = ("probe", "final", "stop")


def why_not_counted(sweep: Sweep, store: Store) -> list[str]:
    """Sentences on finished trials of the sweep's name that differ from trials yet to run in their measuring alone."""
    if sweep.adapts:  # what it will ask for is not known
        return []
    asked = {spec.trial_id for spec in sweep.trials}
    table = store.trials(sweep.name).select(["trial_id", "status", "spec_json"])
    rows = [row for row in table.to_pylist() if row["status"] != TrialStatus.FAILED]
    others = [row for row in rows if row["trial_id"] not in asked]
    if not others:
        return []
    done = asked.intersection(row["trial_id"] for row in rows)
    plain = (json.loads(canonical_json(spec.to_dict())) for spec in sweep.trials if spec.trial_id not in done)
    left = {_trained(spec): spec for spec in plain}
    differing: Counter[str] = Counter()
    for row in others:
        if (spec := spec_of(row)) and (twin := left.get(_trained(spec))) is not None:
            differing[", ".join(_differences(spec, twin))] += 1
    return [
        f"{count} finished trial{'s differ' if count > 1 else ' differs'} from this definition only in {places}; no "
        f"weights are kept, so {'they train' if count > 1 else 'it trains'} again"
        for places, count in differing.items()
    ]


def _trained(spec: Mapping[str, Any]) -> str:
    """What two specs share that train the same way."""
    return json.dumps({name: value for name, value in spec.items() if name not in _MEASURING}, sort_keys=True)


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    ours, others = dict(_leaves(one)), dict(_leaves(other))
    return sorted(path for path in ours.keys() | others.keys() if ours.get(path) != others.get(path))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, value
