"""Which trials a sweep has: those that are done, those that wait for an answer, and what is asked next."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any

from rich.console import Console
from rich.markup import escape

from cosweep.definition.sweep import Sweep
from cosweep.errors import CosweepError, SpecError
from cosweep.metrics import TrialStatus
from cosweep.results.records import spec_of
from cosweep.results.store import Store
from cosweep.search import Point
from cosweep.sweep.questions import Questions
from cosweep.tracking.tracker import uri_to_keep
from cosweep.training import TrialSpec
from cosweep.wording import counted

Row = dict[str, Any]


def finished_trials(sweep: Sweep, store: Store) -> dict[str, Row]:
    """Id and row of the sweep's trials that need not run again: all with a row but the failed.

    Rows of a sweep that adapts have two entries more: the ``spec``, and its ``point`` in the space.
    """
    return {row["trial_id"]: row for row in _own_rows(sweep, store) if row["status"] != TrialStatus.FAILED}


def _own_rows(sweep: Sweep, store: Store) -> Iterator[Row]:
    """Rows that are part of the sweep, in an order that is always the same."""
    wanted = dict.fromkeys(sweep.strategy().columns) if sweep.adapts else {}
    columns = list(dict.fromkeys(["trial_id", "status", "state", "data_hash", "co", "co_step", "total_steps", *wanted]))
    if not sweep.adapts:
        asked = {spec.trial_id for spec in sweep.trials}
        yield from (row for row in store.trials(sweep.name).select(columns).to_pylist() if row["trial_id"] in asked)
        return
    rows: list[Row] = store.trials(sweep.name).select([*columns, "spec_json", "finished_at"]).to_pylist()
    for row in sorted(rows, key=lambda row: (row["finished_at"], row["trial_id"])):
        try:
            spec = TrialSpec.from_dict(spec_of(row))
        except SpecError:  # of another version, whose trials this one could not run
            continue
        if (point := sweep.point_of(spec)) is not None:
            yield row | {"spec": spec, "point": point}


def refuse_other_data(sweep: Sweep, done: Mapping[str, Mapping[str, Any]], hashes: Mapping[str, str]) -> None:
    """Finished trials of the same spec must have seen the same images."""
    for spec in [row["spec"] for row in done.values()] if sweep.adapts else sweep.trials:
        row, now = done.get(spec.trial_id), hashes[spec.data.load_key]
        before = row["data_hash"] if row else now
        if before != now:
            raise CosweepError(
                f"trial {spec.trial_id} of sweep {sweep.name} was run on other images (fingerprint {before}; "
                f"the data source now has {now}); use another name or results.root"
            )


class Agenda:
    """What is done of a sweep, what is left, and the record of both in the store.

    Args:
        sweep: Which.
        store: Where its results are.
        uri: Of MLflow, for the record; None is no MLflow.
        console: Where to say what a user should know.

    Attributes:
        done: Rows of the trials that were done before, by id.
        questions: What the strategy asks for.
    """

    def __init__(self, sweep: Sweep, store: Store, uri: str | None, console: Console) -> None:
        self.sweep, self.store, self._uri, self._console = sweep, store, uri, console
        rows = list(_own_rows(sweep, store))
        self.done = {row["trial_id"]: row for row in rows if row["status"] != TrialStatus.FAILED}
        points: dict[str, Point] = {}
        waiting: list[Point] = []
        if sweep.adapts:
            points = {trial_id: row["point"] for trial_id, row in self.done.items()}
            record = store.definition(sweep.name) or {}
            waiting = [row["point"] for row in rows if row["trial_id"] not in self.done]
            waiting += self._in_space(record.get("waiting", []), [*points.values(), *waiting])
        self.questions = Questions(
            sweep.strategy(), sweep.spec_at, self.done, points, waiting, self._note, self._row, self._keep_now
        )

    def _row(self, trial_id: str) -> Row | None:
        """The row of a trial; None if it failed, or none can be read."""
        row = self.done.get(trial_id) or self.store.own_row(self.sweep.name, trial_id)
        return None if row is None or row["status"] == TrialStatus.FAILED else row

    def _in_space(self, points: Sequence[Any], known: Sequence[Point]) -> list[Point]:
        """Points of an earlier record that the space has, without known ones."""
        found = []
        for point in points:
            try:
                spec = self.sweep.spec_at(point)
            except (SpecError, KeyError, AttributeError, TypeError):  # the definition has changed since
                continue
            if self.sweep.point_of(spec) == point and point not in known:
                found.append(point)
        return found

    @property
    def left(self) -> int:
        """How many trials are left to run; at most, if the search adapts."""
        if not self.sweep.adapts:
            return len(self.sweep.trials) - len(self.done)
        return 0 if self.questions.are_done else max(1, self.sweep.most_trials - len(self.done))

    @property
    def reason(self) -> str:
        """Why a search that adapts asks no more; empty before that, and of others."""
        return self.questions.strategy.reason if self.sweep.adapts and self.questions.are_done else ""

    @property
    def all_done(self) -> str:
        """That nothing is left, in words."""
        if self.sweep.adapts:
            return f"the search has ended: {self.reason}"
        return f"all {counted(len(self.sweep.trials), 'trial is', 'trials are')} done already"

    @property
    def to_carry_on(self) -> Set[str]:
        """Trials that are known to be left, and may have begun."""
        if self.sweep.adapts:
            return {self.sweep.spec_at(point).trial_id for point in self.questions.waiting}
        return {spec.trial_id for spec in self.sweep.trials} - self.done.keys()

    def missing(self, found: int) -> int:
        """How many trials have no row after a run in which so many have one; at most, if the search adapts."""
        if self.sweep.adapts:
            return 0 if self.reason and not self.questions.waiting else max(1, self.sweep.most_trials - found)
        return len(self.sweep.trials) - found

    def record(self) -> dict[str, Any]:
        """What was asked, as plain data for the store."""
        record = self.sweep.record()
        if self.sweep.adapts:
            ended = self.questions.ended
            record |= {
                "trial_ids": ended,
                "waiting": self.questions.waiting,
                "most_trials": len(ended) if self.reason else self.sweep.most_trials,
                "progress": self.reason or self.questions.strategy.progress,
            }
        return record

    def keep(self, finished: Collection[str] | None = None) -> None:
        """Keep the record, and which trials have finished, so that it is told if their rows vanish."""
        more = {
            "mlflow_uri": uri_to_keep(self.store, self._uri),
            "finished": sorted(self.done if finished is None else finished),
        }
        self.store.write_sweep(self.sweep.name, self.record() | more)

    def keep_files(self) -> dict[str, str]:
        """Keep what the strategy leaves for other tools; where, by name."""
        folder = f"searches/{self.sweep.name}"
        files = self.questions.strategy.files() if self.sweep.adapts else {}
        for name, content in files.items():
            self.store.write_bytes(f"{folder}/{name}", content)
        return {name: f"{self.sweep.results.root}/{folder}/{name}" for name in files}

    def _keep_now(self) -> None:
        """Keep the record of a search that adapts as it goes on."""
        if self.sweep.adapts:
            try:
                self.keep()
            except (OSError, CosweepError) as error:
                self._note(f"which trials run cannot be kept now ({error}); it is tried again at the next trial")

    def _note(self, text: str) -> None:
        self._console.print(f"[yellow]note:[/] {escape(text)}", soft_wrap=True)
