"""A study that is killed over and over: in children of this process, which has run it twice and so is warm.

Run as a program: `python study_killed.py WORLD STORE LOG KILLS SEED`. Each child runs the study of `study_toy`; this
process kills it with SIGKILL at a random moment within a quarter of the time that the study takes, so that later
attempts meet a study that is nearly done; KILLS times. LOG gets a line for every training that began and ended,
written by the reporter and not by the study, and "again" where one began whose result was in the store. It ends with a
child that nobody kills.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import toy
from adaptx.study import executors
from adaptx.study.run import run
from study_toy import planned


def study(world: Path, store: Path, log: Path) -> None:
    settings = toy.settings(toy.World(world), store)
    plan = planned(settings)

    def note(event: str, values: dict[str, Any]) -> None:
        if event in ("start", "done"):
            short = values["ref"].rpartition("@")[2]
            finished = any(store.glob(f"*/*/*/*/{short}*/manifest.json"))
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps([event, values["ref"], event == "start" and finished]) + "\n")

    run(plan, settings, executors.InProcess(settings, plan.study, note))


def child(world: Path, store: Path, log: Path) -> int:
    number = os.fork()
    if number == 0:
        try:
            study(world, store, log)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return number


def main() -> None:
    world, store, log = map(Path, sys.argv[1:4])
    kills, rng = int(sys.argv[4]), random.Random(int(sys.argv[5]))
    for name in ("cold", "warm"):
        began = time.monotonic()
        study(world, store.with_name(name), log.with_name("ignored"))
    seconds = (time.monotonic() - began) / 4
    struck = 0
    for _ in range(kills):
        number = child(world, store, log)
        time.sleep(rng.uniform(0, seconds))
        os.kill(number, signal.SIGKILL)
        _, status = os.waitpid(number, 0)
        struck += os.WIFSIGNALED(status)
    _, status = os.waitpid(child(world, store, log), 0)
    print(json.dumps({"struck": struck, "status": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
