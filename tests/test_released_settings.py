"""The search spaces that name authors' settings have them, but for the places that they declare."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosweep.definition.search_space import load_sweep
from cosweep.units import parse_pixels

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/released_code.md"
FILES = sorted(file for folder in ("paper", "tables") for file in (ROOT / "search_spaces" / folder).glob("*.yaml"))
_SETTINGS = re.compile(r'^# Settings: "(.+)" of docs/released_code\.md(?:, but for (.+))?$', re.MULTILINE)


@cache
def columns() -> dict[str, dict[str, Any]]:
    """The page's tables: name of a column to place to value, blank cells left out."""
    found: dict[str, dict[str, Any]] = {}
    names: list[str] = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "place":
            names = cells[1:]
            found |= {name: {} for name in names}
        elif names and cells[0].startswith("`"):
            for name, cell in zip(names, cells[1:], strict=True):
                if cell:
                    found[name][cells[0].strip("`")] = value_of(cell)
    return found


def value_of(cell: str) -> Any:
    return parse_pixels(cell) if "/" in cell else yaml.safe_load(cell)


def places(value: Any, path: str = "") -> dict[str, Any]:
    """Every place of a trial's plain data to its value; options of the method also under its name."""
    found = {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found |= places(item, f"{path}.{key}" if path else str(key))
    if not path:
        found |= {f"{value['method']['name']}.{option}": item for option, item in value["method"].items()}
    return found


def departures(file: Path, settings: dict[str, Any]) -> set[str]:
    """Places in which some trial of a search space is not as the settings say."""
    found = set()
    for trial in load_sweep(file).trials:
        have = places(trial.to_dict())
        for place, setting in settings.items():
            wanted = have["method.epsilon"] if setting == "epsilon" else setting
            if place in have and have[place] != wanted:
                section, option = place.rsplit(".", 1)
                found.add(f"method.{option}" if section == have["method.name"] else place)
    return found


def test_the_page_has_the_columns_that_search_spaces_name_and_no_other() -> None:
    named = {match[1] for file in FILES if (match := _SETTINGS.search(file.read_text()))}
    assert named == set(columns())
    assert all(len(settings) > 20 for settings in columns().values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_search_space_has_the_settings_that_it_names_but_where_it_says_not(file: Path) -> None:
    match = _SETTINGS.search(file.read_text())
    assert match, f"{file.name} does not say whose settings it has"
    declared = set(match[2].split(", ")) if match[2] else set()
    assert departures(file, columns()[match[1]]) == declared
