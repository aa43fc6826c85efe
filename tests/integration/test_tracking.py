"""MLflow that is absent, silent or remote: a sweep never stops for it, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosweep.results.store import Store
from cosweep.tracking.tracker import sync_sweep
from tests.integration.processes import TINY, run
from tests.servers import free_port, logged_trials, mlflow_server

pytestmark = pytest.mark.integration


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def trial_ids(folder: Path) -> list[str]:
    return sorted(Store(folder / "results").trials("tiny")["trial_id"].to_pylist())


def test_a_dead_server_costs_nothing_and_sync_makes_up_for_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    code, output = run(tmp_path, "tiny.yaml", "--set", f"tracking.uri=http://127.0.0.1:{free_port()}")
    assert code == 0, output
    assert "MLflow misses 4 trials" in output
    assert "cosweep sync tiny" in output
    assert len(trial_ids(tmp_path)) == 4
    uri = f"sqlite:///{tmp_path / 'later.db'}"
    store = Store(tmp_path / "results")
    assert sync_sweep(store, "tiny", uri) == (uri, 4, 0)
    assert logged_trials(uri) == trial_ids(tmp_path)
    assert sync_sweep(store, "tiny", uri) == (uri, 0, 4)
    assert logged_trials(uri) == trial_ids(tmp_path)


def test_a_silent_server_does_not_hold_the_sweep(tmp_path: Path, silent_server: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    environment = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    code, output = run(tmp_path, "tiny.yaml", "--set", f"tracking.uri={silent_server}", **environment)
    assert code == 0, output
    assert "MLflow misses 4 trials" in output
    assert len(trial_ids(tmp_path)) == 4


def test_a_real_server_gets_the_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with mlflow_server(tmp_path, port):
        code, output = run(tmp_path, "tiny.yaml", "--set", f"tracking.uri={address}")
        assert code == 0, output
        assert "MLflow misses" not in output
        assert logged_trials(address) == trial_ids(tmp_path)
