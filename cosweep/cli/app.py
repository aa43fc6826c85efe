"""The application of the command line: its consoles, the options that commands share, and how errors are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.markup import escape

from cosweep import __version__
from cosweep.errors import CosweepError, SpecError
from cosweep.redaction import redacted
from cosweep.terminal import SafeConsole, hold_standard_streams
from cosweep.wording import counted

if TYPE_CHECKING:
    from cosweep.analysis.findings import Findings
    from cosweep.results.store import Store

P = ParamSpec("P")

app = typer.Typer(
    help="Where single-step adversarial training breaks: sweeps, breaking points, phase diagrams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
hold_standard_streams()
# A log or a pipe has no width of its own; 80 columns would cut tables.
_width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
console = SafeConsole(highlight=False, width=_width)
errors = SafeConsole(stderr=True, highlight=False)

MOST_BAD_FILES = 20
_MOST_FAULTS = 100

# What these do is kept whether or not it can be told; what the others print is all they do.
_GO_ON = ("run", "compact", "sync", "report")


Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a place of the definition; repeatable.")
]
Root = Annotated[str, typer.Option(help="Where the results are.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep definition in YAML.")]


class Format(StrEnum):
    """Output formats of tables."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Command that ends with exit code 2 and one message, without traceback, on an error of the user's."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SpecError as error:
            errors.print(f"[red]error:[/] {counted(len(error.faults), 'fault')} in the definition")
            for fault in error.faults[:_MOST_FAULTS]:
                errors.print(f"  {escape(str(fault))}", soft_wrap=True)
            if len(error.faults) > _MOST_FAULTS:
                errors.print(f"  and {len(error.faults) - _MOST_FAULTS:,} more")
            raise typer.Exit(2) from None
        except CosweepError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2) from None
        if console.problem is not None and command.__name__ not in _GO_ON:
            raise typer.Exit(0 if isinstance(console.problem, BrokenPipeError) else 2)

    return run


def _version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
) -> None:
    """Where single-step adversarial training breaks: sweeps, breaking points, phase diagrams."""


def printable(text: str) -> str:
    """A text of the user's as it can be printed between markup."""
    return escape(redacted(text))


def warn_of_bad_files(store: Store) -> None:
    bad_files = store.bad_files
    for bad in bad_files[:MOST_BAD_FILES]:
        word = "skipped" if bad.left_out else "in doubt:"
        errors.print(f"[yellow]{word}[/] {escape(bad.path)}: {escape(bad.problem)}", soft_wrap=True)
    skipped = sum(bad.left_out for bad in bad_files)
    if skipped > 1:
        errors.print(f"{skipped} files could not be read; their rows are missing above", soft_wrap=True)


if __name__ == "__main__":
    app()


def print_findings(findings: Findings) -> None:
    """Print where the trials of a sweep broke, and what its interventions changed."""
    from cosweep.cli.tables import breaking_point_table, effect_table, phase_tables

    if not findings.diagrams:
        console.print("no trial has finished yet")
        return
    broke = any(row["co"] for row in findings.rows)
    tables = phase_tables(findings)
    tables += [breaking_point_table(findings)] if broke else []
    tables += [effect_table(findings)] if findings.effects else []
    for table in tables:
        console.print(table, "")
    if not broke:
        console.print("no trial broke")
