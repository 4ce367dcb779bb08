"""One process that explains for an hour: does it keep memory and files, and does it still say the
same at the end?

    python benchmarks/long_run.py --minutes 60

Every method that works on the scenes model explains one question after another; each explanation is
also written as bytes and as a page. Before and after, every method explains the same question, and
the two must agree bit for bit. Memory is the resident size after each round of all methods; the
first quarter of the rounds, without the first round (in which everything is loaded), is compared
with the last.
"""

import argparse
import gc
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

import vqa_explain as vx
from vqa_explain.errors import Unsupported
from vqa_explain.explanation import Explanation
from vqa_explain.methods import METHODS
from vqa_explain.models.base import Model

# Small budgets, so that a round is short and many methods and examples take part.
PARAMETERS = {
    "shapley": {"budget": 500},
    "owen": {"budget": 500},
    "banzhaf": {"budget": 500},
    "interactions": {"budget": 1000},
    "rise": {"budget": 500},
    "lime": {"budget": 500},
    "integrated_gradients": {"steps": 16},
    "occlusion": {"window": 24, "stride": 24},
}


def one(model: Model, example: vx.Example, method: str) -> Explanation | None:
    """An explanation, or `None` where this network lacks what the method needs."""
    try:
        return vx.explain(model, example, method=method, **PARAMETERS.get(method, {}))
    except vx.VQAExplainError as error:
        if "budget" in str(error) or not isinstance(error, vx.InvalidInput | Unsupported):
            raise
        return None


def numbers(why: Explanation) -> list[np.ndarray]:
    return [
        why.image,
        np.array([r.value for r in why.regions]),
        np.array([w.value for w in why.words]),
    ]


def main(minutes: float) -> None:
    model, data = vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")
    before = {
        name: numbers(why) for name in METHODS if (why := one(model, data[0], name)) is not None
    }
    names = list(before)
    process, began = psutil.Process(), time.monotonic()
    sizes, files, count = [], [], 0
    folder = Path(tempfile.mkdtemp())
    while time.monotonic() - began < 60 * minutes or len(sizes) < 9:
        for name in names:
            why = one(model, data[count % len(data)], name)
            why.save(folder / "why.vqax")
            why.to_html(folder / "why.html")
            count += 1
        del why
        gc.collect()
        sizes.append(process.memory_info().rss / 2**20)
        files.append(process.num_fds())
        print(
            f"{(time.monotonic() - began) / 60:6.1f} min  {count:6d}  {sizes[-1]:7.1f} MiB  "
            f"{files[-1]} files",
            flush=True,
        )
    shutil.rmtree(folder)
    after = {name: numbers(one(model, data[0], name)) for name in names}
    same = all(
        np.array_equal(a, b)
        for name in names
        for a, b in zip(before[name], after[name], strict=True)
    )
    rounds = sizes[1:]
    early, late = np.median(rounds[: len(rounds) // 4]), np.median(rounds[-(len(rounds) // 4) :])
    print(
        f"{count} explanations by {len(names)} methods in {(time.monotonic() - began) / 60:.0f} "
        f"min: memory {early:.0f} → {late:.0f} MiB ({100 * (late / early - 1):+.1f} %), open files "
        f"{files[0]} → {files[-1]}, results at the end {'equal' if same else 'DIFFER FROM'} those "
        "at the beginning"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    main(parser.parse_args().minutes)
