"""What must hold after anything hostile: a right answer or one clear error,
and nothing left behind.
"""

import random
import re
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from conftest import linear_algebra_threads

import vqa_explain as vx

# Bounded time of the processor, which other work on the machine does not use up: far above what any
# case takes, far below a hang.
SECONDS = 60
GROWTH = 2**20  # bounded memory: KiB that the largest size of the process may grow by


def called(value: object) -> str:
    """The name of a case, without the address of an object: equal in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def hooks(module: torch.nn.Module) -> int:
    """How many hooks hang on a network's layers."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in module.modules() for kind in kinds)


def largest_size() -> int:
    """KiB that the process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def state(module: torch.nn.Module) -> dict[str, Any]:
    """All that a call must leave as it was."""
    # As a tuple with `legacy=True`, where NumPy's types say a dictionary.
    numpy_state: Any = np.random.get_state(legacy=True)
    found = {
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "numpy's random state": numpy_state[1].tobytes(),
        "python's random state": str(random.getstate()),
        "threads of torch": torch.get_num_threads(),
        "threads of linear algebra": linear_algebra_threads(),
        "gradients on": torch.is_grad_enabled(),
    }
    if module is not None:
        found["hooks"] = hooks(module)
        found["training"] = module.training
        found["trained weights"] = tuple(p.requires_grad for p in module.parameters())
    return found


def started_since(threads: set[threading.Thread]) -> list[threading.Thread]:
    """The threads that are new and do not end; another test's may come and go meanwhile."""
    ends = time.monotonic() + 10
    while True:
        left = [one for one in threading.enumerate() if one not in threads]
        if not left or time.monotonic() > ends:
            return left
        time.sleep(0.05)


@contextmanager
def unchanged(module: Any = None, folder: Any = None, may_add: Any = ()) -> Iterator[None]:
    """Nothing global changes inside, and no file but those of `may_add` stays in a folder."""
    before, began, size = state(module), time.process_time(), largest_size()
    files, threads = set(folder.rglob("*")) if folder else set(), set(threading.enumerate())
    yield
    after = state(module)
    assert [what for what in before if before[what] != after[what]] == []
    assert started_since(threads) == []
    assert time.process_time() - began < SECONDS
    assert largest_size() - size < GROWTH
    if folder:
        left = {path for path in set(folder.rglob("*")) - files if path.name not in may_add}
        assert left == set()


def clear(error: Any, said: str) -> str:
    """The error's text, which says this (a pattern) in at most a few lines."""
    text = str(error)
    assert re.search(said, text), text
    assert "Traceback" not in text
    assert len(text) < 1500
    return text


def refused(call: Any, said: Any) -> str:
    """The call ends with one `VQAExplainError` that says this (a pattern),
    in at most a few lines.
    """
    with pytest.raises(vx.VQAExplainError) as caught:
        call()
    return clear(caught.value, said)


def answered_or_refused(call: Any, said: str = ".") -> Any:
    """What the call gave, or `None` where it was refused in one clear error that says this (a
    pattern).
    """
    try:
        return call()
    except vx.VQAExplainError as error:
        clear(error, said)
        return None
