"""Running as a job of a Ray cluster, whose own folder is temporary."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cosweep.sweep.definition import Sweep

_JOB_FOLDERS = "working_dir_files"
"""Ray unpacks a job's files into a folder below one of this name, and removes it some time after the job."""


def home() -> Path:
    """Where a job's relative paths lead: ``COSWEEP_HOME``, or ``cosweep`` in the home directory."""
    return Path(os.environ.get("COSWEEP_HOME") or "~/cosweep").expanduser().absolute()


def in_job() -> bool:
    """Whether this process runs in the temporary folder of a Ray job."""
    return _JOB_FOLDERS in Path.cwd().parts


def settled(sweep: Sweep) -> Sweep:
    """The sweep with results that outlive the job, if it is one."""
    root = sweep.results.root
    if not in_job() or "://" in root or Path(root).expanduser().is_absolute():
        return sweep
    return replace(sweep, results=replace(sweep.results, root=str(home() / root)))
