"""What trainings on digits are known to do at a cell where an injected feature breaks FGSM (docs/reproduction.md)."""

from __future__ import annotations

from typing import Any

import pytest

from cosweep.training import TrialSpec, run_trial
from tests.tiny import digits

INJECTED = {"kind": "inject", "beta": "32/255"}
SHARED = {"kind": "shared", "beta": "32/255"}
PLAIN = {"kind": "inject", "beta": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "intervention", "breaks"),
    [("fgsm", INJECTED, True), ("fgsm", SHARED, False), ("fgsm", PLAIN, False), ("n_fgsm", INJECTED, False),
     ("pgd", INJECTED, False)],
    ids=["fgsm-inject", "fgsm-shared", "fgsm-plain", "n_fgsm-inject", "pgd-inject"],
)  # fmt: skip
def test_injection_breaks_fgsm_alone_and_only_where_it_tells_the_class(
    method: str, intervention: dict[str, Any], breaks: bool
) -> None:
    raw = {
        "data": {"source": "digits", "box": ["-32/255", "287/255"]},
        "interventions": [intervention],
        "method": {"name": method, "epsilon": "64/255"},
        "probe": {"every": 22, "grad_cos": False},
        "final": {"steps": 20, "restarts": 1, "examples": 360},
        "stop": {"co": {"after_steps": 50}},
    }
    run = run_trial(TrialSpec.from_dict(raw), dataset=digits())
    for _ in run:
        pass
    assert run.verdict.co is breaks
    assert (run.robust_acc < 0.1) is breaks
