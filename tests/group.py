"""Several processes that work together through gloo, on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from cosweep.parallel import Workers


def run_group(work: Callable[..., Any], count: int, folder: Path, *arguments: Any) -> list[Any]:
    """What ``work(workers, *arguments)`` returns in each of so many processes, by rank; a failure of one raises."""
    folder.mkdir(parents=True, exist_ok=True)
    spawn(_join, (count, str(folder), work, arguments), count)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _join(rank: int, count: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count, timeout=timedelta(seconds=60)
    )
    try:
        torch.save(work(Workers.of_process_group(), *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()
