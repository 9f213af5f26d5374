"""One of several processes that train together, as torchrun starts them: python rank.py WORLD STORE METHOD TASK OUT."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import toy
from adaptx.engine import loop
from adaptx.training import prepare, run

OPTIONS = replace(toy.OPTIONS, epochs=2, lr=1e-2, batch_tokens=96)
FULL = 1e-3  # the rate for all weights: Adam takes rounding for gradients where there are none (the keys' biases)


def main(world: str, store: str, method: str, task: str, out: str) -> None:
    """Train and write the losses of every step, the dev scores and where the adapter is."""
    seen: list[loop.Progress] = []
    train = loop.train

    def watched(*args: Any) -> loop.Progress:
        seen.append(train(*args))
        return seen[-1]

    loop.train = watched
    settings = toy.settings(toy.World(Path(world)), Path(store))
    options = replace(OPTIONS, method=method, lr=FULL if method == "full" else OPTIONS.lr)
    stored = run(prepare(settings, "en", task, options))
    value = {"losses": seen[0].losses, "scores": seen[0].scores, "tokens": seen[0].tokens, "folder": str(stored.folder)}
    Path(out).write_text(json.dumps({**value, "cost": stored.manifest.cost}))


if __name__ == "__main__":
    main(*sys.argv[1:])
