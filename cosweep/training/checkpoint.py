"""A training in progress as bytes, and back: checked for damage and origin, and read without running any code."""

from __future__ import annotations

import hashlib
import io
import platform
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from cosweep import __version__
from cosweep.errors import CosweepError
from cosweep.training.loop import TrialRun

_DIGEST_BYTES = 32


class CheckpointError(CosweepError):
    """A checkpoint that cannot be carried on from."""


def to_bytes(run: TrialRun, data_hash: str) -> bytes:
    """State of a training that goes on, after its SHA-256.

    Args:
        run: The training, at a probe.
        data_hash: Fingerprint of its images.
    """
    buffer = io.BytesIO()
    torch.save({"origin": _origin(run, data_hash), "state": run.state()}, buffer)
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def resume_from(content: bytes, run: TrialRun, data_hash: str) -> None:
    """Have a run that has not begun carry on from what :func:`to_bytes` made.

    Raises:
        CheckpointError: If the bytes are damaged, or of another trial, other images or other versions.
    """
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise CheckpointError("it is damaged or half written")
    try:
        kept = torch.load(io.BytesIO(content), map_location=run.device, weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError("it holds more than tensors and plain values") from error
    origin = _origin(run, data_hash)
    before: dict[str, Any] = kept.get("origin", {})
    if other := [f"{name} {before.get(name)}, not {now}" for name, now in origin.items() if before.get(name) != now]:
        raise CheckpointError(f"it is of {', '.join(other)}")
    try:
        run.resume(kept["state"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"it holds other things than this version keeps ({error!r})") from error


def _origin(run: TrialRun, data_hash: str) -> dict[str, Any]:
    """What must agree for the numbers to be those of an undisturbed training."""
    return {
        "trial": run.spec.trial_id,
        "data": data_hash,
        "device": _device_name(run.device),
        "threads": torch.get_num_threads(),
        "workers": run.workers.count,
        "torch": str(torch.__version__),
        "cosweep": __version__,
    }


def _device_name(device: torch.device) -> str:
    """Name the processor: another kind rounds otherwise, and a replay would not retrace."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability: str = torch.backends.cpu.get_cpu_capability()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return f"{platform.processor()} {capability}"
    return f"{next((line for line in lines if line.startswith('model name')), platform.machine())} {capability}"
