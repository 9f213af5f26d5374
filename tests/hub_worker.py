"""One of several processes that push to, pull from and remove from one folder hub until time is up or they are killed.

Each works under a language of its own and writes what it has done to stdout, a line before a removal and after a push.
"""

import random
import sys
import time
from pathlib import Path

import hub_toy
import toy
from adaptx import hub, store
from adaptx.errors import AdaptxError
from adaptx.refs import Ref

LANGUAGES = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")


def main(number: int, root: Path, world: Path, seconds: float) -> None:
    settings = toy.settings(toy.World(world), root / f"store{number}", cache=root / "cache")
    rng, place, stop = random.Random(number), str(root / "hub"), time.monotonic() + seconds
    pushed: list[Ref] = []
    turn = 0
    while time.monotonic() < stop:
        turn += 1
        stored = hub_toy.small(settings, lang=LANGUAGES[number], seed=turn)
        (done,) = hub.push(settings, stored, place)
        pushed.append(hub_toy.ref_of(stored))
        print("push", done.entry.version, flush=True)
        other = Ref(rng.choice(LANGUAGES), "anli")
        try:
            for got in hub.pull(settings, other, place):
                store.verified(got.stored.folder)
        except AdaptxError as error:
            if error.code not in ("AX080", "AX081"):  # nobody has pushed it yet, or it was removed just now
                raise
        if turn % 4 == 0:
            gone = pushed.pop(rng.randrange(len(pushed)))
            version = hub.info(place, gone, settings.cache)["version"]
            print("remove", version, flush=True)
            hub.remove(place, gone, settings.cache)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
