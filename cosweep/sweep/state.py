"""How far sweeps are, from their rows and from what a running driver last said."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cosweep.metrics import TrialStatus
from cosweep.results.coverage import Coverage, covered
from cosweep.results.store import Store
from cosweep.sweep.progress import format_seconds

PULSE_SECONDS = 5.0
"""How often a driver says what is running."""
_SILENT_SECONDS = 60.0
_RATE_SECONDS = 3600.0


@dataclass(frozen=True)
class SweepState:
    """How far one sweep is.

    Attributes:
        name: Of the sweep.
        asked: Trials that its definition has.
        rows: Those that ended, as rows of ``trials``.
        pulse: What the driver last said: ``at``, and ``running``, trial to fraction done; empty if it never did.
        coverage: What of the definition is missing, and what is there besides; None is not known.
        progress: What a search that adapts has found out; empty of others.
    """

    name: str
    asked: int
    rows: list[dict[str, Any]]
    pulse: dict[str, Any]
    coverage: Coverage | None = None
    progress: str = ""

    @classmethod
    def of(cls, store: Store, name: str) -> SweepState:
        """State of a sweep now.

        Raises:
            CosweepError: If there is no such sweep.
        """
        record = store.sweep_record(name)
        trials, coverage = covered(store, name, record)
        asked = record.get("most_trials", len(record["trial_ids"]))
        progress = record.get("progress", "")
        return cls(name, asked, trials.to_pylist(), store.pulse(name), coverage, progress)

    @property
    def good(self) -> list[dict[str, Any]]:
        """Trials that need not run again."""
        return [row for row in self.rows if row["status"] != TrialStatus.FAILED]

    @property
    def notes(self) -> list[str]:
        """Which trials are missing, and what the counts leave out."""
        progress = [f"{self.name}: {self.progress}"] if self.progress else []
        if self.coverage is None:
            return progress
        return [
            *progress,
            *self.coverage.missing_notes(),
            *(f"{self.name}: {note}" for note in self.coverage.earlier_notes()),
        ]

    @property
    def left(self) -> int:
        """Trials that have no result yet, failed ones included."""
        return self.asked - len(self.good)

    def running(self, now: datetime) -> str:
        """What runs: ``2 (40 %, 85 %)``; when the driver last spoke if it fell silent; ``-`` if nothing does."""
        shares = self.pulse.get("running", {}).values()
        if not self.pulse or not self.left or self.pulse.get("ended"):
            return "-"
        silent = (now - datetime.fromisoformat(self.pulse["at"])).total_seconds()
        if silent > _SILENT_SECONDS:
            return f"silent for {format_seconds(silent)}"
        told = ", ".join(f"{share:.0%}" for share in list(shares)[:4])
        return f"{len(shares)} ({told}{', ...' if len(shares) > 4 else ''})" if shares else "starting"

    def rate(self) -> float | None:
        """Trials an hour, over those that ended in the last hour before the last one did."""
        if len(self.rows) < 2:
            return None
        last = max(row["finished_at"] for row in self.rows)
        recent = [row for row in self.rows if (last - row["finished_at"]).total_seconds() <= _RATE_SECONDS]
        seconds = (last - min(row["started_at"] for row in recent)).total_seconds()
        return len(recent) * 3600 / seconds if seconds > 0 else None

    def cells(self, now: datetime) -> list[str]:
        """The row of the status table."""
        rate = self.rate()
        running = self.running(now)
        unknown = not rate or running.startswith("silent")
        time_left = "0s" if self.left <= 0 else "-" if unknown or not rate else format_seconds(self.left * 3600 / rate)
        return [
            self.name,
            f"{len(self.good)} of {self.asked}",
            running,
            time_left,
            str(sum(bool(row["co"]) for row in self.good)),
            _counts(self.good, "state"),
            _counts(self.rows, "status"),
            "-" if rate is None else f"{rate:.0f}",
            max((str(row["finished_at"])[:19] for row in self.rows), default="-"),
        ]


def sweep_states(store: Store, sweep: str | None) -> list[SweepState]:
    """State of one sweep, or of all.

    Raises:
        CosweepError: If there is no such sweep.
    """
    return [SweepState.of(store, name) for name in ([sweep] if sweep else store.sweeps())]


def _counts(rows: list[dict[str, Any]], column: str) -> str:
    counts = Counter(str(row[column]) for row in rows)
    return ", ".join(f"{count} {value}" for value, count in sorted(counts.items())) or "-"
