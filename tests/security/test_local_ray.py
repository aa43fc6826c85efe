"""What cosweep does about Ray's files and environment, without starting it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosweep.cluster.local_ray import close_token_file, private_cluster


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray/auth_token"
    file.parent.mkdir()
    return file


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o660, 0o600), (0o600, 0o600), (0o400, 0o400)])
def test_a_token_that_others_can_read_is_closed(token_file: Path, before: int, after: int) -> None:
    token_file.write_text("token")
    token_file.chmod(before)
    close_token_file()
    assert token_file.stat().st_mode & 0o777 == after


def test_a_token_that_is_a_link_is_left_alone(token_file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    (tmp_path / "other").chmod(0o644)
    token_file.symlink_to(tmp_path / "other")
    close_token_file()
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o644


def test_no_token_is_no_trouble(token_file: Path) -> None:
    close_token_file()
    assert not token_file.exists()


def test_a_token_of_the_user_is_kept_and_without_one_there_is_a_fresh_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        "RAY_USAGE_STATS_ENABLED",
    ):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    with private_cluster():
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with private_cluster():
        assert os.environ["RAY_AUTH_TOKEN"] == "mine"


def test_the_folder_of_a_cluster_is_private_and_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with private_cluster() as options:
        private = Path(options["_temp_dir"]).parent
        assert private.stat().st_mode & 0o777 == 0o700
        assert options["include_dashboard"] is False
    assert not private.exists()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with private_cluster() as options:
        assert "_temp_dir" not in options
