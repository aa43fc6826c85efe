"""What the package's own code may not do, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cosweep

FILES = sorted(Path(cosweep.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "telnetlib", "ftplib"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"}
UNPICKLES = {"allow_pickle", "shell"}


def faults(tree: ast.AST) -> Iterator[str]:
    """What a file does that it must not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {name.name}" for name in node.names if name.name.split(".")[0] in MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES and not only_errors(node):
            yield f"from {node.module} import"
        if isinstance(node, ast.Call):
            yield from call_faults(node)


def only_errors(node: ast.ImportFrom) -> bool:
    """Whether nothing but names of exceptions is imported, which do nothing."""
    return all(alias.name.endswith("Error") for alias in node.names)


def call_faults(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    options = {option.arg: ast.unparse(option.value) for option in call.keywords if option.arg}
    if name in CALLS or name.endswith((".read_pickle", ".to_pickle")):
        yield name
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all") and [ast.unparse(a) for a in call.args[1:]] != ["_Loader"]:
        yield "yaml.load with another loader than cosweep's, which is safe"
    yield from (f"{name}({option}=True)" for option in UNPICKLES if options.get(option, "False") != "False")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_file_unpickles_evaluates_or_starts_a_shell(file: Path) -> None:
    assert list(faults(ast.parse(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "eval(x)",
        "os.system(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "yaml.load(x, yaml.Loader)",
        "yaml.unsafe_load(x)",
        "subprocess.run(x, shell=True)",
        "pd.read_pickle(x)",
    ],
)
def test_the_reader_of_syntax_trees_sees(text: str) -> None:
    assert len(list(faults(ast.parse(text)))) == 1


def test_the_loader_of_yaml_is_a_safe_one() -> None:
    import yaml

    from cosweep.definition import yaml_file

    assert issubclass(yaml_file._Loader, yaml.SafeLoader)
    assert not issubclass(yaml_file._Loader, yaml.UnsafeLoader)
