"""The row of ``trials`` that a trial leaves, however it ended."""

from __future__ import annotations

import platform
import socket
import traceback
from dataclasses import asdict, fields
from datetime import UTC, datetime

import torch

from cosweep import __version__
from cosweep.metrics import TrialStatus
from cosweep.redaction import redacted
from cosweep.specs import canonical_json
from cosweep.training import TrialRun, TrialSpec
from cosweep.training.examples import Examples

Row = dict[str, object]


def finished_row(run: TrialRun, data_hash: str, started_at: datetime) -> Row:
    """Row of a trial that ran to its end or was stopped."""
    spec, verdict, last = run.spec, run.verdict, run.curve[-1]
    return _row(spec, run.device, data_hash, started_at) | {
        "status": str(run.status),
        **verdict.to_dict(),
        "co_epoch": None if verdict.co_step is None else verdict.co_step / run.steps_per_epoch,
        "clean_acc": last.clean_acc,
        "fgsm_acc": last.fgsm_acc,
        "pgd_acc": last.pgd_acc,
        "robust_acc": run.robust_acc,
        "robust_zero_grad_share": run.final["injected"].zero_grad_share,
        "robust_attack": spec.final.label,
        **{f"clean_acc_on_{name}": found.clean_acc for name, found in run.final.items()},
        **{f"robust_acc_on_{name}": found.robust_acc for name, found in run.final.items()},
        **(asdict(run.examples) if run.examples else {f.name: None for f in fields(Examples)}),
        "steps": run.steps,
        "total_steps": run.total_steps,
        "box_low": run.box.low if run.box else None,
        "box_high": run.box.high if run.box else None,
        **vars(run.timings),
        "error": run.error,
        "device": run.device_name,
    }


def failed_row(
    spec: TrialSpec, error: BaseException | str, device: torch.device, data_hash: str, started_at: datetime
) -> Row:
    """Row of a trial that crashed: its first line says what happened, the rest where."""
    text = redacted(error if isinstance(error, str) else error_text(error))
    return _row(spec, device, data_hash, started_at) | {
        "status": str(TrialStatus.FAILED),
        "state": None,
        "co": None,
        "error": text,
    }


def error_text(error: BaseException) -> str:
    """An exception, and on the lines after it where it came from."""
    where = "".join(traceback.format_exception(error)[-4:])
    return f"{type(error).__name__}: {error}\n{where}"


def _row(spec: TrialSpec, device: torch.device, data_hash: str, started_at: datetime) -> Row:
    finished_at = datetime.now(UTC)
    return {
        **spec.flat(),
        "trial_id": spec.trial_id,
        "data_hash": data_hash,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "host": socket.gethostname(),
        "versions": f"cosweep {__version__}, python {platform.python_version()}, torch {torch.__version__}",
        "spec_json": canonical_json(spec.to_dict()),
        "started_at": started_at,
        "finished_at": finished_at,
        "wall_seconds": (finished_at - started_at).total_seconds(),
    }
