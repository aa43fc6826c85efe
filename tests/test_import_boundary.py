"""What each layer may import, checked in fresh processes in which the rest cannot be imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from cosweep.results.store import Store
from tests.results.rows import curve, trial_row

ROOT = Path(__file__).parents[1]

FORBID = """
import sys
import tomllib
from importlib.metadata import packages_distributions

# None in place of a module makes its import fail as if it were not installed.
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
"""

TRIAL = """
from cosweep.training import TrialSpec, run_trial

spec = TrialSpec.from_dict({
    "data": {"source": "digits", "train_examples": 64},
    "interventions": [{"kind": "inject", "beta": "24/255"}],
    "model": {"name": "preact_resnet", "width": 2},
    "optimizer": {"batch_size": 32, "epochs": 1},
    "probe": {"every": 1, "examples": 8, "pgd_steps": 4},
    "final": {"steps": 1, "restarts": 1, "examples": 8},
})
run = run_trial(spec)
print(spec.trial_id, len(list(run)), run.status)
"""

SETTINGS = """
import pkgutil
import numpy as np
import torch

def settings():
    return (
        torch.get_rng_state().tolist(), torch.initial_seed(), torch.get_num_threads(), torch.get_default_dtype(),
        torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(), np.random.get_state()[1].tolist(),
    )

before = settings()
import cosweep
names = [m.name for m in pkgutil.walk_packages(cosweep.__path__, "cosweep.") if m.name != "cosweep.__main__"]
assert len(names) > 30, names
for name in names:
    __import__(name)
    assert settings() == before, f"importing {name} changed a setting"
assert not torch.cuda.is_initialized()
print("unchanged")
"""

NOT_FOR_THE_CORE = "ray,mlflow,pyarrow,duckdb,sklearn,scipy,pandas,optuna,matplotlib,rich,typer,yaml"


def run_python(code: str, *arguments: str) -> str:
    """Output of a fresh interpreter at the root of the repository; fails the test with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_trial_runs_where_nothing_but_torch_numpy_and_pillow_can_be_imported() -> None:
    loaded = "\nassert not [n for n in sys.modules if n.startswith(('cosweep.results', 'cosweep.sweep'))]"
    trial_id, probes, status = run_python(FORBID + TRIAL + loaded, NOT_FOR_THE_CORE).split()
    assert len(trial_id) == 12
    assert (probes, status) == ("2", "completed")


@pytest.mark.parametrize("wing", ["results", "analysis", "report"])
def test_results_are_read_without_torch_ray_or_mlflow(wing: str) -> None:
    modules = "\n".join(f"import cosweep.{wing}.{path.stem}" for path in (ROOT / "cosweep" / wing).glob("[a-z]*.py"))
    assert modules
    run_python(f"{FORBID}\n{modules}", "torch,torchvision,ray,mlflow")


def test_detectors_and_specs_need_the_standard_library_alone() -> None:
    code = f"{FORBID}\nimport cosweep.detection, cosweep.specs, cosweep.metrics, cosweep.units, cosweep.errors"
    run_python(code, f"torch,torchvision,numpy,PIL,{NOT_FOR_THE_CORE}")


def test_the_package_alone_loads_no_library_and_opens_results_without_torch(tmp_path: Path) -> None:
    libraries = f"torch,numpy,{NOT_FOR_THE_CORE}"
    run_python(f"{FORBID}\nimport cosweep\ncosweep.open_results", libraries)
    Store(tmp_path).write_trial("s", trial_row("a"), curve())
    run_python(
        f"{FORBID}\nimport cosweep\nassert len(cosweep.open_results(sys.argv[2]).trials) == 1",
        "torch,ray,mlflow",
        str(tmp_path),
    )


@pytest.mark.parametrize("command", ["query", "compact"])
def test_commands_on_tables_load_no_torch(tmp_path: Path, command: str) -> None:
    Store(tmp_path).write_trial("s", trial_row("a"), curve())
    arguments = {"query": ["SELECT * FROM trials"], "compact": []}[command]
    code = "from cosweep.cli.commands import app\napp([*sys.argv[2:]], standalone_mode=False)"
    run_python(f"{FORBID}\n{code}", "torch,ray,mlflow", command, *arguments, "--root", str(tmp_path))


def test_the_forbidding_above_forbids() -> None:
    with pytest.raises(AssertionError, match="import of torch halted"):
        run_python(f"{FORBID}\nimport cosweep.training", "torch")


def test_importing_any_module_changes_no_global_setting_and_no_seed() -> None:
    """Of torch and numpy; rich draws from the generator of Python itself when it is imported."""
    assert run_python(SETTINGS).strip() == "unchanged"


def test_the_package_imports_nothing_that_it_does_not_ask_for() -> None:
    """Tools of developers bring much that a user would lack."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in asked}
    brought_by = {module: {name.lower() for name in names} for module, names in packages_distributions().items()}
    unknown = {
        module
        for path in (ROOT / "cosweep").rglob("*.py")
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module not in sys.stdlib_module_names | {"cosweep"} and not brought_by.get(module, set()) & names
    }
    assert unknown == set()


def imported(tree: ast.AST) -> set[str]:
    """Top-level modules that a file imports."""
    found = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    found += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in found}
