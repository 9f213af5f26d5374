"""One of several processes that push to, pull from and remove from one hub until they are stopped or killed.

Each works under a language of its own, and every third turn under one that all of them write to; it removes only its
own. What it has done goes to stdout, a line before a removal and after a push. A file "stop" ends it after a turn.
"""

import random
import sys
from pathlib import Path

import hub_toy
import toy
from adaptx import hub, store
from adaptx.errors import AdaptxError
from adaptx.refs import Ref

LANGUAGES = ("aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh")
SHARED = "zz"


def main(number: int, root: Path, world: Path, place: str) -> None:
    settings = toy.settings(toy.World(world), root / f"store{number}", cache=root / "cache")
    rng = random.Random(number)
    pushed: list[Ref] = []
    turn = 0
    while not (root / "stop").exists():
        turn += 1
        stored = hub_toy.small(settings, lang=LANGUAGES[number], seed=turn)
        (done,) = hub.push(settings, stored, place)
        pushed.append(hub_toy.ref_of(stored))
        print("push", done.entry.version, flush=True)
        if turn % 3 == 0:
            (done,) = hub.push(settings, hub_toy.small(settings, lang=SHARED, seed=turn), place)
            print("push", done.entry.version, flush=True)
        other = Ref(rng.choice((*LANGUAGES, SHARED)), "anli")
        try:
            for got in hub.pull(settings, other, place):
                store.verified(got.stored.folder)
        except AdaptxError as error:
            if error.code not in ("AX080", "AX081"):  # nobody has pushed it yet, or it was removed just now
                raise
        if turn % 2 == 0:
            gone = pushed.pop(rng.randrange(len(pushed)))
            version = hub.info(place, gone, settings.cache)["version"]
            print("remove", version, flush=True)
            hub.remove(place, gone, settings.cache)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
