"""A definition by somebody else: it runs nothing, names nothing outside, and ends with a message."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cosweep.cli.commands import app
from cosweep.definition.search_space import load_sweep
from cosweep.definition.yaml_file import MOST_NODES, parse_yaml
from cosweep.errors import CosweepError, SpecError
from cosweep.redaction import redacted
from cosweep.results.store import Store
from cosweep.training import TrialSpec


def ones(count: int, one: str = "1") -> str:
    """A list in YAML."""
    return f"[{', '.join([one] * count)}]"


SECRET = "s3cr3t-0xdeadbeef"


def laughs(levels: int, line: str) -> str:
    """Each level stands for ten of the one before."""
    first = "l0: &l0 {a: lol}"
    return "\n".join([first, *(line.format(n, ", ".join([f"*l{n - 1}"] * 10)) for n in range(1, levels))])


@pytest.mark.parametrize(
    "text",
    [
        "trial: !!python/object/apply:os.system ['touch {folder}/pwned']",
        "trial: !!python/object/new:subprocess.Popen [['touch', '{folder}/pwned']]",
        "trial: !!python/name:os.system",
        "trial: !!python/module:antigravity",
        "trial: {{model: !!python/object/apply:eval [\"open('{folder}/pwned', 'w')\"]}}",
        "trial: {{model: {{name: os.system}}}}",
        "trial: {{model: {{name: \"__import__('os').system('touch {folder}/pwned')\"}}}}",
        "trial: {{data: {{source: cosweep.data.sources.Digits}}}}",
        "trial: {{interventions: [{{kind: inject, beta: \"__import__('os').system('touch {folder}/pwned')\"}}]}}",
        "trial: {{interventions: [{{kind: inject, beta: 0.1, carriers: ../../etc/passwd}}]}}",
    ],
)
def test_no_definition_names_code_to_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "evil.yaml").write_text("name: evil\n" + text.format(folder=tmp_path))
    with pytest.raises(CosweepError, match=r"not valid YAML|unknown|expected"):
        load_sweep(tmp_path / "evil.yaml")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text",
    [
        laughs(10, "l{0}: &l{0} [{1}]"),
        laughs(10, "l{0}: &l{0} {{<<: [{1}]}}"),
        "a: &a [*a]",
        "a: [" + "1, " * MOST_NODES + "1]",
        "a: [" + "1, " * 3_000_000 + "1]",
        "[" * 5000,
        "a: " + "{a: " * 3000 + "1" + "}" * 3000,
        "a: " + "9" * 5000,
        "\n".join(["l0: &l0 [1]", *(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 400))]),
    ],
    ids=[
        "aliases",
        "merge keys",
        "itself",
        "many",
        "millions",
        "deep lists",
        "deep mappings",
        "number",
        "deep aliases",
    ],
)
def test_a_yaml_bomb_is_refused(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CosweepError, match=r"evil\.yaml.*: not valid YAML: .*(entries|deep|digits|alias)"):
            parse_yaml(text, "evil.yaml")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("trial.model={name: preact_resnet, blocks: " + ones(60) + "}", "trial.model.blocks", "8 * 2**59"),
        ("trial.model={name: preact_resnet, blocks: [1000, 1]}", "trial.model.blocks", "1,001 blocks"),
        ("trial.model={name: preact_resnet, blocks: " + ones(5000) + "}", "trial.model.blocks", "1,000 entries"),
        ("trial.interventions=" + ones(5000, "{kind: inject}"), "trial.interventions", "1,000 entries"),
        ("space.seed.range=[0, 1000000000000]", "space.seed", "range: has 1,000,000,000,000 values"),
        ("search={kind: random, trials: 1000000000}", "search.trials", "must be in [1, 1e+06]"),
        ("trial.optimizer.lr_max=1e308", "trial.optimizer.lr_max", "must be at most 1e+30, got 1e+308"),
        ("trial.optimizer.lr_max=.inf", "trial.optimizer.lr_max", "must be a finite number above 0, got inf"),
        ("trial.x" + ".x" * 5000 + "=1", None, "the path has 5,002 parts"),
        ("name=" + "n" * 10**6, "name", "it has 1,000,000"),
        (f"{'k' * 10**6}=1", None, "unknown key"),
        ("resources.time_limit=1e20", "resources.time_limit", "must be above 0 and at most 1e+08"),
    ],
)  # fmt: skip
def test_a_definition_of_insane_size_is_refused_before_anything_is_built(
    tmp_path: Path, override: str, path: str | None, message: str
) -> None:
    (tmp_path / "s.yaml").write_text("name: s\n")
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "s.yaml"), "--set", override])
    assert result.exit_code == 2
    assert message in result.output
    assert path is None or f"{path}: " in result.output
    assert len(result.output) < 1000


@pytest.mark.parametrize(
    "model",
    [
        {"name": "wide_resnet", "depth": 28, "width": 256},
        {"name": "preact_resnet", "width": 4096, "blocks": [1, 2, 30]},
    ],
)
def test_a_network_that_no_memory_holds_is_refused_before_it_is_made(model: dict[str, Any]) -> None:
    spec = TrialSpec.from_dict({"model": model})
    with pytest.raises(CosweepError, match=r"it has [\d,]+ weights, and at most 1,000,000,000 are allowed"):
        spec.model.check(10, (3, 32, 32))


def test_a_million_faults_are_not_all_told(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"name: s\nspace: {{seed: {[f'x{n}' for n in range(300)]}}}\n")
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "s.yaml")])
    assert "300 faults in the definition" in result.output
    assert "and 200 more" in result.output
    assert len(result.output.splitlines()) < 150


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "..",
        ".",
        ".hidden",
        "a/../../b",
        "a\\b",
        "a\0b",
        "a" * 101,
        "а",  # noqa: RUF001 - a Cyrillic letter that looks like a
        "ａ",  # noqa: RUF001 - a wide one
        "a\nb",
        "a\n",
        "a\x1b[2Jb",
        "sweep=x/y",
        "%2e%2e",
        "~",
        "",
    ],
)
def test_no_name_of_a_sweep_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.yaml").write_text("trial: {}\n")
    escaped = "".join(f"\\U{ord(letter):08x}" for letter in name)
    with pytest.raises(SpecError, match=r"name: name .* must start with a letter or digit"):
        load_sweep(tmp_path / "evil.yaml", [f'name="{escaped}"'])
    for act in (Store(tmp_path).sweep_record, Store(tmp_path).curves, Store(tmp_path).pulse):
        with pytest.raises(CosweepError, match="must start with a letter or digit"):
            act(name)


ADDRESSES = [
    f"http://me:{SECRET}@host:5000",
    f"s3://AKIA:{SECRET}@bucket/runs",
    f"s3://AKIA:with/slash+{SECRET}@bucket/runs",
    f"s3://bucket/runs?access_key=AKIA&secret_key={SECRET}",
    f"gs://bucket/runs?access_token={SECRET}",
    f"abfs://account:{SECRET}@container/path",
    f"postgresql+psycopg2://me:p@ss:{SECRET}@host/db",
    f"mysql://host/db?user=me&password={SECRET}",
    f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={SECRET}",
    f"https://account.blob.core.windows.net/x?sig={SECRET}",
    f"https://{SECRET}@host/mlflow",
    f"HTTPS://{SECRET}@host",
    f"mysql://user%3A{SECRET}@host/db",
    f"postgresql://ghp_9aB{SECRET}0123456789abcdef@host/db",
    f"https://host/x#access_token={SECRET}",
    f"https://host/x#state=1&access_token={SECRET}&y=1",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+18%7D%3BUID%3Dme%3BPWD%3D{SECRET}%3BTrusted%3Dno",
    f"mssql+pyodbc:///?odbc_connect=PWD%3D{SECRET}",
    f"mssql+pyodbc:///?odbc_connect=Server%3Dx%3B+Pwd%3d{SECRET}",
    f"https://host/login?next=%2Fx%253Fapi_key%253D{SECRET}%2526a%253D1",
    f"mysql://host/db?user=me&pass={SECRET}",
]
PLACES = ["tracking.uri", "results.root", "trial.data.root"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_its_secret(address: str) -> None:
    shown = redacted(f"cannot reach '{address}', see {address} (or not)")
    assert SECRET not in shown
    assert shown.count("***") >= 2
    assert shown.endswith(" (or not)")


@pytest.mark.parametrize(
    "address",
    [
        "http://host:5000/x",
        "s3://bucket/runs?region=eu-1&scheme=http",
        "sqlite:////home/me/mlflow.db",
        "postgresql://me@host/db",
        "postgresql://training-service-2026-eu@host/db",
        "abfss://container0123456789abcdef@account.dfs.core.windows.net/runs",
        "https://host/x#page=2",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+18%7D%3BUID%3Dme",
        "plain text: me@host, key=1",
    ],
)
def test_an_address_without_a_secret_is_shown_whole(address: str) -> None:
    assert redacted(address) == address


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_definition_keeps_a_secret(tmp_path: Path, address: str, place: str) -> None:
    (tmp_path / "s.yaml").write_text("trial: {data: {source: image_parquet, root: nowhere}}\n")
    result = CliRunner().invoke(app, ["validate", str(tmp_path / "s.yaml"), "--set", f"{place}={address}"])
    assert result.exit_code == 2
    assert f"{place}: a password would be kept with the results" in result.output
    assert SECRET not in result.output


def test_a_secret_that_is_overridden_or_commented_out_is_not_kept_either(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"# was s3://AKIA:{SECRET}@bucket\nname: s\ntracking: {{uri: 'http://me:{SECRET}@host'}}\n")
    sweep = load_sweep(file, ["tracking.uri=null", f"trial.seed=3 # http://me:{SECRET}@host"])
    assert "tracking" in sweep.source
    assert SECRET not in str(sweep.record())


@pytest.mark.parametrize("command", [["status"], ["query", "SELECT 1"], ["report", "s"], ["compact"], ["sync"], ["ui"]])
def test_no_message_shows_the_secret_of_a_location(command: list[str]) -> None:
    address = f"s3://AKIA:{SECRET}@bucket/runs?endpoint_override=127.0.0.1:1&scheme=http&region=eu-1"
    result = CliRunner().invoke(app, [*command, "--root", address])
    assert result.exit_code == 2
    assert "cannot be reached" in result.output
    assert SECRET not in result.output
