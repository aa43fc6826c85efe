"""MLflow: one parent run a sweep, one child a trial, made from the Parquet rows and off the training path."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from cosweep.errors import CosweepError
from cosweep.metrics import TrialStatus
from cosweep.results.schema import CURVE_COLUMNS
from cosweep.results.store import Store

_PARENT = "mlflow.parentRunId"
_SWEEP_TAG, _TRIAL_TAG, _STAMP_TAG = "cosweep.sweep", "trial_id", "cosweep.finished_at"
_SUMMARY = ("clean_acc", "fgsm_acc", "pgd_acc", "robust_acc", "co_step", "co_epoch", "steps", "wall_seconds")
_TAGS = ("state", "status", "co", "co_step", "intervention", "method", "model", "data_source")
_CURVE = tuple(column.name for column in CURVE_COLUMNS if column.type == pa.float64() and column.name != "epoch")
_METRICS_A_BATCH, _PARAMS_A_BATCH = 1000, 100


def tracking_uri(store: Store, uri: str | None) -> str | None:
    """Where MLflow keeps the runs: the definition's URI, the environment's, or SQLite in the results folder.

    None if the results are not on this machine's file system and no URI is given.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI")
    if uri or store.local_path is None:
        return uri
    return f"sqlite:///{store.local_path / 'mlflow.db'}"


class SweepRuns:
    """The MLflow runs of one sweep. Logging a trial twice leaves one run.

    Args:
        store: Where the trials' rows are.
        sweep: Name of the sweep; also of the experiment and the parent run.
        uri: MLflow's tracking URI.
    """

    def __init__(self, store: Store, sweep: str, uri: str) -> None:
        # A server that does not answer must not hold a thread for MLflow's default of many minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        self._store, self._sweep = store, sweep
        self._client = MlflowClient(tracking_uri=uri)
        self.experiment_id = self._experiment()
        self.parent_id = self._parent()
        self._logged = self._logged_trials()

    def has(self, trial_id: str) -> bool:
        """Whether a trial was logged whole, from this row or an earlier one."""
        return bool(self._logged.get(trial_id, ("", ""))[1])

    def log_trial(self, trial_id: str) -> bool:
        """Log a finished trial from its row and curve; False if it is logged already."""
        row, curve = self._store.trial(self._sweep, trial_id)
        stamp = row["finished_at"].isoformat()
        known = self._logged.get(trial_id)
        if known is not None and known[1] == stamp:
            return False
        if known is not None:
            self._client.delete_run(known[0])
        tags = {_PARENT: self.parent_id, _TRIAL_TAG: trial_id, _STAMP_TAG: stamp}
        tags |= {name: _text(row[name]) for name in _TAGS if row.get(name) is not None}
        run = self._client.create_run(
            self.experiment_id, _milliseconds(row["started_at"]), tags, run_name=_run_name(row)
        )
        run_id: str = run.info.run_id
        self._log_values(run_id, row, curve)
        failed = row["status"] == TrialStatus.FAILED
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED", _milliseconds(row["finished_at"]))
        self._logged[trial_id] = (run_id, stamp)
        return True

    def log_summary(self, metrics: dict[str, float], artifacts: dict[str, bytes]) -> None:
        """Put the sweep's numbers, figure and table on the parent run, and end it."""
        import tempfile
        from pathlib import Path

        for name, value in metrics.items():
            self._client.log_metric(self.parent_id, name, value)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in artifacts.items():
                (Path(folder) / name).write_bytes(content)
            self._client.log_artifacts(self.parent_id, folder)
        self._client.set_terminated(self.parent_id)

    def _log_values(self, run_id: str, row: dict[str, Any], curve: list[dict[str, Any]]) -> None:
        from mlflow.entities import Metric, Param

        stamp = _milliseconds(row["finished_at"])
        params = [Param(name, _text(value)) for name, value in _params(row)]
        metrics = [
            Metric(name, float(probe[name]), stamp, probe["step"])
            for probe in curve
            for name in _CURVE
            if probe.get(name) is not None
        ]
        last = curve[-1]["step"] if curve else 0
        metrics += [
            Metric(f"final.{name}", float(row[name]), stamp, last)
            for name in _SUMMARY
            if row[name] is not None and math.isfinite(row[name])
        ]
        for chunk in _chunks(params, _PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=chunk)
        for chunk in _chunks(metrics, _METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=chunk)
        if row["error"]:
            self._client.log_text(run_id, row["error"], "error.txt")

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        known = self._client.get_experiment_by_name(self._sweep)
        if known is not None:
            return str(known.experiment_id)
        folder = self._store.local_path
        artifacts = (folder / "mlartifacts" / self._sweep).as_uri() if folder and self._is_local() else None
        try:
            # The kind makes MLflow open on the training runs; without it shows pages for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(self._sweep, artifact_location=artifacts, tags=kind))
        except MlflowException:  # another process made it in between
            known = self._client.get_experiment_by_name(self._sweep)
            if known is None:
                raise
            return str(known.experiment_id)

    def _is_local(self) -> bool:
        return str(self._client.tracking_uri).startswith("sqlite:")

    def _parent(self) -> str:
        query = f"tags.`{_SWEEP_TAG}` = '{self._sweep}'"
        for run in self._client.search_runs([self.experiment_id], query):
            if _PARENT not in run.data.tags:
                return str(run.info.run_id)
        run = self._client.create_run(self.experiment_id, tags={_SWEEP_TAG: self._sweep}, run_name=self._sweep)
        return str(run.info.run_id)

    def _logged_trials(self) -> dict[str, tuple[str, str]]:
        """Trial id to run id and stamp; a run that was never ended has an empty stamp."""
        found: dict[str, tuple[str, str]] = {}
        token = None
        while True:
            query = f"tags.`{_PARENT}` = '{self.parent_id}'"
            page = self._client.search_runs([self.experiment_id], query, max_results=1000, page_token=token)
            for run in page:
                tags = run.data.tags
                stamp = tags[_STAMP_TAG] if run.info.status in ("FINISHED", "FAILED") else ""
                found[tags[_TRIAL_TAG]] = (run.info.run_id, stamp)
            token = page.token
            if not token:
                return found


class Tracker:
    """Logs trials from a thread of its own. What it cannot log it counts; it never stops a sweep."""

    def __init__(self, store: Store, sweep: str, uri: str) -> None:
        self.uri = uri
        self.missed = 0
        self.problem = ""
        self._store, self._sweep = store, sweep
        self._jobs: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._asked = self._handled = 0  # trials, each counted by one thread only
        self._thread = threading.Thread(target=self._work, name="cosweep-mlflow", daemon=True)
        self._thread.start()

    def trial_finished(self, trial_id: str) -> None:
        """Have a trial logged when its turn comes."""
        self._put("trial", trial_id)

    def catch_up(self, trial_ids: Iterable[str]) -> None:
        """Have trials of earlier runs logged that MLflow lacks, as after a kill."""
        for trial_id in trial_ids:
            self._put("earlier", trial_id)

    def finish(self, metrics: dict[str, float], artifacts: dict[str, bytes], timeout: float) -> int:
        """Log the summary, wait for all that is queued, and say how many trials MLflow misses."""
        self._put("summary", (metrics, artifacts))
        self._jobs.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.problem = self.problem or f"still busy after {timeout:.0f} s"
            return self.missed + self._asked - self._handled
        return self.missed

    def _put(self, kind: str, job: Any) -> None:
        self._asked += kind != "summary"
        self._jobs.put((kind, job))

    def _work(self) -> None:
        runs: SweepRuns | None = None
        while (job := self._jobs.get()) is not None:
            kind, content = job
            try:
                runs = runs or SweepRuns(self._store, self._sweep, self.uri)
                if kind == "summary":
                    runs.log_summary(*content)
                elif kind == "trial" or not runs.has(content):
                    runs.log_trial(content)
            except Exception as error:  # whatever MLflow throws, the results are in Parquet
                self.problem = f"{type(error).__name__}: {error}".splitlines()[0]
                self.missed += kind != "summary"
            self._handled += kind != "summary"


def stored_uri(store: Store, sweep: str, uri: str | None = None) -> str:
    """Tracking URI that a sweep last ran with, or another one given.

    Raises:
        CosweepError: If the sweep is unknown, or has no MLflow store.
    """
    record = store.sweep_record(sweep)
    found = tracking_uri(store, uri or record.get("mlflow_uri") or record["tracking"]["uri"])
    if found is None:
        raise CosweepError(f"sweep {sweep} has no MLflow store; name one with --uri, or set tracking.uri")
    return found


def sync_sweep(store: Store, sweep: str, uri: str | None = None) -> tuple[str, int, int]:
    """Log every trial of a sweep that MLflow lacks, and its summary.

    Returns:
        The tracking URI, how many trials were logged now, how many were there already.

    Raises:
        CosweepError: If the sweep is unknown, or MLflow cannot be reached.
    """
    from cosweep.results.report import make_report

    target = stored_uri(store, sweep, uri)
    report = make_report(store, sweep)
    try:
        runs = SweepRuns(store, sweep, target)
        logged = [runs.log_trial(trial_id) for trial_id in report.trials["trial_id"].to_pylist()]
        runs.log_summary(report.summary(), report.files())
    except Exception as error:
        raise CosweepError(f"MLflow at {target}: {type(error).__name__}: {error}") from error
    return target, sum(logged), len(logged) - sum(logged)


def _params(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options of the spec: every column that is no outcome and not empty."""
    from cosweep.results.schema import OUTCOME_COLUMNS

    for name, value in row.items():
        if name not in OUTCOME_COLUMNS and value is not None:
            yield name, value


def _run_name(row: dict[str, Any]) -> str:
    from cosweep.results.breaking_points import format_value

    parts = [str(row["method"]), f"eps {format_value('epsilon', row['epsilon'])}"]
    if row["beta"]:
        parts.append(f"beta {format_value('beta', row['beta'])}")
    return " ".join([*parts, f"seed {row['seed']}", str(row["trial_id"])[:6]])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
