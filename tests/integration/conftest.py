"""What tests with real processes share."""

from __future__ import annotations

import pytest

from cosweep.results.store import Store
from tests.integration.processes import LONGER, TINY, Numbers, numbers, run


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """Trials and curves of a sweep that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(TINY)
    code, output = run(folder, "tiny.yaml", *LONGER)
    assert code == 0, output
    return numbers(Store(folder / "results"))
