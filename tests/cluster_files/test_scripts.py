"""All shell of cluster/: the scripts, those of its tests, and the commands of its README."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster_files.files import CLUSTER, ROOT, shell_blocks
from tests.cluster_files.programs import program

SCRIPTS = [CLUSTER / "slurm.sh", CLUSTER / "mlflow" / "server.sh"]
SCRIPTS += [ROOT / "tests" / "cluster_files" / "slurm" / name for name in ("two_nodes.sh", "bin/srun")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_no_fault(script: Path) -> None:
    done = subprocess.run([program("shellcheck", "shellcheck"), script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("number", range(len(shell_blocks())))
def test_the_commands_of_the_readme_are_shell(number: int) -> None:
    command = [program("shellcheck", "shellcheck"), "--shell=bash", "-"]
    done = subprocess.run(command, input=shell_blocks()[number], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_files_that_the_readme_names_exist() -> None:
    text = (CLUSTER / "README.md").read_text()
    named = set(re.findall(r"(?:cluster|tests|search_spaces)/[\w./-]+\.(?:yaml|sh|ini|py|md)", text))
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]
    assert not [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (CLUSTER / link).exists()]


def test_every_file_of_the_folder_is_explained() -> None:
    text = (CLUSTER / "README.md").read_text()
    files = [str(path.relative_to(ROOT)) for path in CLUSTER.rglob("*") if path.is_file() and path.name != "README.md"]
    assert files
    assert not [name for name in files if name not in text]
