"""Explains and evaluates with ever less memory, by the system's own limit: `python
short_of_memory.py FOLDER`. Prints what came of it, a line of JSON for each try.
"""

import ctypes
import gc
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import vqa_explain as vx

SIDE = 48
WIDE = 512  # maps, so that one example takes 4.5 MiB on its way through the network
MIB = 2**20
HOW: dict[str, dict[str, Any]] = {
    "rise": {"budget": 120},
    "occlusion": {"window": 16, "stride": 16},
    "integrated_gradients": {"steps": 16},
}
M_MMAP_THRESHOLD = -3  # mallopt(3): what is larger is asked of the system each time, none kept
ROOM = (2, 40, 400)  # MiB: for less than one example, for a few, and for many


class Wide(nn.Module):
    """A network whose memory is known: `WIDE` maps of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.look, self.answer = nn.Conv2d(3, WIDE, 1), nn.Linear(WIDE, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.answer(torch.tanh(self.look(x)).mean(dim=(2, 3)))
        return scores


def to_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@contextmanager
def room_for(mebibytes: int) -> Iterator[None]:
    """Inside, the process may grow by so much."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + mebibytes * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def tried(call: Any) -> tuple[Any, str]:
    """What a call gave, or its one sentence."""
    try:
        return call(), ""
    except vx.VQAExplainError as error:
        return None, f"{type(error).__name__}: {error}"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MIB) == 1
    model = vx.load(Wide(), transform=to_tensor, labels=["a", "b", "c"], device="cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    examples = [vx.Example(one, answer="a", id=str(n)) for n, one in enumerate(pictures)]
    for method, how in HOW.items():

        def explained(method: str = method, how: dict[str, Any] = how) -> np.ndarray:
            given = how if method == "integrated_gradients" else {"regions": 3, **how}
            found: np.ndarray = vx.explain(model, examples[0], method=method, **given).image
            return found

        whole = explained()
        for room in ROOM:
            with room_for(room):
                found, said = tried(explained)
            close = found is not None and bool(np.allclose(found, whole, atol=1e-5))
            print(json.dumps([method, room, close, said]), flush=True)

    def run(name: str) -> vx.Report:
        return vx.evaluate(
            model, examples, ["saliency"], ["accuracy", "deletion:steps=2"], folder / name,
            shard=1, workers=1,
        )  # fmt: skip

    whole = run("whole").frame()
    for room in ROOM:
        with room_for(room):
            _, said = tried(lambda room=room: run(str(room)))
        shards = len(list((folder / str(room) / "shards").glob("examples-*")))
        after = run(str(room))
        wrong = set(after.errors()["index"])
        kept = after.frame()[~after.frame()["index"].isin(wrong)].reset_index(drop=True)
        others = whole[~whole["index"].isin(wrong)].reset_index(drop=True)
        # Batches of other sizes round otherwise.
        same = bool(np.allclose(kept.pop("value"), others.pop("value"), atol=1e-5))
        same = same and kept.equals(others)
        notes = sorted(set(after.errors()["note"]))
        print(json.dumps(["evaluate", room, same, said, shards, notes]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
