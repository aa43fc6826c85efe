"""Running as a job of a Ray cluster, whose own folder is temporary."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cosweep.definition.sweep import Sweep

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for the command of a job, and for nothing else."""
_SQLITE = "sqlite:///"


def home() -> Path:
    """Where a job's relative paths lead: ``COSWEEP_HOME``, or ``cosweep`` in the home directory."""
    return Path(os.environ.get("COSWEEP_HOME") or "~/cosweep").expanduser().absolute()


def in_job() -> bool:
    """Whether this process is the command of a Ray job."""
    return _JOB_VARIABLE in os.environ


def settled(sweep: Sweep) -> Sweep:
    """The sweep with results and runs that outlive the job, if it is one."""
    if not in_job():
        return sweep
    root, uri = sweep.results.root, sweep.tracking.uri
    if "://" not in root:
        root = str(home() / Path(root).expanduser())
    if uri is not None and uri.startswith(_SQLITE):
        uri = _SQLITE + str(home() / uri.removeprefix(_SQLITE))
    results, tracking = replace(sweep.results, root=root), replace(sweep.tracking, uri=uri)
    return replace(sweep, results=results, tracking=tracking)
