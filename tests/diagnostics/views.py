"""Models as diagnostics look at them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from cosweep.attacks import ThreatModel
from cosweep.diagnostics import DIAGNOSTICS, View
from tests.tiny import UNIT_BOX

THREAT = ThreatModel(0.1, UNIT_BOX)


def view(model: nn.Module, x: Tensor, y: Tensor, *, pgd_steps: int = 3, seed: int = 0, **changes: Any) -> View:
    """View of a model at epsilon 0.1 in l-inf, if not changed."""
    return View(model, x, y, replace(THREAT, **changes), pgd_steps, seed)


def measured(name: str, model: nn.Module, x: Tensor, y: Tensor, **changes: Any) -> dict[str, Any]:
    """Columns of a diagnostic with its default options."""
    return dict(DIAGNOSTICS[name]().measure(view(model, x, y, **changes)))
