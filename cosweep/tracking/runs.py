"""The MLflow runs of one sweep: a parent, and a child for each trial."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from cosweep.analysis.findings import definition_text
from cosweep.errors import CosweepError
from cosweep.redaction import redacted
from cosweep.results.store import Store
from cosweep.tracking.entries import IN_DEFINITION_TAG, NOTE_TAG, TRIAL_TAG, Entry, milliseconds, trial_entry
from cosweep.tracking.pages import Summary, experiment_note, saved_views, sweep_note

_PARENT = "mlflow.parentRunId"
_SWEEP_TAG, _PROGRESS_TAG = "cosweep.sweep", "cosweep.progress"
_STAMP_TAG, _VIEWS_TAG = "cosweep.logged", "cosweep.views"
_ENDED = ("FINISHED", "FAILED")
_ITEMS_A_BATCH, _PARAMS_A_BATCH = 1000, 100
_PROGRESS_SECONDS = 5.0
_PROXIED = "mlflow-artifacts:/"


def mlflow_client(uri: str) -> Any:
    """MLflow's client, quiet, offline but for the given address, and soon tired of a server that does not answer."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets its own levels
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient(tracking_uri=uri)


def cause_in_words(error: Exception) -> str:
    """The first line of an error of MLflow's that says what happened; SQLAlchemy begins some with one that does not."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("(raised as a result of")]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason known'}"


def artifacts_folder(uri: str) -> Path | None:
    """Where artifacts lie, beside the database, if MLflow is SQLite."""
    from sqlalchemy.engine import make_url

    if not uri.startswith("sqlite:"):
        return None
    return Path(str(make_url(uri).database)).absolute().parent / "mlartifacts"


def from_anywhere(uri: str) -> str:
    """A tracking URI that leads to the same runs for a process in another folder: a path in it is made absolute."""
    from sqlalchemy.engine import make_url

    if "://" not in uri and not uri.startswith("databricks"):
        return str(Path(uri.removeprefix("file:")).absolute())
    if not uri.startswith("sqlite:"):
        return uri
    url = make_url(uri)
    return url.set(database=str(Path(str(url.database)).absolute())).render_as_string(hide_password=False)


class SweepRuns:
    """The MLflow runs of one sweep. Logging a trial twice leaves one run.

    Args:
        store: Where the trials' rows are.
        sweep: Name of the sweep; also of the experiment and the parent run.
        uri: MLflow's tracking URI.
    """

    def __init__(self, store: Store, sweep: str, uri: str) -> None:
        self._store, self._sweep = store, sweep
        self._record = store.sweep_record(sweep)
        self._asked = frozenset(self._record["trial_ids"])
        self._axes: list[str] = self._record["axes"]
        self._folder = artifacts_folder(uri)
        self._client = mlflow_client(uri)
        self._experiment = self._find_experiment()
        self._parent = self._find_parent()
        self._mistagged: list[tuple[str, str]] = []
        self._logged = self._logged_trials()
        self._progress_due = 0.0

    @property
    def experiment_id(self) -> str:
        """Of the sweep's experiment."""
        return str(self._experiment.experiment_id)

    @property
    def parent_id(self) -> str | None:
        """Of the parent run; None before the first :meth:`begin`."""
        return self._parent

    def missing(self) -> int:
        """How many finished trials of the definition MLflow lacks."""
        done = set(self._store.trials(self._sweep)["trial_id"].to_pylist())
        return sum(not self.has(trial_id) for trial_id in done.intersection(self._record["trial_ids"]))

    def has(self, trial_id: str) -> bool:
        """Whether a trial was logged whole, from this row or an earlier one, by the axes of today."""
        return self._logged.get(trial_id, ("", ""))[1].endswith(self._stamp(""))

    def begin(self, started: datetime) -> None:
        """Show the sweep as running, with its views and what it asks.

        Args:
            started: When, if it has no parent run yet.
        """
        if self._parent is None:
            tags = {_SWEEP_TAG: self._sweep}
            run = self._client.create_run(self.experiment_id, milliseconds(started), tags, run_name=self._sweep)
            self._parent = str(run.info.run_id)
        self._client.update_run(self._parent, "RUNNING")
        self._client.set_tag(self._parent, NOTE_TAG, sweep_note(self._record, self._where, ""))
        self._tag_earlier()
        self._write_views()

    def log_trial(self, trial_id: str) -> bool:
        """Log a finished trial from its row and curve; False if it is logged already."""
        row, curve = self._store.trial(self._sweep, trial_id)
        stamp = self._stamp(row["finished_at"].isoformat())
        known = self._logged.get(trial_id)
        if known is not None and known[1] == stamp:
            return False
        if known is not None:
            self._client.delete_run(known[0])
        entry = trial_entry(row, curve, self._axes, self._where)
        tags = {**entry.tags, IN_DEFINITION_TAG: self._in_definition(trial_id)}
        tags |= {_PARENT: self._begun(), _STAMP_TAG: stamp}
        run = self._client.create_run(self.experiment_id, entry.started, tags, run_name=entry.name)
        self._log_values(run.info.run_id, entry)
        self._client.set_terminated(run.info.run_id, "FAILED" if entry.failed else "FINISHED", entry.ended)
        self._logged[trial_id] = (run.info.run_id, stamp)
        self._show_progress()
        return True

    def log_summary(self, summary: Summary, files: dict[str, bytes], *, running: bool = False) -> None:
        """Put the sweep's numbers and files on the parent run, and end it unless a driver still works on it."""
        from mlflow.entities import Metric, RunTag

        note = sweep_note(self._record, self._where, summary.found)
        now = int(time.time() * 1000)  # MLflow shows the latest, and a narrower definition may have ended before
        self._client.log_batch(
            self._begun(),
            metrics=[Metric(name, value, now, 0) for name, value in summary.numbers.items()],
            tags=[RunTag(NOTE_TAG, note), RunTag(_PROGRESS_TAG, summary.progress)],
        )
        text = definition_text(self._record)
        self._write_artifacts(files | ({"definition.yaml": text.encode()} if text else {}))
        if not running:
            self._client.set_terminated(self._begun(), summary.status, summary.ended)

    def _tag_earlier(self) -> None:
        """Tell the trials of earlier definitions from those of today's."""
        while self._mistagged:
            run_id, trial_id = self._mistagged.pop()
            self._client.set_tag(run_id, IN_DEFINITION_TAG, self._in_definition(trial_id))

    def _in_definition(self, trial_id: str) -> str:
        return "true" if trial_id in self._asked else "false"

    def _log_values(self, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Metric, Param

        params = [Param(name, text) for name, text in entry.params.items()]
        metrics = [Metric(point.key, point.value, entry.ended, point.step) for point in entry.points]
        while params or metrics:
            some, params = params[:_PARAMS_A_BATCH], params[_PARAMS_A_BATCH:]
            room = _ITEMS_A_BATCH - len(some)
            self._client.log_batch(run_id, metrics=metrics[:room], params=some)
            metrics = metrics[room:]

    def _show_progress(self) -> None:
        if time.monotonic() >= self._progress_due:
            self._progress_due = time.monotonic() + _PROGRESS_SECONDS
            done = sum(self.has(trial_id) for trial_id in self._record["trial_ids"])
            self._client.set_tag(self._begun(), _PROGRESS_TAG, f"{done} of {len(self._record['trial_ids'])}")

    def _write_artifacts(self, files: dict[str, bytes]) -> None:
        location = str(self._client.get_run(self._begun()).info.artifact_uri)
        if self._folder is not None and (location.startswith(_PROXIED) or self._is_own_database()):
            target = self._folder / location.removeprefix(_PROXIED).lstrip("/")
            if not location.startswith(_PROXIED) or not target.resolve().is_relative_to(self._folder.resolve()):
                raise CosweepError(f"MLflow's database wants the report in {location}, which is not in {self._folder}")
            _write_files(target, files)
            return
        with tempfile.TemporaryDirectory() as folder:
            _write_files(Path(folder), files)
            self._client.log_artifacts(self._begun(), folder)

    def _is_own_database(self) -> bool:
        """Whether it lies in the results folder, and so may have come with it from somebody else."""
        own = self._store.local_path
        return own is not None and self._folder is not None and self._folder.is_relative_to(own)

    def _find_experiment(self) -> Any:
        from mlflow.exceptions import MlflowException

        known = self._client.get_experiment_by_name(self._sweep)
        if known is None:
            # The kind makes MLflow open on the training runs; without it shows pages for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            # Not an absolute path: the folder may be moved, or mounted elsewhere on another machine.
            artifacts = f"{_PROXIED}{self._sweep}" if self._folder else None
            try:
                self._client.create_experiment(self._sweep, artifact_location=artifacts, tags=kind)
            except MlflowException:  # another process made it in between
                if self._client.get_experiment_by_name(self._sweep) is None:
                    raise
        elif known.lifecycle_stage == "deleted":
            self._client.restore_experiment(known.experiment_id)
            for run in self._search(known.experiment_id, ""):  # all that ever were, replaced ones too
                self._client.delete_run(run.info.run_id)
        return self._client.get_experiment_by_name(self._sweep)

    def _find_parent(self) -> str | None:
        query = f"tags.`{_SWEEP_TAG}` = '{self._sweep}'"
        found = self._client.search_runs([self.experiment_id], query, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _logged_trials(self) -> dict[str, tuple[str, str]]:
        """Trial id to run id and stamp; the stamp is empty if the run is unfinished, or another parent's."""
        found: dict[str, tuple[str, str]] = {}
        for run in self._search(self.experiment_id, f"tags.{TRIAL_TAG} != ''"):
            tags = run.data.tags
            if tags.get(IN_DEFINITION_TAG) != self._in_definition(tags[TRIAL_TAG]):
                self._mistagged.append((run.info.run_id, tags[TRIAL_TAG]))
            whole = run.info.status in _ENDED and tags.get(_PARENT) == self._parent
            found[tags[TRIAL_TAG]] = (run.info.run_id, tags.get(_STAMP_TAG, "") if whole else "")
        return found

    def _search(self, experiment_id: str, query: str) -> list[Any]:
        found: list[Any] = []
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs([experiment_id], query, max_results=1000, page_token=token or None)
            found.extend(page)
            token = page.token or None
        return found

    def _write_views(self) -> None:
        """Saved views of today's axes; those that a person changed since stay as they are."""
        tags = saved_views(self._axes, self._experiment.creation_time) | {NOTE_TAG: experiment_note(self._record)}
        fingerprint = hashlib.sha256(json.dumps(tags).encode()).hexdigest()[:12]
        if self._experiment.tags.get(_VIEWS_TAG) != fingerprint:
            for name, text in (tags | {_VIEWS_TAG: fingerprint}).items():
                self._client.set_experiment_tag(self.experiment_id, name, text)

    def _begun(self) -> str:
        if self._parent is None:
            raise ValueError("no parent run yet; call begin() first")
        return self._parent

    def _stamp(self, finished: str) -> str:
        """Tells the row that a child was made from, and the axes that named it."""
        return f"{finished}; {', '.join(self._axes)}"

    @property
    def _where(self) -> str:
        return redacted(str(self._store.local_path or self._store.location))


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
