"""Which method finds the true regions and words of scenes best within a second: the choice of
the default: the most region mass of those that have a word mass of at least 0.7 within a second.

    python benchmarks/default_method.py --each 6

Only questions that the model answers right count, on scenes with at least three objects. Deletion
is the area under the probability of the answer as players leave in the method's order (fill drop
and mask), lower is better. The error bars are bootstrap 95 % intervals of the mean.
"""

import argparse
import dataclasses
import time

import numpy as np

import vqa_explain as vx
from vqa_explain.datasets.scenes import FAMILIES, Scenes
from vqa_explain.examples import Example
from vqa_explain.game import Game, make_players
from vqa_explain.metrics.faithfulness import ranking
from vqa_explain.metrics.localization import decisive_words, mass
from vqa_explain.models.base import Model, answers
from vqa_explain.target import Target, find_answer

SEGMENTS: dict[str, object] = {"regions": "segments", "score": "probability"}
CANDIDATES: dict[str, tuple[str, dict[str, object]]] = {
    "saliency": ("saliency", {}),
    "input_x_gradient": ("input_x_gradient", {}),
    "integrated_gradients": ("integrated_gradients", {"tolerance": 0.05, "steps": 128}),
    "occlusion": ("occlusion", {}),
    "leave_one_out": ("leave_one_out", {}),
    "shapley, budget 600": ("shapley", {"budget": 600}),
    "shapley, budget 2000": ("shapley", {"budget": 2000}),
    "shapley by kernel, budget 2000": ("shapley", {"budget": 2000, "estimator": "kernel"}),
    "shapley of segments, budget 20n": ("shapley", {"budget": "20n", **SEGMENTS}),
    "shapley of segments, budget 100n": ("shapley", {"budget": "100n", **SEGMENTS}),
    "the same of the logit, 20n": ("shapley", {"budget": "20n", "regions": "segments"}),
    "the same of the logit, 20n, blurred": (
        "shapley",
        {"budget": "20n", "regions": "segments", "image_fill": "blur"},
    ),
    "the same of the probability, slic:24": (
        "shapley",
        {"budget": "20n", "regions": "slic:24", "score": "probability"},
    ),
    "integrated_gradients of segments": (
        "integrated_gradients",
        {"tolerance": 0.05, "steps": 128, **SEGMENTS},
    ),
    "relevance": ("relevance", {}),
    "hires_cam": ("hires_cam", {}),
}


def chosen(model: Model, each: int) -> list[Example]:
    """The first `each` usable test questions of every family."""
    found = []
    for family in FAMILIES:
        usable = (
            e
            for e in Scenes("test", 500, families=(family,))
            if e.masks is not None
            and len(e.masks) >= 3
            and answers(model, model.encode(e))[0].text == e.answer
        )
        found += [e for _, e in zip(range(each), usable, strict=False)]
    return found


def interval(values: np.ndarray, rng: np.random.Generator) -> str:
    """Mean with half the width of its bootstrap 95 % interval."""
    means = rng.choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.3f} ± {(high - low) / 2:.3f}"


def deletion(game: Game, values: np.ndarray, steps: int = 20) -> float:
    """The area under the score as players leave, the most positive first."""
    gone = np.rint(np.linspace(0, len(values), steps + 1)).astype(int)
    place = np.empty(len(values), dtype=int)
    place[ranking(values, "signed")] = np.arange(len(values))
    return float(np.trapezoid(game(place >= gone[:, None]), dx=1 / steps))


def measure(
    model: Model, examples: list[Example], method: str | None, parameters: dict[str, object]
) -> np.ndarray:
    """(examples, 4): region mass, word mass, deletion, seconds. No method: random values."""
    rng = np.random.default_rng(0)
    rows = []
    for example in examples:
        began = time.perf_counter()
        why = vx.explain(model, example, method=method or "saliency", **parameters)
        seconds = time.perf_counter() - began
        if method is None:
            why = dataclasses.replace(
                why,
                image=np.abs(rng.normal(size=why.image.shape)),
                words=tuple(dataclasses.replace(w, value=abs(rng.normal())) for w in why.words),
                regions=tuple(dataclasses.replace(r, value=abs(rng.normal())) for r in why.regions),
            )
            seconds = 0.0
        encoded = model.encode(example)
        players = make_players(encoded)
        target = Target(find_answer(model.labels or (), str(example.answer)), None, "probability")
        game = Game(model, encoded, players, {"image": "drop", "question": "mask"}, target)
        patches = why.image.reshape(8, 12, 8, 12).sum(axis=(1, 3)).ravel()
        values = np.concatenate([patches, [w.value for w in why.words]])
        truth = example.truth
        assert truth is not None
        words = mass(np.array([w.value for w in why.words]), decisive_words(why, example))
        rows.append((mass(why.image, truth), words, deletion(game, values), seconds))
    return np.array(rows)


def main() -> None:
    """Prints a table of the candidates."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=6)
    model = vx.load("scenes", device="cpu")
    examples = chosen(model, parser.parse_args().each)
    print(f"{len(examples)} questions\n")
    print(
        "| method | region mass | word mass | deletion | seconds |\n| --- | --- | --- | --- | --- |"
    )
    for name, (method, parameters) in {"random": (None, {}), **CANDIDATES}.items():
        rows, rng = measure(model, examples, method, parameters), np.random.default_rng(0)
        print(
            f"| {name} | "
            + " | ".join(interval(column, rng) for column in rows.T[:3])
            + f" | {np.median(rows[:, 3]):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
