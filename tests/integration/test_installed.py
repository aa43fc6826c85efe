"""The package as a user has it who did not clone: built, installed into an environment of its own, used elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.processes import TINY, wait_for
from tests.servers import answers, free_port

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "cosweep")
COUNT = "SELECT count(*) trials FROM trials WHERE data_hash LIKE 'simulated%'"
FEW = ["--set", "space.seed.grid=[0]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from a copy, since building leaves files among the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source"))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def user(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of an environment with the built package; what the package needs is that of this environment."""
    home = tmp_path_factory.mktemp("user") / "env"
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    needed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "needed.pth").write_text("\n".join(needed))
    pip("--python", str(home / "bin/python"), "install", "--no-deps", "--no-index", str(wheel))
    return home


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def used(user: Path, folder: Path, program: str, *arguments: str) -> str:
    """What a program of the environment prints in a folder; fails the test if it fails."""
    command = [str(user / "bin" / program), *arguments]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    tracked = {path for path in (ROOT / "cosweep").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert len(tracked) > 130
    with zipfile.ZipFile(wheel) as archive:
        missing = {str(path.relative_to(ROOT)) for path in tracked} - set(archive.namelist())
    assert missing == set()


def test_a_sweep_its_report_queries_and_mlflow_work_from_an_installed_package(user: Path, tmp_path: Path) -> None:
    where = used(user, tmp_path, "python", "-c", "import cosweep; print(cosweep.__file__)")
    assert where.startswith(str(user)), "the environment takes the checkout"
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert "4 done" not in used(user, tmp_path, "cosweep", "validate", "tiny.yaml")
    output = used(user, tmp_path, "cosweep", "run", "tiny.yaml", *FEW)
    assert "2 done" in output
    page = tmp_path / "results/reports/tiny/report.html"
    assert "dataset.ready" in page.read_text(), "the page lacks its script"
    page.unlink()
    used(user, tmp_path, "cosweep", "report", "tiny")
    assert page.exists()
    rows = json.loads(used(user, tmp_path, "cosweep", "query", "SELECT status FROM trials", "--format", "json"))
    assert [row["status"] for row in rows] == ["completed"] * 2
    port = free_port()
    with subprocess.Popen([str(user / "bin/cosweep"), "ui", "tiny", "--port", str(port)], cwd=tmp_path) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}"))
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(60)


def test_a_benchmark_drives_simulated_trials_with_an_installed_package(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    benchmark = str(ROOT / "benchmarks/scale.py")
    used(user, tmp_path, "python", benchmark, "--drive", "driven", "--trials", "20", "--at-once", "2")
    rows = json.loads(used(user, tmp_path, "cosweep", "query", COUNT, "--root", "driven", "--format", "json"))
    assert rows == [{"trials": 20}]
