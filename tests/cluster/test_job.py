"""Where the results of a Ray job go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosweep.cluster.job import settled
from cosweep.definition.search_space import parse_sweep
from cosweep.definition.sweep import ResultsSpec, Sweep, TrackingSpec


def sweep(root: str, uri: str | None = None) -> Sweep:
    made = parse_sweep({"trial": {}})
    return replace(made, results=ResultsSpec(root=root), tracking=TrackingSpec(uri=uri))


@pytest.mark.parametrize(
    ("root", "uri", "settled_root", "settled_uri"),
    [
        ("results", None, "{home}/results", None),
        ("a/b", "sqlite:///mlflow.db", "{home}/a/b", "sqlite:///{home}/mlflow.db"),
        ("/shared/results", "sqlite:////shared/m.db", "/shared/results", "sqlite:////shared/m.db"),
        ("s3://bucket/results", "http://server:5000", "s3://bucket/results", "http://server:5000"),
    ],
)
def test_a_job_leaves_nothing_in_its_temporary_folder(
    root: str,
    uri: str | None,
    settled_root: str,
    settled_uri: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COSWEEP_HOME", str(tmp_path))
    assert settled(sweep(root, uri)) == sweep(root, uri)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    found = settled(sweep(root, uri))
    assert found.results.root == settled_root.format(home=tmp_path)
    assert found.tracking.uri == (settled_uri and settled_uri.format(home=tmp_path))


def test_without_a_home_of_its_own_it_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COSWEEP_HOME", raising=False)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert settled(sweep("results")).results.root == str(Path.home() / "cosweep" / "results")
