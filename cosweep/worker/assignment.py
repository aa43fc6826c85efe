"""What a worker is given of a trial: its id, and its spec as one text, into which Tune need not look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cosweep.specs import canonical_json
from cosweep.training import TrialSpec

_KEY = "trial"


@dataclass(frozen=True)
class Assignment:
    """A trial that a worker is to run.

    Attributes:
        trial_id: Its id.
        spec_json: Its spec as canonical JSON.
    """

    trial_id: str
    spec_json: str

    @classmethod
    def of(cls, spec: TrialSpec) -> Assignment:
        """The assignment to run a spec."""
        return cls(spec.trial_id, canonical_json(spec.to_dict()))

    @property
    def spec(self) -> TrialSpec:
        """The spec to run."""
        return TrialSpec.from_dict(json.loads(self.spec_json))

    def to_config(self) -> dict[str, Any]:
        """What Tune calls a trial's configuration."""
        return {_KEY: {"id": self.trial_id, "spec": self.spec_json}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Assignment:
        """The assignment of :meth:`to_config`."""
        return cls(config[_KEY]["id"], config[_KEY]["spec"])
