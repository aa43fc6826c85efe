"""cluster/mlflow/server.sh as it stands there, on a real PostgreSQL and a server that speaks S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import psutil
import psycopg
import pytest
from mlflow import MlflowClient
from mlflow.server import get_app_client
from typer.testing import CliRunner

from cosweep.cli.commands import app
from cosweep.errors import CosweepError
from cosweep.results.store import Store
from cosweep.tracking.tracker import sync_sweep
from tests.cluster_files.files import CLUSTER
from tests.cluster_files.postgresql import postgresql
from tests.integration.processes import wait_for
from tests.results.sweeps import write_sweep
from tests.servers import aws, free_port

pytestmark = pytest.mark.integration

SCRIPT = CLUSTER / "mlflow" / "server.sh"
ADMIN = "administrator-of-tests"
USER = "a-user-of-the-tests"
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Endpoint of an object store that has the bucket ``mlflow-of-tests``."""
    with aws() as address:
        endpoint = f"http://{address}"
        s3(endpoint).create_bucket(Bucket="mlflow-of-tests")
        yield endpoint


def s3(endpoint: str) -> boto3.client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


@pytest.fixture(scope="module")
def database() -> Iterator[dict[str, str]]:
    with postgresql("mlflow", "mlflow") as environment:
        yield environment


@contextmanager
def served(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Address of the script's server; it ends with the context, with all that it started."""
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [SCRIPT],
            env={**os.environ, **environment, "PATH": path, "MLFLOW_PORT": str(port), "MLFLOW_WORKERS": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            return status(f"{address}/health") == 200
        except OSError:
            return False

    try:
        wait_for(answers, 180)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def status(url: str) -> int:
    """HTTP status of a plain request."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


@pytest.fixture(scope="module")
def environment(database: dict[str, str], bucket: str) -> dict[str, str]:
    secrets = {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN, "MLFLOW_FLASK_SERVER_SECRET_KEY": "signs sessions"}
    place = {"MLFLOW_ARTIFACTS": "s3://mlflow-of-tests/artifacts", "MLFLOW_S3_ENDPOINT_URL": bucket}
    return {**database, **secrets, **place, **AWS}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "log.txt"


@pytest.fixture(scope="module")
def server(environment: dict[str, str], log: Path) -> Iterator[str]:
    with served(environment, log) as address:
        yield address


@pytest.fixture
def sweep(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    write_sweep(store, tmp_path.name.replace("_", "-"), epsilons=(64 / 255,), betas=(0.0,))
    return store


def log_in(monkeypatch: pytest.MonkeyPatch, user: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def test_nothing_but_its_health_is_told_without_login(server: str) -> None:
    search = f"{server}/api/2.0/mlflow/experiments/search?max_results=1"
    assert [status(url) for url in (f"{server}/health", server, search)] == [200, 401, 401]


def test_a_sweep_is_logged_by_a_user_whom_the_administrator_made(
    server: str, sweep: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, "admin", ADMIN)
    get_app_client("basic-auth", server).create_user("cosweep", USER)
    log_in(monkeypatch, "cosweep", USER)
    name = sweep.sweeps()[0]
    assert sync_sweep(sweep, name, server) == (server, 2, 0)
    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    parent = next(run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert len(runs) == 3
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    stored = s3(bucket).list_objects_v2(Bucket="mlflow-of-tests")["Contents"]
    assert any(item["Key"].startswith("artifacts/") and item["Key"].endswith("report.html") for item in stored)


def test_without_a_password_sync_says_so_in_one_message(
    server: str, sweep: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CosweepError, match="You are not authenticated"):
        sync_sweep(sweep, sweep.sweeps()[0], server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    result = CliRunner().invoke(app, ["sync", "--root", sweep.location])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_runs_and_users_are_in_postgresql_and_passwords_are_not_in_the_log(
    server: str, database: dict[str, str], log: Path
) -> None:
    with psycopg.connect(
        host=database["PGHOST"],
        port=database["PGPORT"],
        user=database["PGUSER"],
        password=database["PGPASSWORD"],
        dbname="mlflow",
    ) as connection:
        users = connection.execute("SELECT username, password_hash FROM users ORDER BY id").fetchall()
        assert [user for user, _ in users][:1] == ["admin"]
        assert ADMIN not in str(users)
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() != (0,)
    assert not [word for word in (ADMIN, USER, database["PGPASSWORD"], "testing") if word in log.read_text()]


def test_the_command_line_shows_no_password(server: str) -> None:
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    (ours,) = {line for line in lines if f"--port {server.rpartition(':')[2]}" in line and "basic-auth" in line}
    assert not [word for word in (ADMIN, "a word for tests", "signs sessions") if word in ours]


@pytest.mark.parametrize("missing", ["PGPASSWORD", "MLFLOW_ARTIFACTS", "MLFLOW_AUTH_ADMIN_PASSWORD"])
def test_a_missing_setting_is_named(missing: str) -> None:
    names = "PGHOST PGUSER PGPASSWORD MLFLOW_ARTIFACTS MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY"
    settings = {name: "x" for name in names.split() if name != missing}
    done = subprocess.run(
        [SCRIPT], env={"PATH": os.environ["PATH"], **settings}, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert missing in done.stderr
