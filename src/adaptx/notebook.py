"""Results as small tables, in plain text for a prompt and in HTML for a notebook. Knows no adapter and no score."""

from dataclasses import dataclass
from html import escape

STYLE = "border-collapse:collapse;font-variant-numeric:tabular-nums"
CELL = "padding:.3em .8em;border-bottom:1px solid #8884;vertical-align:top"


@dataclass(frozen=True)
class Grid:
    """A titled table. A cell may have several lines; the first column is text, the others are flushed right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Aligned with spaces."""
        blocks = [[cell.split("\n") for cell in row] for row in (self.columns, *self.rows)]
        widths = [max((len(x) for block in blocks for x in block[i]), default=0) for i in range(len(self.columns))]
        lines = [self.title]
        for block in blocks:
            for n in range(max(map(len, block))):
                parts = [cell[n] if n < len(cell) else "" for cell in block]
                first, *rest = (
                    x.rjust(w) if i else x.ljust(w) for i, (x, w) in enumerate(zip(parts, widths, strict=True))
                )
                lines.append("  ".join([first, *rest]).rstrip())
        return "\n".join([*lines, *self.notes])

    def html(self) -> str:
        """A `<table>`; every text is escaped."""

        def cells(kind: str, row: tuple[str, ...]) -> str:
            return "".join(
                f'<{kind} style="{CELL};text-align:{"right" if i else "left"}">'
                f"{escape(cell).replace(chr(10), '<br>')}</{kind}>"
                for i, cell in enumerate(row)
            )

        body = "".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        notes = "".join(f"<div><small>{escape(note)}</small></div>" for note in self.notes)
        caption = f'<caption style="text-align:left"><b>{escape(self.title)}</b></caption>'
        return f'<table style="{STYLE}">{caption}<tr>{cells("th", self.columns)}</tr>{body}</table>{notes}'
