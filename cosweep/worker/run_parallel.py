"""One trial on several Ray workers, as a run of Ray Train inside the trial of Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray
import torch
from ray import train, tune
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback

from cosweep.cluster.ray_private import torch_config
from cosweep.cluster.scratch import scratch_folder
from cosweep.parallel import Workers
from cosweep.training import TrialRun, TrialSpec
from cosweep.worker.assignment import Assignment
from cosweep.worker.events import Event, Phase
from cosweep.worker.limits import claim_gpu_share, is_out_of_memory, time_limit
from cosweep.worker.rows import error_text, failed_row, finished_row
from cosweep.worker.run_trial import Ended, Setting, checkpoints_of, end, follow, has_ended, report, train_trial

COLLECTIVE_SECONDS = 600
"""After this long without an answer of the others a worker gives the trial up."""


class WorkerError(Exception):
    """What one worker raised, as it travels to the process that waits for them.

    Attributes:
        ended: What the trial leaves if this ends it.
        out_of_memory: Whether memory was refused.
        lost_others: Whether the worker only could not reach the others: a consequence of what befell one of them.
    """

    def __init__(self, ended: Ended, out_of_memory: bool, lost_others: bool) -> None:
        super().__init__(ended, out_of_memory, lost_others)
        self.ended, self.out_of_memory, self.lost_others = ended, out_of_memory, lost_others

    def __str__(self) -> str:
        return str(self.ended.row["error"])

    @classmethod
    def of(cls, error: Exception, run: TrialRun, data_hash: str, started_at: datetime) -> WorkerError:
        """What the worker of this run raised."""
        text = f"{error_text(error)}\nin worker {run.workers.rank}"
        ended = Ended.of(run, failed_row(run.spec, text, run.device, data_hash, started_at))
        lost = isinstance(error, (torch.distributed.DistError, ConnectionError))
        return cls(ended, is_out_of_memory(error), lost or (isinstance(error, RuntimeError) and "gloo" in str(error)))


def error_of_trial(failures: Mapping[int, Exception]) -> WorkerError | None:
    """What the trial itself raised in a worker; None if a process or a connection was lost.

    Args:
        failures: By rank, as Ray Train has them; those that are not of this module are its own.
    """
    errors = [failure for _, failure in sorted(failures.items()) if isinstance(failure, WorkerError)]
    if len(errors) < len(failures):
        return None
    return next((error for error in errors if not error.lost_others), None)


@dataclass(frozen=True)
class Order:
    """What each worker is told: the trial, what all trials share, and when the first one began it."""

    spec: dict[str, Any]
    setting: Setting
    started_at: datetime


def trainable_of(setting: Setting) -> Any:
    """The function that Tune runs, with the resources that Tune reserves for it.

    A trial of several workers reserves one byte of memory for itself, since its workers reserve what they need. If it
    took even a part of a CPU, trials could keep each other's workers from starting.
    """
    if setting.resources.workers == 1:
        return tune.with_resources(tune.with_parameters(train_trial, setting=setting), setting.demands)
    return tune.with_resources(tune.with_parameters(train_parallel_trial, setting=setting), {"memory": 1})


def train_parallel_trial(config: Mapping[str, Any], *, setting: Setting) -> None:
    """Tune's function trainable for trials of several workers; this process only waits for them, and takes nothing.

    What becomes of an exception, or of a worker process that dies, is as with ``train_trial``.
    """
    assignment = Assignment.from_config(config)
    if has_ended(assignment, setting):
        return
    spec = assignment.spec
    order = Order(spec.to_dict(), setting, datetime.now(UTC))
    try:
        ended = _have_trained(order)
    except train.WorkerGroupError as failure:
        error = error_of_trial(failure.worker_failures)
        if error is None:
            raise
        if error.out_of_memory and not setting.is_alone:
            report(Event(Phase.OUT_OF_MEMORY, str(error)))
            return
        ended = error.ended
    end(setting, ended, checkpoints_of(setting, spec))


def _have_trained(order: Order) -> Ended:
    """What the first of the workers returns when all have ended."""
    with scratch_folder() as scratch:
        result = TorchTrainer(
            _train,
            train_loop_config={"order": order},
            torch_config=torch_config(COLLECTIVE_SECONDS),
            scaling_config=_scaling(order.setting),
            run_config=train.RunConfig(
                name="trial",
                storage_path=scratch,
                callbacks=[TuneReportCallback()],
                logging_config=train.LoggingConfig(log_level="CRITICAL"),
            ),
        ).fit()
    ended: Ended = result.return_value
    return ended


def _scaling(setting: Setting) -> train.ScalingConfig:
    resources = setting.resources
    return train.ScalingConfig(
        num_workers=resources.workers,
        use_gpu=bool(resources.gpu),
        resources_per_worker={name.upper() if name != "memory" else name: n for name, n in setting.demands.items()},
    )


def _train(config: dict[str, Order]) -> Ended:
    """What every worker does."""
    order = config["order"]
    setting, resources = order.setting, order.setting.resources
    spec = TrialSpec.from_dict(order.spec)
    # A fixed number of threads: sums over several threads differ in the last bit.
    torch.set_num_threads(max(1, int(resources.cpu)))
    reference, data_hash = setting.datasets[spec.data.load_key]
    run = TrialRun(spec, get_device(), ray.get(reference), Workers.of_process_group())
    checkpoints = checkpoints_of(setting, spec)
    try:
        _report(Event.of(run))
        with time_limit(resources.time_limit):
            claim_gpu_share(resources.gpu)
            told = checkpoints.resume(run)
            _check_same_step(run)
            if run.workers.any(bool(told), run.device):
                _report(Event.of(run, problem=told))
            follow(run, checkpoints, resources, _report)
        row = finished_row(run, data_hash, order.started_at)
    except Exception as error:
        raise WorkerError.of(error, run, data_hash, order.started_at) from error
    return Ended.of(run, row)


def _report(event: Event) -> None:
    """Tell the trial's process, by Ray Train, which hands it on to Tune."""
    train.report(event.to_dict())


def _check_same_step(run: TrialRun) -> None:
    """See that no worker read another checkpoint than the rest, as with a store that fails for one of them."""
    total = run.workers.sum(torch.tensor(run.steps, device=run.device))
    if int(total) != run.steps * run.workers.count:
        raise ConnectionError("the workers read different checkpoints of the trial")
