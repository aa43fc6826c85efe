"""All that cosweep uses of Ray (2.60) and that Ray does not promise to keep; look here first after an update.

Functions import Ray when they are called: some act before Ray is first imported, which reads settings then.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

_END_TRIALS = signal.SIGUSR1
"""Tune listens to it: it gives up the trials that run, and returns."""


def end_trials() -> None:
    """Have Tune, which runs in this process, give up the trials that run."""
    os.kill(os.getpid(), _END_TRIALS)


@contextmanager
def trials_can_be_ended() -> Iterator[None]:
    """Context in which :func:`end_trials` does no harm while Tune does not listen yet, or no more."""
    before = signal.signal(_END_TRIALS, lambda *_: None)  # else it would end the process
    try:
        yield
    finally:
        signal.signal(_END_TRIALS, before)


@contextmanager
def signals_left_to_us() -> Iterator[None]:
    """Context in which Ray is started so that it takes no signal that ends a sweep.

    Its servers get process groups of their own: a signal to the driver's group, as of a closed terminal, would end them
    before the driver has wound down. And the driver keeps its own handler of SIGTERM.
    """
    from ray._private import services, utils

    start, handle = services.ConsolePopen, utils.set_sigterm_handler
    services.ConsolePopen = partial(start, process_group=0)
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler = start, handle
        # Ray's library has set a handler of its own, unseen by Python.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def server_marks() -> tuple[dict[str, str], str]:
    """Ray's servers on this machine that the driver cannot do without, and the address of the cluster's head.

    Returns:
        By the name of each server's program, an argument of its command line that no other cluster's has; and
        HOST:PORT.
    """
    from ray._private import worker

    node = worker._global_node
    marks = {"raylet": f"--raylet_socket_name={node.raylet_socket_name}"}
    if node.head:  # it was started for the occasion
        marks["gcs_server"] = f"--session-name={node.session_name}"
    return marks, str(node.gcs_address)


def keep_keys_out_of_logs() -> None:
    """Have Tune not copy keys of AWS from the driver into the descriptions of its actors, which Ray logs."""
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}


@contextmanager
def all_losses_known() -> Iterator[None]:
    """Context in which Tune takes any error of Ray's for a worker that died, such as that Ray ended it for memory.

    Tune knows that one and those of the trial's own code; any other ends the sweep. And Ray's text of a worker whose
    machine was preempted does not say so.
    """
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import RayActorError, RayError, RayTaskError

    task_failed = RayActorManager._actor_task_failed

    def failed(self: RayActorManager, tracked_actor_task: object, exception: Exception) -> None:
        if isinstance(exception, RayActorError) and exception.preempted:
            exception = RayActorError(error_msg=f"the actor's node was preempted\n{exception}", preempted=True)
        elif isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        task_failed(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = task_failed


def error_of(trial: Any) -> str:
    """Text of the exception that ended the last attempt at a trial of Tune's, from Tune's file on the driver.

    ``trial.get_error()`` is None in callbacks.
    """
    path = trial.error_file
    if path is None or not Path(path).exists():
        return ""
    return re.split(r"^Failure # \d+ \(occurred at .*\)$", Path(path).read_text(), flags=re.MULTILINE)[-1]


def torch_config(timeout_seconds: int) -> Any:
    """Ray Train's configuration of torch; what fails while dead workers are wound down does not end their trial.

    Ray Train itself suppresses some such errors, and not that Ray ended the workers for memory; their reservation
    would not be given back.
    """
    from ray.exceptions import RayError
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    class Backend(_TorchBackend):  # type: ignore[misc]
        def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
            with suppress(RayError):
                super().on_shutdown(worker_group, backend_config)

    class Config(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return Backend

    return Config(timeout_s=timeout_seconds)
