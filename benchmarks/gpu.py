"""Every method on a GPU against the same on the CPU, and what coalitions cost there.

    python benchmarks/gpu.py                        # needs a CUDA device; meant to take eight minutes
    python benchmarks/gpu.py --part published       # full-size networks alone
    python benchmarks/gpu.py --device cpu --tiny    # tries the script itself

The first table gives, for each kind of model, the largest difference of a value between the two
devices, as a share of the largest value. Models are tiny checkpoints with random weights, in
float32 with TensorFloat-32 off. Methods that draw use numpy's random numbers, which are the same on
both. The second table gives coalitions per second of full-size random classifiers against bare
forward passes at the best batch. The third does so for ViLT, SmolVLM-256M and Qwen2.5-VL-3B with
random weights, with steps of integrated gradients, peak memory, how far the scores of coalitions
are from those of the CPU, and what a batch becomes for which memory lacks.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import published
import torch
import torchvision
from torchvision.transforms import v2

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.errors import VQAExplainError
from vqa_explain.game import Game, make_players
from vqa_explain.methods import METHODS
from vqa_explain.target import Target

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "models"))
QUESTION = "What color is the circle?"
SETTINGS: dict[str, dict[str, Any]] = {
    "shapley": {"budget": 200},
    "owen": {"budget": 200},
    "banzhaf": {"budget": 200},
    "lime": {"budget": 200},
    "rise": {"budget": 200},
    "interactions": {"budget": 400},
}


def picture(seed: int = 0, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Blobs of color."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (shape[0] // 8, shape[1] // 8, 3), dtype=np.uint8)
    return np.kron(small, np.ones((8, 8, 1), dtype=np.uint8))


def drawn(make: Callable[[], Any]) -> Any:
    """A network with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def resizing(size: int) -> Any:
    return v2.Compose(
        [v2.ToImage(), v2.Resize((size, size)), v2.ToDtype(torch.float32, scale=True)]
    )


def makers() -> dict[str, Callable[[str], tuple[Any, vx.Example]]]:
    """Name → what makes the model on a device, with an example."""
    from checkpoints import MAKERS

    asked = vx.Example(picture(), QUESTION)

    def shipped(device: str) -> tuple[Any, vx.Example]:
        return vx.load("scenes", device=device), vx.load_dataset("scenes:test")[0]

    def resnet(device: str) -> tuple[Any, vx.Example]:
        net = drawn(lambda: torchvision.models.resnet18(num_classes=5))
        labels = [f"class {i}" for i in range(5)]
        model = vx.load(net, transform=resizing(96), labels=labels, device=device)
        return model, vx.Example(picture())

    def checkpoint(name: str) -> Callable[[str], tuple[Any, vx.Example]]:
        def load(device: str) -> tuple[Any, vx.Example]:
            network, processor = drawn(MAKERS[name])
            model = vx.load(network, processor=processor, device=device)
            return model, asked if len(model.features) > 1 else vx.Example(picture())

        return load

    names = [name for name in MAKERS if name not in ("lxmert", "custom")]
    return {"scenes": shipped, "resnet18": resnet, **{name: checkpoint(name) for name in names}}


def compared(device: str) -> int:
    """Prints a row for each model; the number of methods that failed on the device alone."""
    print("| model | methods | largest difference | by | failed there alone |")
    print("| --- | --- | --- | --- | --- |")
    failures = 0
    for name, load in makers().items():
        try:
            (plain, example), (there, _) = load("cpu"), load(device)
        except Exception as error:  # a row of the table says it
            print(
                f"| {name} | – | – | – | {type(error).__name__}: {str(error)[:150]} |", flush=True
            )
            failures += 1
            continue
        differences, failed = {}, []
        for method in METHODS:
            settings = {"method": method, "regions": 3, **SETTINGS.get(method, {})}
            if plain.labels is None:
                settings["answers"] = ["yes", "red circle"]
            try:
                one = vx.explain(plain, example, **settings)
            except VQAExplainError:
                continue  # the table of methods says which model it takes
            try:
                other = vx.explain(there, example, target=one.target, **settings)
            except Exception:  # of any kind: the point is to see them
                failed.append(f"{method}: {traceback.format_exc().splitlines()[-1][:150]}")
                continue
            differences[method] = difference(one, other)
        worst = max(differences, key=differences.__getitem__, default="")
        largest = f"{differences[worst]:.1e}" if worst else "–"
        failures += len(failed)
        said = "; ".join(failed) or "none"
        print(f"| {name} | {len(differences)} | {largest} | {worst} | {said} |", flush=True)
    return failures


def difference(one: vx.Explanation, other: vx.Explanation) -> float:
    """Of two explanations' values of words and regions, as a share of the largest."""
    values = [np.array([part.value for part in (*why.words, *why.regions)]) for why in (one, other)]
    largest = np.abs(values[0]).max()
    return float(np.abs(values[0] - values[1]).max() / largest) if largest else 0.0


def seconds(call: Callable[[], Any], device: str) -> float:
    """Of the fastest of three calls, each waited for."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found)


def coalitions_per_second(device: str, count: int) -> None:
    """Prints coalitions of full-size networks against bare passes of as many pictures."""
    print("| network | coalitions per second | bare passes per second | ratio |")
    print("| --- | --- | --- | --- |")
    for name, size in (("vit_b_16", 224), ("resnet50", 224), ("convnext_tiny", 224)):
        net = drawn(lambda name=name: torchvision.models.get_model(name, num_classes=10))
        labels = [f"class {i}" for i in range(10)]
        model = vx.load(net, transform=resizing(size), labels=labels, device=device)
        encoded = model.encode(vx.Example(picture(shape=(224, 224))))
        players = make_players(encoded, {"image": 7})
        target = Target(0)
        game = Game(model, encoded, players, {"image": "mean"}, (target,), seed=0)
        game = game.for_target(target, Cost())
        rng = np.random.default_rng(0)

        def coalitions(game: Game = game, rng: np.random.Generator = rng) -> np.ndarray:
            # Others each time, since a game keeps the scores that it knows.
            return game(rng.random((count, len(game))) < 0.5)

        @torch.no_grad()
        def bare(net: Any = model.module, pixels: Any = encoded.pixels, batch: int = 64) -> None:
            for _ in range(count // batch):
                net(pixels.expand(batch, -1, -1, -1).contiguous())

        coalitions()  # finds its batch
        ours = count / seconds(coalitions, device)
        by_batch = {
            batch: count / seconds(lambda batch=batch: bare(batch=batch), device)
            for batch in (16, 64, 256)
            if batch <= count
        }
        theirs = max(by_batch.values())
        print(f"| {name} | {ours:.0f} | {theirs:.0f} | {theirs / ours:.2f} × |", flush=True)


def game_of(model: Any) -> Game:
    """The game of regions filled with the mean, and words, without anything known yet."""
    encoded = model.encode(published.example())
    if model.labels is None:
        encoded = model.with_answers(encoded, ["yes", "no"])
    fills = {one.name: one.feature.default_fill for one in encoded.inputs} | {"image": "mean"}
    return Game(model, encoded, make_players(encoded, {"image": 3}), fills, Target(0))


def coalitions_of(game: Game, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, len(game))) < 0.5


def loaded(made: published.Made, device: str, number_type: torch.dtype) -> Any:
    module, processor = made
    return vx.load(module.to(number_type), processor=processor, device=device)


def agreement(make: Callable[[], published.Made], device: str) -> tuple[float, float]:
    """How far scores of coalitions are from those of the CPU in float32, as a share of the largest:
    in float32 and in bfloat16.
    """
    plain = game_of(loaded(published.drawn(make), "cpu", torch.float32))
    rows = coalitions_of(plain, 6)
    theirs = plain(rows)
    found = []
    for number_type in (torch.float32, torch.bfloat16):
        ours = game_of(loaded(published.drawn(make), device, number_type))(rows)
        found.append(float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
    return found[0], found[1]


def bare_rate(model: Any, device: str) -> tuple[float, int]:
    """Bare passes per second, and the batch size at which there are most."""
    tensors = published.encoded_tensors(model)
    found = {}
    for batch in (1, 4, 16, 64):
        given = published.repeated(tensors, batch)

        def bare(given: dict[str, torch.Tensor] = given) -> None:
            with torch.no_grad():
                model.module(**given)

        try:
            found[batch] = batch / seconds(bare, device)
        except torch.OutOfMemoryError:
            break
    best = max(found, key=found.__getitem__)
    return found[best], best


def once(call: Callable[[], Any], device: str) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def without_memory(model: Any, rows: np.ndarray, wanted: np.ndarray, device: str) -> str:
    """What became of a batch for which memory lacks, and whether its scores are the same."""
    game = game_of(model)
    tried = len(rows)
    if device == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(
            min(1.0, (torch.cuda.memory_reserved() + 0.01 * total) / total)
        )
        before = game._batches.fitting.most
        try:
            found = game(rows)
        except VQAExplainError as error:
            return str(error)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    else:  # no fraction of it can be asked for, so that one layer says that it lacks
        before = game._batches.fitting.most

        def refuse(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = [*args, *named.values()]
            if any(isinstance(one, torch.Tensor) and one.ndim and len(one) > 2 for one in given):
                raise torch.OutOfMemoryError("forced")

        parts = model.module.named_modules()
        layer = [m for n, m in parts if ".0." in n and isinstance(m, torch.nn.Linear)][-1]
        handle = layer.register_forward_pre_hook(refuse, with_kwargs=True)
        try:
            found = game(rows)
        finally:
            handle.remove()
    off = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    return f"{min(before, tried)} → {min(game._batches.fitting.most, tried)}, off by {off:.0e}"


def published_networks(device: str, count: int, tiny: bool) -> None:
    """Prints what full-size networks do, in bfloat16 but for what is compared with the CPU."""
    print(
        "| network | float32 off by | bfloat16 off by | coalitions per second | bare passes per "
        "second | ratio | IG steps per second | peak GB | batch without memory |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, (make, small) in published.NETWORKS.items():
        chosen = small if tiny else make
        few = chosen
        if not tiny and name.startswith("Qwen"):  # all layers would take minutes on the CPU
            few = lambda: published.qwen2_5_vl(4, 4)  # noqa: E731
        exact, rough = agreement(few, device)
        model = loaded(published.drawn(chosen), device, torch.bfloat16)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        game = game_of(model)
        game(coalitions_of(game, count, 1))  # finds its batch
        rows = coalitions_of(game, count)
        ours = count / once(lambda game=game, rows=rows: game(rows), device)
        theirs, batch = bare_rate(model, device)
        own = {"answers": ["yes", "no"]} if model.labels is None else {}
        settings = {"method": "integrated_gradients", "steps": 32, "target": "yes", **own}
        if model.labels is not None:
            del settings["target"]
        ask = lambda model=model, settings=settings: vx.explain(  # noqa: E731
            model, published.example(), **settings
        )
        ask()
        steps = 32 / once(ask, device)
        peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")
        halved = without_memory(model, rows[:64], game(rows[:64]), device)
        print(
            f"| {name} | {exact:.1e} | {rough:.1e} | {ours:.1f} | {theirs:.1f} (batches of {batch})"
            f" | {theirs / ours:.2f} × | {steps:.1f} | {peak:.1f} | {halved} |",
            flush=True,
        )
        if not exact <= 1e-4:
            raise SystemExit(f"{name}: float32 differs from the CPU by more than 1e-4")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=2048)
    parser.add_argument("--part", choices=["methods", "classifiers", "published"])
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the script")
    asked = parser.parse_args()
    if asked.tiny:
        asked.count = min(asked.count, 64)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if asked.device == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    parts = [asked.part] if asked.part else ["published", "classifiers", "methods"]
    failures = 0
    if "published" in parts:
        published_networks(asked.device, min(asked.count, 256), asked.tiny)
    if "classifiers" in parts:
        coalitions_per_second(asked.device, asked.count)
    if "methods" in parts:
        failures = compared(asked.device)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
