"""The process that writes a sweep's trials to MLflow.

It is a process, since MLflow takes some 50 ms of Python a trial, which in a thread the driver of the sweep would wait
for. Reads jobs from stdin, a line of JSON each, until it ends, and answers each with a line: empty, or what went wrong.
"""

from __future__ import annotations

import base64
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any, Literal, NamedTuple

from cosweep.errors import CosweepError
from cosweep.results.store import Store
from cosweep.tracking.pages import Summary
from cosweep.tracking.runs import SweepRuns, cause_in_words

_NICENESS = 10
_PAUSE_SECONDS = 10.0


class Task(NamedTuple):
    """What to write to: the first thing on stdin, since arguments of a process can be read by all."""

    location: str
    sweep: str
    uri: str


class Job(NamedTuple):
    """Something to write: that the sweep begins, a trial by its id, the same unless it is there, or the summary."""

    kind: Literal["begin", "trial", "earlier", "summary"]
    content: Any = None


def summary_job(summary: Summary, files: Mapping[str, bytes]) -> Job:
    """The job to log a summary and its files."""
    texts = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return Job("summary", {"summary": asdict(summary), "files": texts})


def main() -> None:
    """Work until stdin ends."""
    os.nice(_NICENESS)  # training goes first
    answers, sys.stdout = sys.stdout, sys.stderr
    jobs = _read(sys.stdin.buffer)
    writer = _Writer(Task(*next(jobs)))
    for job in jobs:
        print(writer.handle(Job(*job)), file=answers, flush=True)


class _Writer:
    """Writes jobs; when MLflow fails it lets some seconds pass before it connects anew."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._runs: SweepRuns | None = None
        self._failure, self._failed_at = "", -math.inf

    def handle(self, job: Job) -> str:
        """Empty, or what went wrong."""
        if self._failure and job.kind != "begin" and time.monotonic() < self._failed_at + _PAUSE_SECONDS:
            return self._failure
        try:
            self._write(job)
        except CosweepError as error:  # of the results, not of MLflow
            return str(error).splitlines()[0]
        except Exception as error:  # whatever MLflow throws, the results are in Parquet
            self._runs = None  # a run may be half written, which connecting anew finds
            self._failure, self._failed_at = cause_in_words(error), time.monotonic()
            return self._failure
        self._failure = ""
        return ""

    def _write(self, job: Job) -> None:
        if self._runs is None:
            self._runs = SweepRuns(Store(self._task.location), self._task.sweep, self._task.uri)
            self._runs.begin(datetime.now(UTC))
        if job.kind == "summary":
            files = {name: base64.b64decode(text) for name, text in job.content["files"].items()}
            self._runs.log_summary(Summary(**job.content["summary"]), files)
        elif job.kind == "trial" or (job.kind == "earlier" and not self._runs.has(job.content)):
            self._runs.log_trial(job.content)


def _read(stream: IO[bytes]) -> Iterator[Any]:
    """What the lines of a stream hold; it is read at once: its writer must never wait for a full pipe."""
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def drain() -> None:
        for line in stream:
            if line.endswith(b"\n"):  # else the driver was killed while it wrote
                found.put(json.loads(line))
        found.put(None)

    threading.Thread(target=drain, daemon=True).start()
    while (item := found.get()) is not None:
        yield item


if __name__ == "__main__":
    main()
