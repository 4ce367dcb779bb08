"""Which fill keeps the answers most in distribution: the choice of a model's default.

    python benchmarks/default_fill.py --each 4                                         # all fills:
    minutes python benchmarks/default_fill.py --each 20 --pictures drop blur mean --words mask  #
    the best of them

On scenes the truth is known: while the objects and the words that decide are there, the answer
stays. For random coalitions of everything else, each fill's accuracy and the mean log-probability
of the true answer; higher is better. Differences to the first row are paired by question, with
bootstrap 95 % intervals.

    python benchmarks/default_fill.py --measured scenes everyday --each 4

prints what `choose_fill` measures of the models' fills without knowing the truth.
"""

import argparse
from itertools import islice

import numpy as np
import torch

import vqa_explain as vx
from vqa_explain.datasets.scenes import FAMILIES, Scenes
from vqa_explain.features.image import FILLS
from vqa_explain.game import Game, make_players
from vqa_explain.metrics.localization import decisive_words
from vqa_explain.target import Target, find_answer


def main() -> None:
    """Prints a table of the fills."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--pictures", nargs="*", default=["drop", *FILLS])
    parser.add_argument("--words", nargs="*", default=["mask", "pad", "delete"])
    parser.add_argument("--measured", nargs="*", default=[], help="models to measure instead")
    asked = parser.parse_args()
    each = asked.each
    for name in asked.measured:
        examples = list(islice(vx.load_dataset(f"{name}:test"), 10 * each))
        print(f"{name}: {vx.choose_fill(vx.load(name, device='cpu'), examples)}\n", flush=True)
    if asked.measured:
        return
    model, draws = vx.load("scenes", device="cpu"), 16
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for family in FAMILIES:
        for example in Scenes("test", each, families=(family,)):
            encoded = model.encode(example)
            players, index = (
                make_players(encoded),
                find_answer(model.labels or (), str(example.answer)),
            )
            truth = example.truth
            assert truth is not None
            # Whatever holds the objects in question stays; counting and comparing need all objects
            # to stay.
            assert example.masks is not None
            needed = np.unique(players.of["image"].division.owner[example.masks.any(axis=0)])
            words = decisive_words(vx.explain(model, example, method="saliency"), example)
            stays = np.zeros(len(players), dtype=bool)
            stays[needed] = True
            stays[players.of["question"].numbers] = words
            rng = np.random.default_rng(0)
            rows = stays | (rng.random((draws, len(players))) < rng.random((draws, 1)))
            for image in asked.pictures:
                for text in asked.words:
                    targets = (
                        Target(index, None, "log_probability"),
                        Target(None, function=_right(index)),
                    )
                    game = Game(
                        model, encoded, players, {"image": image, "question": text}, targets
                    )
                    scores, right = (game.for_target(target, game.cost)(rows) for target in targets)
                    found.setdefault((image, text), []).append(
                        (float(right.mean()), float(scores.mean()))
                    )
    print(f"{10 * each} questions, {draws} coalitions each\n")
    print("| picture | words | accuracy | less than the first | log-probability |")
    print("| --- | --- | --- | --- | --- |")
    ordered = sorted(found.items(), key=lambda pair: -np.mean([v for _, v in pair[1]]))
    first = np.array(ordered[0][1])[:, 0]
    drawn = np.random.default_rng(0).integers(len(first), size=(2000, len(first)))
    for (image, text), values in ordered:
        accuracy, score = np.mean(values, axis=0)
        less = first - np.array(values)[:, 0]
        low, high = np.quantile(less[drawn].mean(axis=1), [0.025, 0.975])
        print(
            f"| {image} | {text} | {accuracy:.3f} | {less.mean():.3f} [{low:.3f}, {high:.3f}] | "
            f"{score:.3f} |"
        )


def _right(index: int):  # noqa: ANN202
    def right(scores: torch.Tensor) -> torch.Tensor:
        return (scores.argmax(dim=1) == index).double()

    return right


if __name__ == "__main__":
    main()
