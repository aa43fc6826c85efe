"""MLflow, made from the Parquet rows and off the training path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO

from cosweep.analysis.findings import Findings, make_findings
from cosweep.definition.sweep import OFF
from cosweep.errors import CosweepError
from cosweep.redaction import holds_secret, redacted
from cosweep.report.files import report_files
from cosweep.results.coverage import is_driven
from cosweep.results.store import Store
from cosweep.safe_path import SAFE_PATH
from cosweep.tracking.pages import Summary
from cosweep.tracking.runs import SweepRuns, cause_in_words
from cosweep.tracking.writer import Job, Task, summary_job
from cosweep.wording import at_root

_TRIALS = ("trial", "earlier")
_CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def tracking_uri(store: Store, uri: str | None) -> str | None:
    """Where MLflow keeps the runs: the definition's URI, the environment's, or SQLite in the results folder.

    None if MLflow is off, or if the results are not on this machine's file system and no URI is given.
    """
    if uri == OFF:
        return None
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or _own_uri(store)


def _own_uri(store: Store) -> str | None:
    return None if store.local_path is None else f"sqlite:///{store.local_path / 'mlflow.db'}"


def uri_to_keep(store: Store, uri: str | None) -> str | None:
    """What the results may keep of a tracking URI: not a password, and not the folder, which may be moved."""
    return None if uri is None or "@" in uri or holds_secret(uri) or uri == _own_uri(store) else uri


class Tracker:
    """Has trials logged by a process of its own. What it cannot log it counts; it never stops or delays a sweep."""

    def __init__(self, store: Store, sweep: str, uri: str) -> None:
        self.uri = uri
        self.problem = ""
        self._sent: list[Job] = []
        self._writer = subprocess.Popen(
            [sys.executable, "-m", "cosweep.tracking.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **SAFE_PATH},
            start_new_session=True,  # Ctrl-C ends the trials; those that ended are still to be logged
        )
        self._answers, self._trouble = _Lines(self._writer.stdout), _Lines(self._writer.stderr)
        self._send(Task(str(store.local_path or store.location), sweep, uri))
        self._put(Job("begin"))

    def trial_finished(self, trial_id: str) -> None:
        """Have a trial logged when its turn comes."""
        self._put(Job("trial", trial_id))

    def catch_up(self, trial_ids: Iterable[str]) -> None:
        """Have trials of earlier runs logged that MLflow lacks, as after a kill."""
        for trial_id in trial_ids:
            self._put(Job("earlier", trial_id))

    def finish(self, report: Findings, files: dict[str, bytes], patience: float) -> int:
        """Log the summary, wait for all that is queued, and say how many trials MLflow misses.

        Args:
            report: What the sweep found.
            files: Its files.
            patience: Seconds without any trial logged after which to give up.
        """
        self._put(Job("begin"))
        self.catch_up(self._missed())  # MLflow may be back
        sent = {job.content for job in self._sent if job.kind in _TRIALS}
        # Trials that ended while an interrupt gave them up have a row, of which nobody told.
        self.catch_up(row["trial_id"] for row in report.rows if row["trial_id"] not in sent)
        self._put(summary_job(Summary.of(report), files))
        try:
            self._wait(patience)
        finally:
            self._writer.kill()
            self._writer.wait()
            self._answers.join()
            self._trouble.join()
        missed, answers = self._missed(), self._answers.found
        cut_off = "" if len(answers) == len(self._sent) else self._cause_of_death()
        self.problem = redacted(next(filter(None, [self.problem, *missed.values(), *answers[-1:], cut_off]), ""))
        return len(missed)

    def _missed(self) -> dict[str, str]:
        """Trials that were answered with a problem, and those not answered once the process is gone."""
        answers = self._answers.found[:]
        if self._writer.poll() is not None:
            answers += [self._cause_of_death()] * (len(self._sent) - len(answers))
        last = {job.content: answer for job, answer in zip(self._sent, answers, strict=False) if job.kind in _TRIALS}
        return {trial_id: problem for trial_id, problem in last.items() if problem}

    def _wait(self, patience: float) -> None:
        assert self._writer.stdin is not None
        with suppress(BrokenPipeError):
            self._writer.stdin.close()
        logged, last = 0, time.monotonic()
        while self._writer.poll() is None:
            time.sleep(0.05)
            if (now := self._answers.found.count("")) > logged:
                logged, last = now, time.monotonic()
            elif time.monotonic() > last + patience:
                self.problem = f"nothing was logged for {patience:.0f} s"
                return

    def _cause_of_death(self) -> str:
        return f"the process that logs to MLflow died: {(self._trouble.found or ['killed'])[-1]}"

    def _put(self, job: Job) -> None:
        self._sent.append(job)
        self._send(job)

    def _send(self, thing: Task | Job) -> None:
        assert self._writer.stdin is not None
        with suppress(BrokenPipeError):  # it died, which finish() tells
            self._writer.stdin.write(json.dumps(thing).encode() + b"\n")
            self._writer.stdin.flush()


class _Lines(threading.Thread):
    """Keeps the lines of a stream as they come."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        super().__init__(name="cosweep-mlflow", daemon=True)
        assert stream is not None
        self._stream = stream
        self.found: list[str] = []
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self.found.append(line.decode(errors="replace").rstrip())


def stored_uri(store: Store, sweep: str, uri: str | None = None) -> str:
    """Tracking URI that a sweep last ran with, or another one given; that of a new store if it ran without MLflow.

    Raises:
        CosweepError: If the sweep is unknown, or has no MLflow store.
    """
    if uri == OFF:
        raise CosweepError(f"--uri {OFF} names no MLflow store; name one, as sqlite:///mlflow.db, or leave it out")
    record = store.sweep_record(sweep)
    kept = record.get("mlflow_uri") or record["tracking"].get("uri")
    if kept == OFF:  # it is asked for now
        kept = None
    if kept and not uri:
        _refuse_to_log_in(kept, sweep)
    found = tracking_uri(store, uri or kept)
    if found is None:
        raise CosweepError(
            f"sweep {sweep} has no MLflow store, since its results are in {store.location}; make one with: "
            f"MLFLOW_TRACKING_URI=sqlite:///mlflow.db {at_root(f'cosweep sync {sweep}', store.location)}"
        )
    return found


def _refuse_to_log_in(kept: str, sweep: str) -> None:
    """MLflow's client sends its password to any server; one that a results folder names may be anybody's."""
    secrets = [name for name in _CREDENTIALS if os.environ.get(name)]
    if secrets and kept.startswith(("http://", "https://")) and kept != os.environ.get("MLFLOW_TRACKING_URI"):
        raise CosweepError(
            f"the results name {kept} as MLflow's server of sweep {sweep}, which would be sent {secrets[0]}; "
            f"if it is yours, set MLFLOW_TRACKING_URI={kept} too, else unset {', '.join(secrets)}"
        )


def sync_sweep(store: Store, sweep: str, uri: str | None = None) -> tuple[str, int, int]:
    """Log every trial of a sweep that MLflow lacks, and its summary.

    Returns:
        The tracking URI, how many trials were logged now, how many were there already.

    Raises:
        CosweepError: If the sweep is unknown, or MLflow cannot be reached.
    """
    target = stored_uri(store, sweep, uri)
    report = make_findings(store, sweep)
    try:
        runs = SweepRuns(store, sweep, target)
        runs.begin(min((row["started_at"] for row in report.rows), default=datetime.now(UTC)))
        logged = [runs.log_trial(row["trial_id"]) for row in report.rows]
        runs.log_summary(Summary.of(report), report_files(report), running=is_driven(store.pulse(sweep)))
    except Exception as error:
        raise mlflow_trouble(store, target, error) from error
    return redacted(target), sum(logged), len(logged) - sum(logged)


def mlflow_trouble(store: Store, uri: str, error: Exception) -> CosweepError:
    """What is told when MLflow fails, and how to mend it if its database is the results' own."""
    text = f"MLflow at {uri}: {cause_in_words(error)}"
    if uri == _own_uri(store):
        text += f". If {uri.removeprefix('sqlite:///')} is damaged, remove it: cosweep sync makes it anew"
    return CosweepError(redacted(text))
