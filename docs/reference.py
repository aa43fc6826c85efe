"""Writes docs/reference.md: what a YAML may name and every column of the tables, from the package itself.

make reference
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cosweep.cli.menu_commands import MENUS
from cosweep.cli.tables import menu_table
from cosweep.metrics import ABLATIONS
from cosweep.results.schema import TABLES

PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Reference

`make reference` writes this page from the package; a test fails when it lags. `cosweep list` and
`cosweep query --schema` print the same.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(reference())


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
