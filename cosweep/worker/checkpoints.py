"""Where trainings in progress are kept: ``checkpoints/sweep=NAME/ID.pt`` below the results root, until they end."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cosweep.errors import CosweepError
from cosweep.results.partition import check_name
from cosweep.results.store import Store
from cosweep.training import TrialRun
from cosweep.training.checkpoint import CheckpointError, resume_from, to_bytes

_SUFFIX = ".pt"


class Checkpoints:
    """The checkpoint of one trial. A problem with it is reported and never ends the trial, which can begin anew.

    Args:
        results: Location of the store.
        sweep: Name of the sweep.
        trial_id: Of the trial.
        data_hash: Fingerprint of the trial's images.
        seconds: How often to keep the training; None is never.
    """

    def __init__(self, results: str, sweep: str, trial_id: str, data_hash: str, seconds: float | None) -> None:
        self._results, self._path = results, f"{_folder(sweep)}/{trial_id}{_SUFFIX}"
        self._data_hash, self._seconds = data_hash, seconds
        self._last = time.monotonic()
        self._kept = False

    def resume(self, run: TrialRun) -> str:
        """Have a run carry on from what was kept, if anything was; what happened, in words, or empty."""
        try:
            content = Store(self._results).files.read(self._path)
            self._kept = True
            resume_from(content, run, self._data_hash)
        except FileNotFoundError:
            return ""
        except (OSError, CheckpointError, CosweepError) as error:
            return f"begins anew, since its checkpoint cannot be used: {error}"
        return f"carries on from step {run.steps}"

    def keep(self, run: TrialRun) -> str:
        """Keep a training if it is time to and it goes on; what went wrong, in words, or empty."""
        now = time.monotonic()
        if self._seconds is None or run.status is not None or now - self._last < self._seconds:
            return ""
        self._last = now
        try:
            Store(self._results).write_bytes(self._path, to_bytes(run, self._data_hash))
            self._kept = True
        except (OSError, CosweepError) as error:
            return f"its training could not be kept at step {run.steps}: {error}"
        return ""

    def remove(self) -> None:
        """Remove the checkpoint of a trial that has ended; if that fails, the sweep removes it when it next begins."""
        if not self._kept:
            return
        try:
            Store(self._results).files.delete(self._path)
        except (OSError, CosweepError):
            return


def remove_others(store: Store, sweep: str, left: Iterable[str]) -> None:
    """Remove all checkpoints but those of the trials that are left to run."""
    kept = store.files.names(_folder(sweep))
    for name in kept.keys() - {f"{trial_id}{_SUFFIX}" for trial_id in left}:
        store.files.delete(f"{_folder(sweep)}/{name}")


def _folder(sweep: str) -> str:
    return f"checkpoints/sweep={check_name(sweep)}"
