"""What is checked on the machines of a cluster before any trial: versions, clocks, GPUs, the results location."""

from __future__ import annotations

import platform
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from cosweep import __version__
from cosweep.cluster.machines import Node, live_nodes
from cosweep.errors import CosweepError
from cosweep.results.store import Store

SKEW_SECONDS = 10.0
"""Clocks that differ by more are told."""
_PATIENCE_SECONDS = 120.0
_PACKAGES = ("torch", "torchvision", "numpy", "ray", "pyarrow")


@dataclass(frozen=True)
class Answer:
    """What one machine says.

    Attributes:
        host: Its name.
        versions: Of what computes and writes the results.
        clock: Its time.
        location: Why its workers cannot use the results location; empty if they can.
        devices: CUDA devices that torch sees; None if the machine was not asked to count.
    """

    host: str
    versions: dict[str, str]
    clock: float
    location: str
    devices: int | None


def versions() -> dict[str, str]:
    """Versions of what computes and writes the results, in this process."""
    found = {"cosweep": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def answer(location: str, token: str, *, count_devices: bool) -> Answer:
    """What the machine of this process says.

    Args:
        location: Of the results.
        token: What the driver left in ``preflight/TOKEN``; an answer is written beside it.
        count_devices: Whether to import torch and count.
    """
    devices = None
    if count_devices:
        import torch

        devices = torch.cuda.device_count()
    return Answer(socket.gethostname(), versions(), time.time(), _try_location(location, token), devices)


def _try_location(location: str, token: str) -> str:
    try:
        files = Store(location).files
        if files.read(f"preflight/{token}") != token.encode():
            return "what the driver wrote there reads otherwise"
        name = f"preflight/{token}.{uuid.uuid4().hex}"
        files.write(name, b"")
        files.delete(name)
    except FileNotFoundError:
        return "it is another place there: what the driver wrote is not to be found"
    except (OSError, CosweepError) as error:
        return str(error)
    return ""


def check_machines(nodes: list[Node], store: Store, *, gpu: bool) -> list[str]:
    """Ask every machine, and say in words what is odd about it and does no harm.

    Args:
        nodes: Machines of the connected cluster that trials may run on.
        store: Where the results are to go; it exists.
        gpu: Whether trials need a GPU.

    Raises:
        CosweepError: If a machine cannot be asked, has other versions, no GPU for torch, or cannot use the location.
    """
    token = uuid.uuid4().hex
    store.write_bytes(f"preflight/{token}", token.encode())
    try:
        answers = _ask(nodes, str(store.local_path or store.location), token, gpu=gpu)
    finally:
        store.files.delete(f"preflight/{token}")
    faults = [text for node, found, _ in answers for text in _faults(node.address, found, store, gpu=gpu)]
    if faults:
        raise CosweepError("\n".join(dict.fromkeys(faults)))
    return [text for node, found, skew in answers if (text := _oddity(node.address, found, skew))]


def _ask(nodes: list[Node], location: str, token: str, *, gpu: bool) -> list[tuple[Node, Answer, float]]:
    """The answer of each machine that is still there, and the least by which its clock is ahead, in seconds."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = time.time()
    remote = ray.remote(num_cpus=0, max_retries=0)(answer)
    there = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in nodes]
    waiting = [remote.options(scheduling_strategy=place).remote(location, token, count_devices=gpu) for place in there]
    found = []
    for node, reference in zip(nodes, waiting, strict=True):
        try:
            told: Answer = ray.get(reference, timeout=_PATIENCE_SECONDS)
        except GetTimeoutError as error:
            text = f"machine {node.address} gave no answer in {_PATIENCE_SECONDS:.0f} s; see ray status"
            raise CosweepError(text) from error
        except RayError as error:
            if node.id not in {alive.id for alive in live_nodes()}:
                continue  # gone since it was listed
            last = str(error).strip().splitlines()[-1]
            raise CosweepError(
                f"machine {node.address} cannot run cosweep: {last}. Install the same version on all machines, "
                "or send it with ray job submit --working-dir"
            ) from error
        found.append((node, told, _skew(told.clock, asked, time.time())))
    return found


def _skew(clock: float, asked: float, answered: float) -> float:
    """Seconds by which a clock is ahead of ours, negative if behind; it was read between two times of ours."""
    return max(clock - answered, 0.0) + min(clock - asked, 0.0)


def _faults(address: str, found: Answer, store: Store, *, gpu: bool) -> Iterator[str]:
    ours = versions()
    for name, here in ours.items():
        there = found.versions.get(name, "absent")
        if there != here:
            yield f"machine {address} has {name} {there}, the driver {here}; results could differ: make them the same"
    if found.location:
        hint = (
            "" if store.local_path is None else ", or set results.root to a folder that all machines share, or a bucket"
        )
        yield (
            f"results location {store.location}: workers on machine {address} cannot use it ({found.location}); "
            f"give them access{hint}"
        )
    if gpu and not found.devices:
        yield f"machine {address} offers a GPU to Ray, and torch finds no CUDA device there; check its driver"


def _oddity(address: str, found: Answer, skew: float) -> str:
    if abs(skew) <= SKEW_SECONDS:
        return ""
    way = "ahead" if skew > 0 else "behind"
    return (
        f"the clock of machine {address} is {abs(skew):.0f} s {way}; started_at and finished_at of its trials will be, "
        "and rates and times left; nothing else uses it"
    )
