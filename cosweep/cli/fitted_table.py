"""A table that fits the terminal it is printed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from cosweep.terminal import visible
from cosweep.wording import counted

_GAP = 2
"""Characters between two columns."""
_NARROW = 10
"""Characters to which texts are folded rather than left out."""
_ON_END = 14
"""Characters to which all is folded in a table on end."""


@dataclass
class FittedTable:
    """Rows of texts under heads. What the console has no room for is left out and counted, never blanked.

    Long texts are folded. Where that is too wide still, few rows stand on end, a line for each column; more rows have
    texts folded further, and if that is not enough lose their last columns: a line below says how many, and where
    they are.

    Attributes:
        heads: Of the columns.
        rows: A text for each column.
        title: A line above.
        note: A line below.
        right: Heads of columns whose texts end at the right.
        elsewhere: Where columns are that are left out.
        least: Characters to which a column may be folded.
        word: Characters of the longest word that stays whole.
        turns: Whether it may stand on end.
    """

    heads: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    title: str = ""
    note: str = ""
    right: Sequence[str] = ()
    elsewhere: str = "a wider terminal shows them"
    least: int = 16
    word: int = 24
    turns: bool = True

    def add_row(self, *texts: str) -> None:
        """Another row, with a text for each column."""
        self.rows.append(texts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self._fitted(options.max_width)
        if self.title:
            yield Text(self.title, style="table.title")
        yield shown._drawn(options.max_width)
        for note in filter(None, (shown.note, self.note)):
            yield Text(note, style="italic")

    def _fitted(self, width: int) -> FittedTable:
        """This table; or it on end; or as many of its columns as fit, with a note on the others."""
        fitting = self._fitting(width)
        if fitting == len(self.heads):
            return replace(self, note="")
        if self.turns and 0 < len(self.rows) < width // _ON_END:
            on_end = self._on_end()
            if on_end._fitting(width) == len(on_end.heads):
                return on_end
        narrow = replace(self, note="", least=min(self.least, _NARROW))
        if narrow._fitting(width) == len(self.heads):
            return narrow
        count = max(fitting, 1)
        note = f"{len(self.heads) - count} of {counted(len(self.heads), 'column')} left out: {self.elsewhere}"
        rows = [row[:count] for row in self.rows]
        return replace(self, heads=self.heads[:count], rows=rows, note=note if count < len(self.heads) else "")

    def _on_end(self) -> FittedTable:
        """A row for each column; the texts of the first column are the heads."""
        lines = [(self.heads[i], *(row[i] for row in self.rows)) for i in range(len(self.heads))]
        return replace(self, heads=lines[0], rows=list(lines[1:]), note="", right=(), least=_ON_END, word=_ON_END)

    def _fitting(self, width: int) -> int:
        """How many columns fit, from the left."""
        width += _GAP  # the last has none
        for count in range(len(self.heads)):
            width -= self._widths(count)[0] + _GAP
            if width < 0:
                return count
        return len(self.heads)

    def _widths(self, column: int) -> tuple[int, int]:
        """Characters that a column needs, and those it needs not to be folded."""
        texts = [visible(self.heads[column]), *(visible(row[column]) for row in self.rows)]
        widest = max(cell_len(line) for text in texts for line in text.split("\n"))
        word = max((cell_len(word) for text in texts for word in text.split()), default=0)
        return min(widest, max(min(word, self.word), self.least)), widest

    def _drawn(self, width: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True)
        for head, room in zip(self.heads, self._shared(width), strict=True):
            side: JustifyMethod = "right" if head in self.right else "left"
            table.add_column(Text(visible(head)), width=room, justify=side, overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(visible(text)) for text in row))
        return table

    def _shared(self, width: int) -> list[int]:
        """Characters of each column: what it needs, and a share of what is left where that saves folding."""
        needs = [self._widths(column) for column in range(len(self.heads))]
        left = width - _GAP * (len(needs) - 1) - sum(least for least, _ in needs)
        if left < 0:  # a single column that is wider than the console
            return [width]
        given = [least for least, _ in needs]
        folded = sorted((widest - least, column) for column, (least, widest) in enumerate(needs) if widest > least)
        for number, (wanted, column) in enumerate(folded):
            more = min(wanted, left // (len(folded) - number))
            given[column] += more
            left -= more
        return given
