"""Trials that do not train: the rows they leave, and that nobody takes them for real ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.simulation import SimulatedRun, drawn_curve, recorded_curves
from cosweep.analysis.verdicts import VERDICT_SCHEMA, detect_file
from cosweep.cli.commands import app
from cosweep.definition.search_space import parse_sweep
from cosweep.detection import Chance
from cosweep.detection.collapse import Collapse
from cosweep.errors import SpecError
from cosweep.metrics import ProbeMetrics
from cosweep.results.schema import TABLES, table_from_rows
from cosweep.training import TrialRun, TrialSpec
from cosweep.worker.rows import finished_row
from tests.tiny import CPU, digits, tiny_spec

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def specs(count: int, **sections: object) -> list[TrialSpec]:
    return [TrialSpec.from_dict({"seed": seed, **sections}) for seed in range(count)]


def finished(spec: TrialSpec) -> tuple[SimulatedRun, list[ProbeMetrics]]:
    run = SimulatedRun(spec, CPU)
    return run, list(run)


def test_a_trial_shows_the_same_curve_whatever_ran_before_it() -> None:
    first = {spec.trial_id: finished(spec)[1] for spec in specs(20)}
    again = {spec.trial_id: finished(spec)[1] for spec in reversed(specs(20))}
    assert first == again
    assert len({id(drawn_curve(spec)) for spec in specs(200)}) > len(recorded_curves()) / 2


def test_its_verdict_is_that_of_detect_on_the_same_curve(tmp_path: Path) -> None:
    runs = [(spec.trial_id, *finished(spec)) for spec in specs(60)]
    names = ("step", "clean_acc", "fgsm_acc", "pgd_acc")
    rows = [{"trial_id": i, **{name: getattr(p, name) for name in names}} for i, _, curve in runs for p in curve]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "curves.parquet")
    expected = detect_file(tmp_path / "curves.parquet", Collapse(), Chance(10)).to_pylist()
    found = [{"trial_id": trial_id, **run.verdict.to_dict()} for trial_id, run, _ in runs]
    assert pa.Table.from_pylist(found, VERDICT_SCHEMA).to_pylist() == expected
    assert {verdict["state"] for verdict in expected} >= {"healthy", "co"}


@pytest.mark.parametrize(("after_steps", "statuses"), [(0, {"completed", "stopped"}), ("never", {"completed"})])
def test_it_stops_by_the_rule_of_its_spec(after_steps: object, statuses: set[str]) -> None:
    for spec in specs(60, stop={"co": {"after_steps": after_steps}}):
        run, curve = finished(spec)
        assert run.steps == curve[-1].step
        assert run.status in statuses
        assert (run.status == "stopped") == (run.verdict.co and after_steps == 0 and run.steps < run.total_steps)
        if run.status == "completed":
            assert curve == list(drawn_curve(spec))


def test_its_row_has_every_column_of_a_real_one_and_says_simulated() -> None:
    spec = tiny_spec()
    rows = []
    for run in (SimulatedRun(spec, CPU), TrialRun(spec, CPU, digits(spec.data.train_examples))):
        curve = list(run)
        rows.append(finished_row(run, "abc", STARTED))
        assert len(table_from_rows([{"trial_id": "a", **probe.to_dict()} for probe in curve], TABLES["curves"]))
    simulated, real = rows
    assert simulated.keys() == real.keys()
    assert (simulated["device"], real["device"]) == ("simulated", "cpu")
    assert simulated["robust_acc"] == simulated["pgd_acc"]
    assert (simulated["train_images"], real["train_images"]) == (None, 256)


def test_it_leaves_the_trial_that_trains_as_it_is() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    finished(tiny_spec())
    assert torch.equal(torch.get_rng_state(), before)


def test_no_definition_can_ask_for_one() -> None:
    assert "simulat" not in CliRunner().invoke(app, ["list"]).output.lower()
    for raw in ({"trial": {"simulated": True}}, {"trial": {"method": {"name": "simulated"}}}):
        with pytest.raises(SpecError, match=r"unknown (key|method) 'simulated'"):
            parse_sweep(raw)
