"""What ``ray job submit --working-dir .`` sends to a cluster."""

from __future__ import annotations

import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.runtime_env.packaging import create_package

from tests.cluster_files.files import ROOT

DECOYS = (
    "results/trials/a.parquet",
    "data/images.parquet",
    ".venv/lib/torch.so",
    "mlruns/a",
    "secrets.env",
    "cosweep/__pycache__/a.pyc",
    "docs/a.md",
    "statistics.py",
    "mlflow.py",
    "search_spaces.py",
)


def upload(folder: Path, target: Path) -> set[str]:
    """Names of the files in the archive that Ray makes of a folder."""
    create_package(str(folder), target, include_gitignore=True)
    with ZipFile(target) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_the_code_and_all_search_spaces_go_and_nothing_large(tmp_path: Path) -> None:
    sent = upload(ROOT, tmp_path / "sent.zip")
    code = {str(path.relative_to(ROOT)) for path in ROOT.glob("cosweep/**/*") if path.suffix in (".py", ".npz", ".js")}
    spaces = {str(path.relative_to(ROOT)) for path in ROOT.glob("search_spaces/**/*.yaml")}
    assert len(code) > 100
    assert code | spaces | {"pyproject.toml"} <= sent
    assert {name.split("/")[0] for name in sent} == {"cosweep", "search_spaces", "pyproject.toml"}
    with ZipFile(tmp_path / "sent.zip") as archive:
        assert max(member.file_size for member in archive.infolist()) < 50_000
    assert (tmp_path / "sent.zip").stat().st_size < 1_500_000  # Ray does not compress it


@pytest.mark.parametrize("decoy", DECOYS)
def test_results_data_and_secrets_stay_here(tmp_path: Path, decoy: str) -> None:
    for name in (decoy, "mine.yaml", "cosweep/data/sources.py"):
        (tmp_path / "work" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / name).write_text("x")
    for name in (".rayignore", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / "work")
    assert upload(tmp_path / "work", tmp_path / "sent.zip") == {"mine.yaml", "cosweep/data/sources.py"}
