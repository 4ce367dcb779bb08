"""What one explanation costs on each family: tiny random checkpoints, then networks of published
sizes.

    python benchmarks/model_cost.py          # everything, about 20 minutes on two cores
    python benchmarks/model_cost.py tiny     # the tiny ones only
    python benchmarks/model_cost.py full     # those of published sizes only
    python benchmarks/model_cost.py SmolVLM  # one of these

Tiny: seconds of integrated gradients of 16 nodes, leave one out, and Shapley values of a 3 × 3 grid
and the words at a budget of 200, of an answer of one token among two, with the model loaded.

Published sizes: the same at budgets of 64 and 256, and how many CPU seconds that is for each
coalition or step, as a multiple of those of a bare forward pass of one example at its best batch
size, measured just before. (Other programs change seconds, and CPU seconds little.) Peak memory is
what the process holds at most, the network included. The picture's regions are filled with the
mean, or dropped: `image_fill="drop"` is another game, in which the tokens of absent regions leave
the prompt, and pictures are looked at once. A second argument chooses methods whose name has it:

    python benchmarks/model_cost.py SmolVLM "budget 64"
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published
import torch

import vqa_explain as vx
from vqa_explain.errors import VQAExplainError

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import checkpoints
from custom_net import custom
from families import example_for

METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 16},
    "leave_one_out": {},
    "shapley": {"budget": 200},
}
LARGE: dict[str, dict[str, Any]] = {
    "integrated gradients, 16 steps": {"method": "integrated_gradients", "steps": 16},
    "leave one out": {"method": "leave_one_out", "image_fill": "mean"},
    "Shapley, budget 64": {"method": "shapley", "budget": 64, "image_fill": "mean"},
    "Shapley, budget 256": {"method": "shapley", "budget": 256, "image_fill": "mean"},
    "Shapley, budget 64, dropped": {"method": "shapley", "budget": 64, "image_fill": "drop"},
    "Shapley, budget 256, dropped": {"method": "shapley", "budget": 256, "image_fill": "drop"},
}
# Of Qwen2.5-VL-3B, two layers of each side: all of it does not fit two cores' patience.
SIZES: dict[str, Callable[[], published.Made]] = {
    "ViLT": published.vilt,
    "SmolVLM-256M": published.smolvlm,
    "Qwen2.5-VL-3B, 2 of 36 layers": lambda: published.qwen2_5_vl(2, 2),
}


def row(name: str, model: Any, picture: np.ndarray) -> None:
    """Prints one line of the table of tiny ones."""
    example = example_for(model, picture)
    own = {"answers": ["yes", "no"]} if model.labels is None else {}
    parts = {} if model.family == "lxmert" else {"regions": 3}
    seconds = []
    for method, parameters in METHODS.items():
        began = time.perf_counter()
        vx.explain(model, example, method=method, **own, **parts, **parameters)
        seconds.append(time.perf_counter() - began)
    size = sum(p.numel() for p in model.module.parameters())
    print(
        f"| {name} | {size / 1e6:.2f} | " + " | ".join(f"{s:.2f}" for s in seconds) + " |",
        flush=True,
    )


def tiny() -> None:
    print(
        "| model | M parameters | integrated gradients | leave one out | Shapley |\n| --- | --- | "
        "--- | --- | --- |"
    )
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for family in checkpoints.MAKERS:
            path = checkpoints.checkpoint(family, Path(folder))
            row(family, vx.load(path, device="cpu"), picture)
    row("custom", custom(), picture)


def bare_seconds(model: Any) -> tuple[float, int]:
    """CPU seconds of a forward pass per example, and the batch size at which they are least."""
    tensors = published.encoded_tensors(model)
    found = {}
    with torch.no_grad():
        for batch in (1, 2, 4, 8):
            given = published.repeated(tensors, batch)
            model.module(**given)
            began = time.process_time()
            model.module(**given)
            found[batch] = (time.process_time() - began) / batch
    best = min(found, key=found.__getitem__)
    return found[best], best


def forget_peak() -> None:
    """The peak begins anew, where the system can do that."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def peak_bytes() -> int:
    """The most memory that the process held since; 0 where the system does not say."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def full(wanted: str = "", methods: str = "") -> None:
    """Prints the table of published sizes, of networks and methods whose names have these."""
    print(f"{torch.get_num_threads()} threads")
    print("| network | method | seconds | CPU seconds | passes | × a bare pass | peak GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, make in SIZES.items():
        if wanted not in name:
            continue
        module, processor = published.drawn(make)
        model = vx.load(module, processor=processor, device="cpu")
        size = sum(p.numel() for p in module.parameters())
        bare, batch = bare_seconds(model)
        print(
            f"| {name}, {size / 1e6:.0f} M | a bare pass, in batches of {batch} | | {bare:.2f} | 1 "
            f"| 1 | {peak_bytes() / 1e9:.1f} |",
            flush=True,
        )
        own = {"answers": ["yes", "no"]} if model.labels is None else {}
        for said, settings in LARGE.items():
            if methods not in said:
                continue
            forget_peak()
            began, began_work = time.perf_counter(), time.process_time()
            try:
                why = vx.explain(model, published.example(), regions=3, **own, **settings)
            except VQAExplainError as error:
                print(f"| {name} | {said} | refused: {error} | | | | |", flush=True)
                continue
            seconds, work = time.perf_counter() - began, time.process_time() - began_work
            passes = why.cost.forwards
            print(
                f"| {name} | {said} | {seconds:.1f} | {work:.1f} | {passes} | "
                f"{work / passes / bare:.2f} | {peak_bytes() / 1e9:.1f} |",
                flush=True,
            )


def main() -> None:
    """Prints the tables."""
    warnings.filterwarnings("ignore")
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked in ("", "tiny"):
        tiny()
    if asked != "tiny":
        full("" if asked == "full" else asked, *sys.argv[2:3])


if __name__ == "__main__":
    main()
