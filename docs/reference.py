"""Writes docs/reference.md, what a YAML may name and every column of the tables, and cosweep/results/declared.json.

make reference
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cosweep.cli.menu_commands import MENUS
from cosweep.cli.tables import menu_table
from cosweep.data import INTERVENTIONS
from cosweep.diagnostics import DIAGNOSTICS
from cosweep.metrics import ABLATIONS
from cosweep.results.schema import TABLES

PAGE = Path(__file__).with_name("reference.md")
DECLARED = Path(__file__).parents[1] / "cosweep" / "results" / "declared.json"
HEAD = """# Reference

`make reference` writes this page from the package; a test fails when it lags. `cosweep list` and
`cosweep query --schema` print the same.
"""


def main() -> None:
    """Write both, first what the page reads."""
    if len(sys.argv) == 1:
        DECLARED.write_text(declared())
        subprocess.run([sys.executable, __file__, "page"], check=True)  # which reads it anew
    else:
        PAGE.write_text(reference())


def declared() -> str:
    """What components declare to those who read tables."""
    columns = [column._asdict() for diagnostic in DIAGNOSTICS.values() for column in diagnostic.columns]
    idle = {name: kind.idle_at_zero for name, kind in INTERVENTIONS.items() if kind.idle_at_zero}
    return json.dumps({"diagnostic_columns": columns, "idle_at_zero": idle}, indent=2) + "\n"


def reference() -> str:
    """The text of the page."""
    parts = [HEAD]
    for menu in MENUS:
        table = menu_table(menu)
        parts.append(f"## {menu.capitalize()}\n\n{markdown(table.heads, table.rows)}")
        if table.note:
            parts.append(f"Options of {table.note}\n")
    parts.append(f"## Ablations of `final.on`\n\n{markdown(('name', 'what'), sorted(ABLATIONS.items()))}")
    for name, columns in TABLES.items():
        rows = [(column.name, column.unit, column.meaning) for column in columns]
        parts.append(f"## Columns of `{name}`\n\n{markdown(('column', 'unit', 'meaning'), rows)}")
    parts.append("`trials` also has every other option of the specs, under the name that it has in the YAML.\n")
    return "\n".join(parts)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is code."""
    lines = [heads, ["---"] * len(heads), *([f"`{first}`", *rest] for first, *rest in rows)]
    return "".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
