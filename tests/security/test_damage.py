"""Results folders damaged at random, with fixed seeds: each command ends, with what it can read or one message."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cosweep.cli.commands import app
from cosweep.results.compaction import compact_sweep
from cosweep.results.store import Store
from tests.results.sweeps import write_sweep

COMMANDS = (
    ["status"],
    ["query", "SELECT * FROM trials", "--format", "json"],
    ["query", "SELECT * FROM curves JOIN trials USING (trial_id)"],
    ["query", "SELECT * FROM all_snapshots", "--format", "csv"],
    ["query", "--schema"],
    ["compact"],
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    -1,
    2**62,
    1e308,
    float("nan"),
    "\x1b[2J",
    [],
    {"a": 1},
    True,
    "[" * 5000,
    '{"interventions": 5}',
)
ODD_JSON = ("", "null", "[" * 100_000, '{"schema_version": 1e400}', "{}", '"\\ud800"', '{"trial_ids": [5]}')
REPORT = ["report", "made"]
SEEDS = range(12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sound results folder, and the same compacted."""
    plain, compacted = (tmp_path_factory.mktemp(name) / "results" for name in ("plain", "compacted"))
    store = Store(plain)
    write_sweep(store, epsilons=(48 / 255, 64 / 255), betas=(0.0, 16 / 255), snapshots=True)
    store.write_pulse("made", {"running": {"a": 0.5}, "ended": False})
    shutil.copytree(plain, compacted)
    compact_sweep(Store(compacted), "made")
    return [plain, compacted]


def flip_bits(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 8, 100])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def grow(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(rng.choice([10**4, 1 << 40]))


def change_rows(path: Path, rng: random.Random) -> None:
    """Other values, types, names or numbers of rows in a file of Parquet; text in the place of another file."""
    if path.suffix != ".parquet":
        path.write_text(rng.choice(ODD_JSON))
        return
    table = pq.read_table(path, partitioning=None)
    column = rng.randrange(table.num_columns)
    values = [rng.choice(ODD_VALUES)] * len(table)
    changes: list[Callable[[], pa.Table]] = [
        lambda: table.set_column(column, table.column_names[column], pa.array(values)),
        lambda: table.drop_columns([table.column_names[column]]),
        lambda: table.rename_columns(["sweep" if i == column else n for i, n in enumerate(table.column_names)]),
        lambda: pa.concat_tables([table, table]),
        lambda: table.slice(0, len(table) // 2),
        lambda: table.append_column("x" * 1000, pa.array([b"\xff"] * len(table))),
    ]
    pq.write_table(rng.choice(changes)().replace_schema_metadata({b"cosweep_schema_version": b"1"}), path)


def change_json(path: Path, rng: random.Random) -> None:
    """Another value at one key of a file of JSON; another file is emptied."""
    if path.suffix != ".json":
        path.write_bytes(b"")
        return
    content: dict[str, Any] = json.loads(path.read_text())
    content[rng.choice(list(content))] = rng.choice(ODD_VALUES)
    path.write_text(json.dumps(content))


DAMAGES = (flip_bits, cut, grow, change_rows, change_rows, change_json)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_folder_ends_no_command_with_a_traceback(folders: list[Path], tmp_path: Path, seed: int) -> None:
    rng, root = random.Random(seed), tmp_path / "results"
    shutil.copytree(folders[seed % 2], root)
    done = []
    for _ in range(rng.choice([1, 1, 3])):
        path = rng.choice(sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size))
        damage = rng.choice(DAMAGES)
        done.append((damage.__name__, path.relative_to(root)))
        damage(path, rng)
    for command in [*rng.sample(COMMANDS, 3), *([REPORT] if seed == 0 else [])]:
        result = CliRunner().invoke(app, [*command, "--root", str(root)])
        assert result.exit_code in (0, 2), (command, done, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), (command, done)
