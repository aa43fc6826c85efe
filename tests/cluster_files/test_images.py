"""cluster/Dockerfile, linted and held against what it copies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pathspec import PathSpec

from tests.cluster_files.files import CLUSTER, ROOT

DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
COPIED = [name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]


def test_hadolint_finds_no_fault() -> None:
    # DL3008 wants versions of Debian's packages, which are gone from its archive with the next update.
    linter = Path(sys.executable).parent / "hadolint"
    command = [linter if linter.exists() else "hadolint", "--ignore", "DL3008", CLUSTER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", COPIED)
def test_what_is_copied_is_there_and_sent_to_the_builder(name: str) -> None:
    ignored = PathSpec.from_lines("gitignore", (ROOT / ".dockerignore").read_text().splitlines())
    assert (ROOT / name).exists()
    files = [path for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file() and path.suffix != ".pyc"]
    assert files
    assert not [path for path in files if ignored.match_file(path.relative_to(ROOT))]


@pytest.mark.parametrize("name", ["results/a.parquet", "secrets.env", ".git/config", "tests/tiny.py", ".venv/bin/ray"])
def test_nothing_else_is_sent_to_the_builder(name: str) -> None:
    assert PathSpec.from_lines("gitignore", (ROOT / ".dockerignore").read_text().splitlines()).match_file(name)


def test_both_images_run_as_a_user_with_the_python_of_the_package() -> None:
    minor = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert re.findall(r"^FROM python:([\d.]+)", DOCKERFILE, re.MULTILINE) == [minor]
    stages = re.split(r"^FROM base AS ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert [stage.split()[0] for stage in stages] == ["mlflow", "cosweep"]
    assert all("\nUSER 1000:1000\n" in stage for stage in stages)


def test_ray_in_the_image_refuses_to_start_without_a_token() -> None:
    assert "RAY_AUTH_MODE=token" in DOCKERFILE
