"""What tests with real processes share."""

from __future__ import annotations

import json

import pytest
from filelock import FileLock

from cosweep.results.store import Store
from tests.integration.processes import LONGER, UNTRACKED, Numbers, numbers, run


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Numbers:
    """Trials and curves of a sweep that nobody disturbs, run once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    kept = shared / "undisturbed.json"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            folder = shared / "undisturbed"
            folder.mkdir()
            (folder / "tiny.yaml").write_text(UNTRACKED)
            code, output = run(folder, "tiny.yaml", *LONGER)
            assert code == 0, output
            kept.write_text(json.dumps(numbers(Store(folder / "results"))))
    trials, curves = json.loads(kept.read_text())
    return trials, curves
