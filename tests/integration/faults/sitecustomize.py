"""Makes trials fail, in every Python process that finds this file first: real hangs, crashes, leaks, full memory.

``CLOCK_AHEAD`` sets the clock of such processes, by so many seconds.

``FAULTS`` names a folder; a file ``KIND-BETA-SEED`` in it, beta in grey levels, has the trial with these suffer at its
tenth step. With ``once-`` before its name it is removed first, so that the next attempt goes well. A process that finds
``once-reset`` dies when it is to begin its second trial, one that finds ``once-report`` when it has written its rows.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

STEP = 10
LEAKED: list[bytes] = []


def hang() -> None:
    ctypes.PyDLL(None).sleep(600)  # in compiled code, with the interpreter's lock


def pause() -> None:
    time.sleep(600)


def segfault() -> None:
    ctypes.string_at(0)


def leak() -> None:
    for _ in range(30):
        LEAKED.append(b"x" * 100_000_000)
        time.sleep(0.05)


def full() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def fill() -> None:
    for _ in range(120):
        LEAKED.append(b"x" * 100_000_000)
        time.sleep(0.02)
    time.sleep(60)  # until Ray ends the process


KINDS = {"hang": hang, "pause": pause, "segfault": segfault, "leak": leak, "full": full, "fill": fill}


def suffer(trainer: Any) -> None:
    folder, spec = Path(os.environ["FAULTS"]), trainer.spec
    name = f"{round(255 * spec.flat()['beta'])}-{spec.seed}"
    for kind, act in KINDS.items():
        if taken(folder / f"once-{kind}-{name}") or (folder / f"{kind}-{name}").exists():
            act()


def taken(mark: Path) -> bool:
    """Whether this process removed a file, which one of several that try does."""
    try:
        mark.unlink()
    except FileNotFoundError:
        return False
    return True


def die_once(name: str) -> None:
    if taken(Path(os.environ["FAULTS"]) / f"once-{name}"):
        os._exit(1)


def change_trainer(module: Any) -> None:
    advance = module.Trainer.advance

    def advance_or_suffer(self: Any) -> None:
        if self.step == STEP:
            suffer(self)
        advance(self)

    module.Trainer.advance = advance_or_suffer


def change_reset(module: Any) -> None:
    reset = module.FunctionTrainable.reset_config

    def die_or_reset(self: Any, config: Any) -> Any:
        die_once("reset")
        return reset(self, config)

    module.FunctionTrainable.reset_config = die_or_reset


def change_checkpoints(module: Any) -> None:
    remove = module.Checkpoints.remove

    def die_or_remove(self: Any) -> None:
        die_once("report")
        remove(self)

    module.Checkpoints.remove = die_or_remove


CHANGES: dict[str, Callable[[Any], None]] = {
    "cosweep.training.trainer": change_trainer,
    "ray.tune.trainable.function_trainable": change_reset,
    "cosweep.worker.checkpoints": change_checkpoints,
}


class Finder(MetaPathFinder):
    """Changes modules when they are imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        change = CHANGES.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


if "CLOCK_AHEAD" in os.environ:
    ahead, true_time = float(os.environ["CLOCK_AHEAD"]), time.time
    time.time = lambda: true_time() + ahead

if "FAULTS" in os.environ:
    sys.meta_path.insert(0, Finder())
