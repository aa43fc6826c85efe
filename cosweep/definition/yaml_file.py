"""YAML as cosweep reads it: safe, duplicate keys refused, and scalars as in YAML 1.2."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from cosweep.errors import CosweepError, clipped, shown

MOST_BYTES = 10_000_000
MOST_NODES = 200_000
"""Of a text. A few lines of aliases can stand for billions of entries."""
MOST_LEVELS = 100
_TAG = "tag:yaml.org,2002:"
_FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML can be built without libyaml


def _check_size(text: str, where: str) -> None:
    """Nothing, if a text is of a sane size; it is counted as it is read, and nothing of it is kept.

    Raises:
        CosweepError: If it has too many entries or levels.
    """
    try:
        _count(yaml.parse(text, _FastLoader), where)
    except (yaml.YAMLError, UnicodeEncodeError):  # libyaml refuses some texts that the loader reads
        with suppress(yaml.YAMLError):  # the loader comes to the same place, and says better what is wrong there
            _count(yaml.parse(text, yaml.SafeLoader), where)


def _count(events: Iterable[yaml.Event], where: str) -> None:
    count = levels = 0
    for event in events:
        count += isinstance(event, yaml.NodeEvent)
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > MOST_NODES:
            raise CosweepError(f"{where}: not valid YAML: has more than {MOST_NODES:,} entries")
        if levels > MOST_LEVELS:
            raise CosweepError(f"{where}: not valid YAML: nested too deeply, more than {MOST_LEVELS} levels")


class _Loader(yaml.SafeLoader):
    """Safe loader with the scalars of YAML 1.2's core schema: ``on`` is a text, ``010`` is ten."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            count, levels = _size(node, {})
            if count > MOST_NODES or levels > MOST_LEVELS:
                what = f"has more than {MOST_NODES:,} entries" if count > MOST_NODES else "is nested too deeply"
                raise yaml.MarkedYAMLError(None, None, f"{what} once its aliases are written out", node.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key must be a plain text", key_node.start_mark)
            if key_node.value in seen:
                problem = f"the key {shown(key_node.value)} appears twice"
                raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _size(node: yaml.Node, known: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Entries and levels of a node with its aliases written out; infinite if it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf, math.inf  # until it is counted, so that one within itself finds this
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        sizes = [_size(child, known) for child in children]
        known[id(node)] = 1 + sum(count for count, _ in sizes), 1 + max((levels for _, levels in sizes), default=0)
    return known[id(node)]


def _scalar(kind: str, rule: re.Pattern[str], read: Callable[[str], object]) -> Callable[..., object]:
    """Constructor of a kind of scalar, which an explicit tag may have put on any text."""

    def construct(loader: _Loader, node: yaml.Node) -> object:
        if not isinstance(node, yaml.ScalarNode) or not rule.match(node.value):
            what = (
                shown(node.value)
                if isinstance(node, yaml.ScalarNode)
                else f"a {'list' if isinstance(node, yaml.SequenceNode) else 'mapping'}"
            )
            raise yaml.MarkedYAMLError(None, None, f"{what} is no {kind}", node.start_mark)
        return read(node.value)

    return construct


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


# Nothing else: the other tags of YAML 1.1 make dates, sets and bytes, which no definition holds.
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (f"{_TAG}seq", f"{_TAG}map", None)}
# An escape can stand for half a character, which no file and no terminal takes.
_Loader.add_constructor(f"{_TAG}str", _scalar("text", re.compile(r"[^\ud800-\udfff]*\Z"), str))
_Loader.yaml_implicit_resolvers = {}
for _name, _rule, _first, _read in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    ("null", r"~|null|Null|NULL|", "~nN\0", lambda text: None),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789", int),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _float,
    ),
    ("merge", r"<<", "<", str),
):
    _pattern = re.compile(rf"^(?:{_rule})\Z")
    _first_letters = ["" if letter == "\0" else letter for letter in _first]
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _pattern, _first_letters)
    if _name != "merge":
        _Loader.add_constructor(f"{_TAG}{_name}", _scalar(_name, _pattern, _read))


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        CosweepError: If it cannot be read as one, or is too large.
    """
    try:
        with path.open("rb") as file:  # may be a pipe, as of a shell's <(...), so it has no size of its own
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise CosweepError(f"{path}: has more than {MOST_BYTES:,} bytes, which no definition needs")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a UTF-8 text"
        raise CosweepError(f"{path}: cannot be read: {reason}") from error


def parse_yaml(text: str, where: str) -> Any:
    """Content of a YAML text; ``where`` names it in messages.

    Raises:
        CosweepError: If it is not YAML; names line and column.
    """
    _check_size(text, where)
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = clipped(f"{error.context + ', ' if error.context else ''}{error.problem}", 300)
        raise CosweepError(f"{where}{place}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise CosweepError(f"{where}: not valid YAML: nested too deeply") from error
    except (ValueError, yaml.YAMLError) as error:  # a number too long for Python, say
        raise CosweepError(f"{where}: not valid YAML: {clipped(str(error), 300)}") from error
