"""The table of `adaptx eval` as a picture of a terminal: python docs/terminal.py OUT.svg LANG TASKS [STORE]

Prints what the store has and trains nothing. A browser turns the SVG into a PNG.
"""

import sys
from pathlib import Path
from unittest.mock import patch

from rich.console import Console

import adaptx
from adaptx.cli import result


def main(out: str, lang: str, tasks: str, store: str = "store") -> None:
    """Record the table that a terminal would show and write it as SVG."""
    scores = adaptx.evaluate(lang, tasks=tasks, store=store, may_train=False)
    console = Console(record=True, width=100, force_terminal=True)
    with patch.object(result, "Console", lambda *_, **__: console):
        result.print_table(scores.table)
    Path(out).write_text(console.export_svg(title=f"adaptx eval {lang} --tasks {tasks}"), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
