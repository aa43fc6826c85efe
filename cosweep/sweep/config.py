"""Trials as Tune is given them: each with its id, and its spec as one text, which Tune need not look into."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.search import BasicVariantGenerator

from cosweep.specs import canonical_json
from cosweep.training import TrialSpec

ENDED = "ended"
"""Key beside a trial's id and spec: the status that it has been given, so that no worker is to begin it again."""


def listed(specs: Iterable[TrialSpec], most_at_once: int | None = None) -> BasicVariantGenerator:
    """Search that asks for these trials, in their order.

    They are listed points and no grid, which Tune copies whole for each of its points.
    """
    return BasicVariantGenerator([config_of(spec) for spec in specs], max_concurrent=most_at_once or 0)


def config_of(spec: TrialSpec) -> dict[str, Any]:
    """What a worker is given of a trial."""
    return {"trial": {"id": spec.trial_id, "spec": canonical_json(spec.to_dict())}}


def empty_config() -> dict[str, Any]:
    """The places of :func:`config_of`, for Tune to fill."""
    return {"trial": {"id": "", "spec": ""}}


def spec_of(config: Mapping[str, Any]) -> TrialSpec:
    """The spec of :func:`config_of`."""
    return TrialSpec.from_dict(json.loads(config["trial"]["spec"]))
