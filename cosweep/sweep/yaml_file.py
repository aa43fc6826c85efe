"""YAML as cosweep reads it: safe, duplicate keys refused, and scalars as in YAML 1.2."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from cosweep.errors import CosweepError

MOST_NODES = 200_000
"""Of a text. A few lines of aliases can stand for billions of entries."""


class _Loader(yaml.SafeLoader):
    """Safe loader with the plain scalars of YAML 1.2's core schema: ``on`` is a text, ``010`` is ten."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _size(node, {}) > MOST_NODES:
            problem = f"has more than {MOST_NODES:,} entries once its aliases are written out"
            raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key must be a plain text", key_node.start_mark)
            if key_node.value in seen:
                problem = f"the key {key_node.value!r} appears twice"
                raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Entries of a node with its aliases written out; infinite if it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is counted, so that one within itself finds this
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


_Loader.yaml_implicit_resolvers = {}
for _tag, _rule, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    _first_letters = ["" if letter == "\0" else letter for letter in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_rule})$"), _first_letters)


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        CosweepError: If it cannot be read as one.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        raise CosweepError(f"{path}: cannot be read: {reason}") from error


def parse_yaml(text: str, where: str) -> Any:
    """Content of a YAML text; ``where`` names it in messages.

    Raises:
        CosweepError: If it is not YAML; names line and column.
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = f"{error.context + ', ' if error.context else ''}{error.problem}"
        raise CosweepError(f"{where}{place}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise CosweepError(f"{where}: not valid YAML: nested too deeply") from error
    except ValueError as error:  # a number too long for Python, say
        raise CosweepError(f"{where}: not valid YAML: {error}") from error
    except yaml.YAMLError as error:
        raise CosweepError(f"{where}: not valid YAML: {error}") from error
