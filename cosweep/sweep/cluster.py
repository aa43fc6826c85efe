"""The Ray cluster that a sweep runs on, and whether a trial fits it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from cosweep.errors import CosweepError
from cosweep.sweep.definition import ResourcesSpec
from cosweep.sweep.local_ray import close_token_file, private_cluster


class Node(NamedTuple):
    """What one machine offers."""

    cpu: float
    gpu: float


def local_node() -> Node:
    """This machine."""
    import torch

    return Node(os.cpu_count() or 1, torch.cuda.device_count())


def concurrent_trials(resources: ResourcesSpec, nodes: list[Node]) -> int:
    """How many trials the nodes can run at once.

    Raises:
        CosweepError: If no node can ever run one; says what is asked and what there is.
    """
    fits = sum(_fits(resources, node) for node in nodes)
    if fits == 0:
        best = Node(max((n.cpu for n in nodes), default=0), max((n.gpu for n in nodes), default=0))
        raise CosweepError(
            f"resources: a trial asks for {resources.cpu:g} CPUs and {resources.gpu:g} GPUs on one machine; "
            f"the largest of {len(nodes)} has {best.cpu:g} CPUs and {best.gpu:g} GPUs. "
            "Ask for less under resources, or use a cluster with larger machines"
        )
    return fits


def _fits(resources: ResourcesSpec, node: Node) -> int:
    by_cpu = int(node.cpu / resources.cpu + 1e-9)
    return min(by_cpu, int(node.gpu / resources.gpu + 1e-9)) if resources.gpu else by_cpu


@contextmanager
def connected() -> Iterator[list[Node]]:
    """Context with a connection to the cluster named by RAY_ADDRESS, or to one started for the occasion."""
    # Read when ray is imported: no progress tables and result files of Tune's own.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # The results are in Parquet, so Tune need not write its own state again and again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS")
    with ExitStack() as stack:
        options = {} if address else stack.enter_context(private_cluster())
        close_token_file()
        import ray

        for name in ("ray", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise CosweepError(f"cannot reach the Ray cluster at {address or 'this machine'}: {error}") from error
        stack.callback(ray.shutdown)
        yield [
            Node(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0))
            for node in ray.nodes()
            if node["Alive"]
        ]


@contextmanager
def graceful_sigterm() -> Iterator[None]:
    """Context in which SIGTERM ends Tune as an interrupt does, with running trials given up cleanly."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
