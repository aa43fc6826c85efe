"""What a sweep's definition and its results do not share: trials without a row, and rows of earlier definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosweep.errors import CosweepError
from cosweep.results.store import Store

_SILENT_SECONDS = 60.0
_MOST_IDS = 10


@dataclass(frozen=True)
class Coverage:
    """The trials that a sweep's definition asks for, beside those that are there under its name.

    Attributes:
        sweep: Its name.
        asked: How many trials the definition has.
        missing: Ids of those without a file.
        lost: Ids of those of them that left results before: a driver saw them finished, or their probes are there.
        earlier: How many results there are that the definition does not have.
        driven: Whether a driver works on the sweep, so that what is missing may just not have run.
    """

    sweep: str
    asked: int
    missing: Sequence[str]
    lost: Set[str]
    earlier: int = 0
    driven: bool = False

    @classmethod
    def of(cls, store: Store, sweep: str, record: Mapping[str, Any], found: Set[str]) -> Coverage:
        """Coverage of a sweep by its record, and by the ids of the rows that are known under its name."""
        asked: list[str] = record["trial_ids"]
        trials = store.partition("trials", sweep)
        own = trials.fragments()  # those that cannot be read are in store.bad_files
        missing = [trial_id for trial_id in asked if trial_id not in own and trial_id not in found]
        if missing:
            compacted = set(trials.read(set(missing))["trial_id"].to_pylist())
            missing = [trial_id for trial_id in missing if trial_id not in compacted]
        driven = is_driven(store.pulse(sweep))
        seen = set(record.get("finished", ()))
        if missing and not driven:  # else they may be about to be written
            seen |= store.partition("curves", sweep).fragments().keys()
        return cls(sweep, len(asked), missing, seen.intersection(missing), len(found - set(asked)), driven)

    def lost_notes(self) -> list[str]:
        """Which trials have no row any more."""
        if not self.lost:
            return []
        lost = [trial_id for trial_id in self.missing if trial_id in self.lost]
        return [f"{self._of(lost)} left results before and have no row now; cosweep run runs them again"]

    def missing_notes(self) -> list[str]:
        """Which trials have no row: those that once had one, and unless a driver is at it, the others."""
        left = [trial_id for trial_id in self.missing if trial_id not in self.lost]
        return [*self.lost_notes(), *([f"{self._of(left)} without a result yet"] if left and not self.driven else [])]

    def earlier_notes(self) -> list[str]:
        """How many results are left out, and how to see them."""
        if not self.earlier:
            return []
        are = "result of this name is" if self.earlier == 1 else "results of this name are"
        sql = f"SELECT * FROM all_trials WHERE sweep = '{self.sweep}' AND NOT in_definition"
        return [f"{self.earlier} earlier {are} not part of this definition and left out; to see them: {sql}"]

    def _of(self, trial_ids: Sequence[str]) -> str:
        more = f" and {len(trial_ids) - _MOST_IDS} more" if len(trial_ids) > _MOST_IDS else ""
        listed = ", ".join(trial_ids[:_MOST_IDS]) + more
        return f"{len(trial_ids)} of {self.asked} trials of {self.sweep} ({listed})"


def covered(store: Store, sweep: str, record: Mapping[str, Any]) -> tuple[pa.Table, Coverage]:
    """Rows of the trials in a sweep's record, without those of earlier definitions; and what that leaves out."""
    trials = store.trials(sweep)
    coverage = Coverage.of(store, sweep, record, set(trials["trial_id"].to_pylist()))
    return trials.filter(pc.is_in(trials["trial_id"], pa.array(record["trial_ids"], pa.string()))), coverage


def lost_trials(store: Store) -> list[str]:
    """Notes on the trials that left results before and have no row now, of all sweeps of a store."""
    notes = []
    for sweep in store.sweeps():
        record = store.definition(sweep)
        if record is not None:
            try:
                notes += Coverage.of(store, sweep, record, store.trial_ids(sweep)).lost_notes()
            except CosweepError as error:  # of a folder that is none; other sweeps can be read
                notes.append(str(error))
    return notes


def is_driven(pulse: Mapping[str, Any]) -> bool:
    """Whether a driver said of late that it works on the sweep.

    Args:
        pulse: What it last said, from ``Store.pulse``.
    """
    if not pulse or pulse.get("ended"):
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(pulse["at"])).total_seconds() < _SILENT_SECONDS
