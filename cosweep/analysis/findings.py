"""What a sweep found, as data: its trials, its phase diagrams, its effects and its tables."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosweep.analysis.breaking_points import PhaseDiagram, phase_diagrams, phase_rows
from cosweep.analysis.columns import SweptColumn, default_axes, swept_columns
from cosweep.analysis.effects import Effect, effect_rows, effects, outer_columns
from cosweep.analysis.proportions import wilson
from cosweep.analysis.survival import onset_groups, survival, survival_rows
from cosweep.analysis.values import is_conclusive
from cosweep.metrics import TrialStatus
from cosweep.results.coverage import Coverage, covered
from cosweep.results.schema import OUTCOME_COLUMNS
from cosweep.results.store import BadFile, Store
from cosweep.wording import counted

_GIVEN = ("trial_id", "epsilon", "beta", "intervention", "method", "seed")
_FOUND = ("state", "co", "co_step", "co_step_low", "co_step_high", "co_epoch", "co_reason")
_MOST_PAIRS = 20
MANY_WITHOUT_GRADIENT = 0.1
"""Share of the final evaluation's images from which the report says that their gradients vanish."""
_MOST_DOUBTS = 5
_ASIDE = "earlier-"
_OURS = (".html", ".png", ".svg", ".csv", ".parquet")
_QUESTION = re.compile(r"^#\s*Question:\s*(.*?)(?:\s{2,}Answer:.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Findings:
    """A sweep's outcome.

    Attributes:
        sweep: Its name.
        trials: Its rows of ``trials``.
        curves: Their rows of ``curves``.
        snapshots: Their rows of ``snapshots``.
        record: Its definition, as kept by ``Store.write_sweep``.
        bad_files: Files of the store that could not be read, and curves that are not as they were written.
        coverage: What of the definition is missing, and what is there besides; None is not known.
        aside: Folders of reports of earlier definitions, beside this one; the first is where to keep the one that
            lies in this one's place, if ``replaces`` says that it has trials that this one leaves out.
        replaces: How many those are.
    """

    sweep: str
    trials: pa.Table
    curves: pa.Table
    snapshots: pa.Table
    record: Mapping[str, Any]
    bad_files: tuple[BadFile, ...] = ()
    coverage: Coverage | None = None
    aside: tuple[str, ...] = ()
    replaces: int = 0

    @property
    def asked(self) -> int:
        """How many trials the definition has."""
        return len(self.record["trial_ids"])

    @property
    def partial(self) -> str:
        """``17 of 24 trials so far``; empty when all have a row."""
        done = self.trials.num_rows
        return "" if done >= self.asked else f"{done} of {counted(self.asked, 'trial')} so far"

    @property
    def unreadable(self) -> list[BadFile]:
        """Files that could not be read."""
        return [bad for bad in self.bad_files if bad.left_out]

    @property
    def missing_notes(self) -> list[str]:
        """Which trials of the definition are not there."""
        return [] if self.coverage is None else self.coverage.missing_notes()

    @property
    def earlier_notes(self) -> list[str]:
        """What there is of earlier definitions, which the report leaves out."""
        notes = [] if self.coverage is None else self.coverage.earlier_notes()
        if self.aside:
            folders = ", ".join(f"reports/{self.sweep}/{name}" for name in self.aside)
            notes.append(f"reports of earlier definitions, with trials that this one leaves out, are kept in {folders}")
        return notes

    @property
    def doubts(self) -> list[str]:
        """Which curves are not as they were written."""
        doubtful = [bad for bad in self.bad_files if not bad.left_out]
        more = [f"{len(doubtful) - _MOST_DOUBTS} more curves are in doubt"] if len(doubtful) > _MOST_DOUBTS else []
        return [*(f"{bad.path}: {bad.problem}" for bad in doubtful[:_MOST_DOUBTS]), *more]

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The trials as dictionaries."""
        rows: list[dict[str, Any]] = self.trials.to_pylist()
        return rows

    @cached_property
    def failed(self) -> list[dict[str, Any]]:
        """Trials that crashed."""
        return [row for row in self.rows if row["status"] == TrialStatus.FAILED]

    @cached_property
    def flat(self) -> list[dict[str, Any]]:
        """Trials in which many images of the final evaluation have no gradient for an attack to follow."""
        return [row for row in self.rows if (row["robust_zero_grad_share"] or 0) >= MANY_WITHOUT_GRADIENT]

    @cached_property
    def space(self) -> tuple[SweptColumn, ...]:
        """What the space varies."""
        return swept_columns(self.rows, self.record["axes"]) if len(self.failed) < len(self.rows) else ()

    @cached_property
    def diagrams(self) -> list[PhaseDiagram]:
        """P(CO) over the two axes that say most, one for each place of the others."""
        return self.diagrams_over(*default_axes(self.space)) if self.space else []

    @property
    def believed(self) -> bool:
        """Whether the sweep is a boundary search, which has a belief of its own where training breaks."""
        return bool(self.record.get("search", {}).get("kind") == "boundary")

    def diagrams_over(self, row_axis: str, column_axis: str) -> list[PhaseDiagram]:
        """P(CO) over two axes of the space, or one if ``row_axis`` is empty."""
        return phase_diagrams(self.rows, self.space, row_axis, column_axis, believed=self.believed)

    def axis_pairs(self) -> Iterator[tuple[str, str]]:
        """Axes to draw up and across: the default, any two numeric ones, each alone, numeric by categorical."""
        numeric = [axis.name for axis in self.space if axis.numeric]
        others = [axis.name for axis in self.space if not axis.numeric]
        together = [
            pair for pair in itertools.combinations(numeric, 2) if any(None not in map(r.get, pair) for r in self.rows)
        ]
        pairs = [default_axes(self.space), *together]
        pairs += [(up, across) for up in others for across in numeric]
        pairs += [("", axis.name) for axis in self.space]
        yield from list(dict.fromkeys(pairs))[:_MOST_PAIRS]

    @cached_property
    def effects(self) -> list[Effect]:
        """What each intervention changes, over all pairs and by the first axis that is no intervention's."""
        outside = outer_columns(self.rows, [axis.name for axis in self.space])
        return effects(self.rows, by=outside[0] if outside else None)

    def summary(self) -> dict[str, float]:
        """Counts and medians over the trials, for MLflow's parent run."""
        said = [row for row in self.rows if is_conclusive(row)]
        steps = [row["co_step"] for row in said if row["co"]]
        numbers: dict[str, float] = {"trials": len(self.rows), "failed": len(self.failed), "co": len(steps)}
        if said:
            low, high = wilson(len(steps), len(said))
            numbers |= {"p_co": len(steps) / len(said), "p_co_low": low, "p_co_high": high}
        if steps:
            numbers["median_co_step"] = median(steps)
        return numbers

    def tables(self) -> dict[str, pa.Table]:
        """Name to table, without those that have no row."""
        points = self.trials.select(dict.fromkeys([*_GIVEN, *(axis.name for axis in self.space), *_FOUND]))
        by_axis: list[str | None] = [axis.name for axis in self.space]
        groups = [pair for axis in by_axis or [None] for pair in onset_groups(self.rows, axis).items()]
        tables = {
            "trials": self.trials,
            "breaking_points": points,
            "phase": _table(row for diagram in self.diagrams for row in phase_rows(diagram)),
            "breaking_line": _table(row for diagram in self.diagrams for row in diagram.crossing_rows()),
            "effects": _table(effect_rows(self.effects)),
            "onset": _table(survival_rows(survival(label, *group) for label, group in groups)),
        }
        return {name: table for name, table in tables.items() if table.num_columns}


def _table(rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> pa.Table:
    """Table of rows that need not all have every column; without columns if there is no row."""
    found = list(rows)
    names = list(dict.fromkeys(name for row in found for name in row))
    return pa.table({name: [row.get(name) for row in found] for name in names})


def make_findings(store: Store, sweep: str, record: dict[str, Any] | None = None) -> Findings:
    """Findings of the trials that a sweep's definition asks for and that have finished so far.

    Args:
        store: Where they are.
        sweep: Its name.
        record: The definition, as kept by ``Store.write_sweep``; None takes the latest of this name.

    Raises:
        CosweepError: If there is no such sweep.
    """
    record = record or store.sweep_record(sweep)
    trials, coverage = covered(store, sweep, record)
    trials = trials.sort_by([("epsilon", "ascending"), ("beta", "ascending"), ("seed", "ascending")])
    record = {**record, "axes": [name for name in record["axes"] if _can_vary(trials.schema, name)]}
    curves, snapshots = (_of(table, trials["trial_id"]) for table in (store.curves(sweep), store.snapshots(sweep)))
    aside, replaces = _earlier_reports(store, sweep, set(trials["trial_id"].to_pylist()))
    return Findings(sweep, trials, curves, snapshots, record, tuple(store.bad_files), coverage, aside, replaces)


def _earlier_reports(store: Store, sweep: str, trial_ids: Set[str]) -> tuple[tuple[str, ...], int]:
    """Folders of reports that have trials which one over ``trial_ids`` lacks; see :class:`Report`."""
    folder = f"reports/{sweep}"
    own = _name_aside(trial_ids)
    kept = [name for name in store.files.folders(folder) if name.startswith(_ASIDE) and name != own]
    if "trials.parquet" not in store.files.names(folder):
        return tuple(kept), 0
    try:
        content = store.files.read(f"{folder}/trials.parquet")
        lies_there = set(pq.read_table(pa.BufferReader(content), columns=["trial_id"])["trial_id"].to_pylist())
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):  # no report of ours, or a damaged one
        return tuple(kept), 0
    if lies_there <= trial_ids:
        return tuple(kept), 0
    name = _name_aside(lies_there)
    return (name, *(other for other in kept if other != name)), len(lies_there - trial_ids)


def _name_aside(trial_ids: Set[str]) -> str:
    """Folder of a report over these trials, once another has taken its place: the same ones always have the same."""
    return _ASIDE + hashlib.sha256(" ".join(sorted(map(str, trial_ids))).encode()).hexdigest()[:8]


def _can_vary(schema: pa.Schema, name: str) -> bool:
    """Whether a column can be an axis: one that trials were given, of numbers or texts."""
    if name in OUTCOME_COLUMNS or name not in schema.names:
        return False
    return not pa.types.is_nested(schema.field(name).type) and not pa.types.is_binary(schema.field(name).type)


def _of(table: pa.Table, trial_ids: pa.ChunkedArray) -> pa.Table:
    return table.filter(pc.is_in(table["trial_id"], trial_ids))


def asked_question(record: Mapping[str, Any]) -> str:
    """What the first lines of a sweep's definition ask; empty if they do not."""
    found = _QUESTION.search(record.get("source", ""))
    return found[1][:1].upper() + found[1][1:] if found else ""


def definition_text(record: Mapping[str, Any]) -> str:
    """A definition as it was run: the text of its file, below what ``--set`` changed; empty if it came from none."""
    source: str = record.get("source", "")
    changes = [f"# --set {' '.join(change.split())}" for change in record.get("overrides", ())]
    return "\n".join([*changes, source]) if source else ""
