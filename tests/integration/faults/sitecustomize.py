"""Makes trials fail, in every Python process that finds this file first: real hangs, crashes, leaks, full memory.

``FAULTS`` names a folder; a file ``KIND-BETA-SEED`` in it, beta in grey levels, has the trial with these suffer at its
tenth step. With ``once-`` before its name it is removed first, so that the next attempt goes well.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE, STEP = "cosweep.training.trainer", 10
LEAKED: list[bytes] = []


def hang() -> None:
    ctypes.PyDLL(None).sleep(600)  # in compiled code, with the interpreter's lock


def segfault() -> None:
    ctypes.string_at(0)


def leak() -> None:
    for _ in range(30):
        LEAKED.append(b"x" * 100_000_000)
        time.sleep(0.05)


def full() -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


KINDS = {"hang": hang, "segfault": segfault, "leak": leak, "full": full}


def suffer(trainer: Any) -> None:
    folder, spec = Path(os.environ["FAULTS"]), trainer.spec
    name = f"{round(255 * spec.flat()['beta'])}-{spec.seed}"
    for kind, act in KINDS.items():
        once = folder / f"once-{kind}-{name}"
        if once.exists():
            once.unlink()
            act()
        elif (folder / f"{kind}-{name}").exists():
            act()


class Finder(MetaPathFinder):
    """Changes one module when it is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_change(module: ModuleType) -> None:
            execute(module)
            advance = module.Trainer.advance

            def advance_or_suffer(self: Any) -> None:
                if self.step == STEP:
                    suffer(self)
                advance(self)

            module.Trainer.advance = advance_or_suffer

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


if "FAULTS" in os.environ:
    sys.meta_path.insert(0, Finder())
