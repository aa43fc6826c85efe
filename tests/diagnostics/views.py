"""Models as diagnostics look at them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cosweep.diagnostics import DIAGNOSTICS, View
from tests.tiny import UNIT_BOX

DEFAULTS: dict[str, Any] = {"epsilon": 0.1, "norm": "linf", "box": UNIT_BOX, "pgd_steps": 3, "seed": 0}


def view(model: nn.Module, x: Tensor, y: Tensor, **changes: Any) -> View:
    """View of a model at epsilon 0.1 in l-inf, if not changed."""
    return View(model, x, y, **(DEFAULTS | changes))


def measured(name: str, model: nn.Module, x: Tensor, y: Tensor, **changes: Any) -> dict[str, Any]:
    """Columns of a diagnostic with its default options."""
    return dict(DIAGNOSTICS[name]().measure(view(model, x, y, **changes)))
