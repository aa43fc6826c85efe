"""Commands that say what a definition may hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cosweep.errors import UnknownNameError

if TYPE_CHECKING:
    pass

from cosweep.cli.app import app, console, reports_errors

MENUS = ("methods", "interventions", "carriers", "models", "data", "diagnostics", "detectors")


@app.command("schema")
@reports_errors
def print_schema() -> None:
    """The JSON Schema of a definition, for editors that complete and check YAML."""
    from cosweep.definition.schema import sweep_schema

    console.write_bytes((json.dumps(sweep_schema(), indent=1) + "\n").encode())


@app.command("list")
@reports_errors
def list_names(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"Some of {', '.join(MENUS)}, with commas.")] = ",".join(
        MENUS
    ),
) -> None:
    """What a definition may name, with one line and the source of each."""
    from cosweep.cli.tables import menu_table

    for name in what.split(","):
        if name not in MENUS:
            raise UnknownNameError("menu", name, MENUS)
        console.print(menu_table(name), "")
