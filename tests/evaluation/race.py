"""Two runs of different plans begin at once in a new folder: `python race.py FOLDER STARTS`.

Prints how many runs got the folder at each start. One process forks for all of them, so that both
begin within microseconds. It has one thread, which a fork can copy.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.store import Store

GOT, REFUSED = 10, 20
PLAN = Plan("model", "", "data", "", None, ("saliency",), ("accuracy",))


def contend(folder: Path, seed: int, start: int, end: int) -> int:
    """Waits for the start, tries to get the folder, and holds it until the end; then it must still
    be this plan's, or no report could be read.
    """
    store, plan = Store(folder), replace(PLAN, seed=seed)
    os.read(start, 1)
    try:
        with store.opened(plan):
            os.read(end, 1)
            if store.plan().hash != plan.hash:
                return REFUSED
    except InvalidInput:
        return REFUSED
    return GOT


def winners(folder: Path) -> int:
    """How many of two runs got a folder."""
    (start, starting), (end, ending) = os.pipe(), os.pipe()
    children = []
    for seed in range(2):
        child = os.fork()
        if child == 0:
            os.close(ending)  # so that it ends with this process
            os._exit(contend(folder, seed, start, end))
        children.append(child)
    os.write(starting, b"..")
    # The first that ends is one that was refused, unless none is.
    _, first = os.wait()
    os.write(ending, b"..")
    _, second = os.wait()
    for pipe in (start, starting, end, ending):
        os.close(pipe)
    codes = [os.waitstatus_to_exitcode(status) for status in (first, second)]
    assert set(codes) <= {GOT, REFUSED}, codes
    return codes.count(GOT)


def main(folder: str, starts: int) -> None:
    print([winners(Path(folder) / str(number)) for number in range(starts)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
