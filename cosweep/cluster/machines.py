"""The Ray cluster that a sweep runs on, and whether a trial fits it."""

from __future__ import annotations

import logging
import math
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from typing import Any, NamedTuple

from cosweep.cluster.local_ray import close_token_file, private_cluster
from cosweep.cluster.ray_private import signals_left_to_us
from cosweep.definition.sweep import GIGABYTE, ResourcesSpec
from cosweep.errors import CosweepError
from cosweep.safe_path import NOBODYS_FOLDER, SAFE_PATH
from cosweep.wording import counted

_CONNECT_SECONDS = 5.0
_BY_RAY = ("auto", "local")  # which Ray looks up
_ADDRESS = re.compile(r"(?P<host>[^:/]+|\[.+\]):(?P<port>\d+)")


class Node(NamedTuple):
    """What one machine offers: cores, devices, gigabytes; its address and Ray's id of it."""

    cpu: float
    gpu: float
    memory: float = math.inf
    address: str = ""
    id: str = ""


def local_node() -> Node:
    """This machine."""
    import torch

    return Node(os.cpu_count() or 1, torch.cuda.device_count())


def cluster_address() -> str | None:
    """Where the cluster is that the environment names; None if Ray is to be started for the occasion."""
    return os.environ.get("RAY_ADDRESS") or None


def places(resources: ResourcesSpec, nodes: list[Node]) -> int:
    """How many trials the nodes can run at once; 0 if none."""
    return sum(fitting_trials(resources, node) for node in nodes) // resources.workers


def concurrent_trials(resources: ResourcesSpec, nodes: list[Node]) -> int:
    """How many trials the nodes can run at once.

    Raises:
        CosweepError: If no node can ever run one; says what is asked and what there is.
    """
    if at_once := places(resources, nodes):
        return at_once
    if workers := sum(fitting_trials(resources, node) for node in nodes):
        raise CosweepError(
            f"resources: a trial asks for {resources.workers} workers of {processors(resources.cpu, resources.gpu)}; "
            f"the {counted(len(nodes), 'machine has', 'machines have')} places for {workers} at once. Ask for fewer or "
            "less for each under resources, or use a larger cluster"
        )
    who = "trial" if resources.workers == 1 else "worker"
    cpu = max((node.cpu for node in nodes), default=0.0)
    gpu = max((node.gpu for node in nodes), default=0.0)
    memory = max((node.memory for node in nodes), default=0.0)
    asked, there = processors(resources.cpu, resources.gpu), processors(cpu, gpu)
    if resources.memory is not None:
        asked, there = f"{asked}, {resources.memory:g} GB", f"{there}, {memory:.3g} GB"
    raise CosweepError(
        f"resources: a {who} asks for {asked} on one machine; the largest of {len(nodes)} has {there}. "
        "Ask for less under resources, or use a cluster with larger machines; if it adds machines on demand, "
        "say cosweep run --wait"
    )


def processors(cpu: float, gpu: float) -> str:
    """So many of each as people read it: ``1 CPU and 0 GPUs``."""
    return f"{counted(cpu, 'CPU')} and {counted(gpu, 'GPU')}"


def fitting_trials(resources: ResourcesSpec, node: Node) -> int:
    """How many trials, or workers of one, a node can run at once."""
    asked = (resources.cpu, resources.gpu, resources.memory or 0.0)
    return min(int(have / ask + 1e-9) for ask, have in zip(asked, node[:3], strict=True) if ask and have < math.inf)


@contextmanager
def connected() -> Iterator[None]:
    """Context with a connection to the cluster named by RAY_ADDRESS, or to one started for the occasion.

    Raises:
        CosweepError: If the cluster cannot be reached, wants a token, or has other versions.
    """
    address = cluster_address()
    if address:
        _check_listening(address)
    # Read when ray is imported: no progress tables and result files of Tune's own.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # The results are in Parquet, so Tune need not write its own state again and again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(10**9))
    os.environ |= SAFE_PATH
    for name in {"RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():  # Ray is started in another folder
        os.environ[name] = os.path.abspath(os.environ[name])
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # what Ctrl-C does is decided in stops.py
    # Which lost machines count as failures of a trial is decided in retries.py.
    os.environ.setdefault("RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE", "1")
    with ExitStack() as stack:
        options: dict[str, Any] = {} if address else stack.enter_context(private_cluster())
        close_token_file()
        import ray
        from ray.exceptions import AuthenticationError

        for name in ("ray", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            with signals_left_to_us(), chdir(NOBODYS_FOLDER):
                ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True, **options)
        except AuthenticationError as error:
            raise _unauthenticated(address, str(error).split(". ")[0]) from error
        except ConnectionError as error:
            raise _unauthenticated(address, "the cluster answers, but refuses this driver") from error
        except (RuntimeError, ValueError, OSError) as error:
            raise CosweepError(f"cannot use the Ray cluster at {address or 'this machine'}: {error}") from error
        stack.callback(ray.shutdown)
        stack.callback(_free_reservations)
        yield


def _check_listening(address: str) -> None:
    """See that something listens, since Ray would try for minutes."""
    if address.startswith("ray://"):
        raise CosweepError(
            f"RAY_ADDRESS={address} is of Ray's client, through which sweeps do not run; on a machine of the cluster "
            "name the head as HOST:6379, from elsewhere use ray job submit"
        )
    if address in _BY_RAY:
        return
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise CosweepError(
            f"RAY_ADDRESS={address} names no cluster; write the head's address as HOST:6379, auto for the cluster of "
            "this machine, or unset it to have Ray started for the sweep"
        )
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), _CONNECT_SECONDS).close()
    except OSError as error:
        raise CosweepError(
            f"no Ray cluster at RAY_ADDRESS={address} ({error}); is it up, and can this machine reach its port?"
        ) from error


def _unauthenticated(address: str | None, reason: str) -> CosweepError:
    return CosweepError(
        f"cannot join the Ray cluster at {address or 'this machine'}: {reason}. If it wants a token, set "
        "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
    )


def live_nodes() -> list[Node]:
    """Machines of the connected cluster."""
    import ray

    return [
        Node(
            node["Resources"].get("CPU", 0),
            node["Resources"].get("GPU", 0),
            node["Resources"].get("memory", 0) / GIGABYTE,
            node["NodeManagerAddress"],
            node["NodeID"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _free_reservations() -> None:
    """Remove placement groups that this driver's trials made and an interrupt left: they would hold their resources."""
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

    job = ray.get_runtime_context().get_job_id()
    for name, group in placement_group_table().items():
        if name.endswith(job) and group["state"] != "REMOVED":  # the number ends with that of its job
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))
