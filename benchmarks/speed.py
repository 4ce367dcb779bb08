"""Ours against the peer on the same work, in one run, as ratios of seconds; orders alternate,
medians of repeats.

    python benchmarks/speed.py              # every row: about fifteen minutes on two cores
    python benchmarks/speed.py ig shapley   # some of: step, ig, occlusion, photograph, relevance,
    faithful, …

The peers call the same networks, on the same leaves or the same game (ours, so that they too drop
absent patches and batch), with the same threads. Shapley values and interactions are compared at
equal error: the seconds that each needs until its root-mean-square error, the mean of two seeds, is
at most that of ours at a fixed budget.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import shap
import shapiq
import torch
from evaluation import by_itself, photographs
from transformers import ViltConfig, ViltForQuestionAnswering

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.examples import Example
from vqa_explain.game import Game, make_players
from vqa_explain.games import pairs
from vqa_explain.games.estimators import run_until
from vqa_explain.methods import create
from vqa_explain.methods.base import Task
from vqa_explain.methods.relevance import relevance
from vqa_explain.models.base import Model, answers
from vqa_explain.target import Target
from vqa_explain.training.scenes import question_words
from vqa_explain.training.vilt import make_processor

Call = Callable[[], object]


def row(name: str, ours: Call, peer: Call, goal: str, repeats: int = 5) -> None:
    """Prints the median seconds of both and their ratio."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(repeats):
        for who, call in (("ours", ours), ("peer", peer))[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            call()
            seconds[who].append(time.perf_counter() - began)
    mine, theirs = (statistics.median(s) for s in seconds.values())
    print(f"| {name} | {mine:.3f} | {theirs:.3f} | {theirs / mine:.2f} × | {goal} |", flush=True)


def full_size() -> tuple[Model, Example]:
    """A random ViLT of the published size (118 M parameters,
    384 px) and a photograph-sized picture.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = ViltForQuestionAnswering(ViltConfig(num_labels=100))
    model = vx.load(module, processor=make_processor(question_words(), 384, 32), device="cpu")
    return model, picture_of(0)


def picture_of(seed: int) -> Example:
    """A picture of noise at the full size, with a question."""
    picture = np.random.default_rng(seed).integers(0, 256, (384, 384, 3), dtype=np.uint8)
    return Example(picture, "What color is the circle?")


def by_method(who: tuple[Model, Example], name: str, **parameters: object) -> Call:
    """The method alone on an example that is encoded, as the peers get it."""
    model, example = who
    encoded = model.encode(example)
    target, players, method = (
        Target(answers(model, encoded)[0].index),
        make_players(encoded),
        create(name, parameters),
    )
    return lambda: method(Task(model, encoded, target, players))


def leaves_of(model: Model, example: Example, image: str) -> tuple[tuple, tuple, Callable]:
    """Leaves, baselines and the predicted answer's score as Captum takes them."""
    encoded = model.encode(example)
    leaves, index = model.leaves(encoded), answers(model, encoded)[0].index
    start = model.baselines(encoded, {"image": image, "question": "mask"}, 0)

    def forward(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return by_itself(model, image, text)[:, index]

    return tuple(leaves.values()), tuple(start.values()), forward


def step(scenes: tuple[Model, Example], _full: tuple[Model, Example]) -> None:
    """A node of integrated gradients over a bare forward and backward pass at the same batch."""
    leaves, _, forward = leaves_of(*scenes, "blur")
    batch = tuple(leaf.repeat(16, *[1] * (leaf.ndim - 1)) for leaf in leaves)

    def bare() -> None:
        for _ in range(4):
            inputs = tuple(b.detach().requires_grad_() for b in batch)
            torch.autograd.grad(forward(*inputs).sum(), inputs)
        torch.autograd.grad(
            forward(*(x := tuple(leaf.requires_grad_() for leaf in leaves))).sum(), x
        )
        with torch.no_grad():
            forward(*leaves), forward(*leaves), forward(*leaves)

    row(
        "integrated gradients, 65 nodes; the bare passes",
        by_method(scenes, "integrated_gradients", steps=64),
        bare,
        "≥ 0.95",
        15,
    )


def ig(scenes: tuple[Model, Example], full: tuple[Model, Example]) -> None:
    """Integrated gradients to a completeness gap of 1 %; Captum doubles its steps until it is
    there.

    Several examples, since a rule now and then meets the gap by chance.
    """
    questions = [(scenes[0], vx.load_dataset("scenes:test")[i]) for i in range(5, 1000, 100)]
    pictures = [(full[0], picture_of(seed)) for seed in range(3)]
    for name, asked, repeats in (
        ("scenes, ten questions", questions, 5),
        ("full size, three pictures", pictures, 1),
    ):

        def ours(asked: list = asked) -> None:
            for who in asked:
                by_method(who, "integrated_gradients", tolerance=0.01, steps=1024)()

        def theirs(asked: list = asked) -> None:
            for who in asked:
                doubling(*leaves_of(*who, "blur"))

        row(f"integrated gradients to a gap of 1 %, {name}; Captum", ours, theirs, "≥ 2", repeats)


def doubling(leaves: tuple, start: tuple, forward: Callable) -> None:
    """Captum's integrated gradients with 4, 8, 16, … steps until the gap is 1 %."""
    with torch.no_grad():
        change = float(forward(*leaves) - forward(*start))
    steps = 4
    while True:
        method = captum.attr.IntegratedGradients(forward)
        found = method.attribute(leaves, start, n_steps=steps, internal_batch_size=16)
        if abs(float(sum(f.sum() for f in found)) - change) <= 0.01 * abs(change) or steps >= 1024:
            return
        steps *= 2


def occlusion(scenes: tuple[Model, Example], full: tuple[Model, Example]) -> None:
    """Windows over the picture and words one by one; Captum's default of one at a time,
    and batches.
    """
    for name, who, window, stride, repeats in (
        ("scenes", scenes, 12, 12, 9),
        ("full size", full, 64, 32, 1),
    ):
        (image, text), (blank, mask), forward = leaves_of(*who, "blur")
        players = make_players(who[0].encode(who[1]))
        # Whole words as Captum's features; the special tokens share one more, which ours leaves in.
        feature = (
            torch.from_numpy(players.of["question"].division.owner)[None, :, None].clamp(min=-1) + 1
        )
        for batch in (1, 64):
            theirs = ablation(
                forward, (image, text), (blank, mask), feature, (window, stride), batch
            )
            row(
                f"occlusion, window {window} stride {stride}, {name}; Captum, {batch} at a time",
                by_method(who, "occlusion", window=window, stride=stride),
                theirs,
                "≥ 3" if name == "full size" else "≥ 1.2",
                repeats,
            )


def photograph(_scenes: tuple[Model, Example], _full: tuple[Model, Example]) -> None:
    """Windows over a photograph, by a classifier."""
    model, (example,) = photographs(1)
    encoded = model.encode(example)
    target = answers(model, encoded)[0].index
    blank = model.baselines(encoded, {"image": "blur"}, 0)["image"]

    def theirs(batch: int) -> Call:
        def call() -> None:
            with torch.no_grad():
                captum.attr.Occlusion(model.module).attribute(
                    encoded.pixels,
                    (3, 32, 32),
                    (3, 16, 16),
                    blank,
                    target,
                    perturbations_per_eval=batch,
                )

        return call

    for batch in (1, 64):
        name = f"occlusion, window 32 stride 16, EfficientNet-Lite0; Captum, {batch} at a time"
        row(
            name,
            by_method((model, example), "occlusion", window=32, stride=16),
            theirs(batch),
            "–",
            3,
        )


def ablation(
    forward: Callable,
    leaves: tuple,
    blanks: tuple,
    feature: torch.Tensor,
    size: tuple[int, int],
    batch: int,
) -> Call:
    """Captum's occlusion of the picture by windows of `size` (side, stride),
    and its ablation of the words.
    """
    (image, text), (blank, mask), (window, stride) = leaves, blanks, size

    def of_image(x: torch.Tensor) -> torch.Tensor:
        return forward(x, text.expand(len(x), -1, -1))

    def of_words(x: torch.Tensor) -> torch.Tensor:
        return forward(image.expand(len(x), -1, -1, -1), x)

    def call() -> None:
        with torch.no_grad():
            captum.attr.Occlusion(of_image).attribute(
                image,
                (3, window, window),
                (3, stride, stride),
                baselines=blank,
                perturbations_per_eval=batch,
            )
            captum.attr.FeatureAblation(of_words).attribute(
                text, baselines=mask, feature_mask=feature, perturbations_per_eval=batch
            )

    return call


def new_game(model: Model, example: Example, grid: int = 7) -> Game:
    """The predicted answer's game of a grid × grid and all words, with nothing known."""
    encoded = model.encode(example)
    fills = {"image": "drop", "question": "mask"}
    target = Target(answers(model, encoded)[0].index)
    return Game(model, encoded, make_players(encoded, {"image": grid}), fills, target, cost=Cost())


def race(
    title: str,
    truth: np.ndarray,
    ours: Callable,
    budget: int,
    peers: dict[str, Callable],
    goal: str,
) -> None:
    """Prints, for each peer, the seconds that it takes to our error at `budget`,
    doubling its own budget.
    """

    def run(call: Callable, budget: int) -> tuple[float, float]:
        errors, seconds = [], []
        for seed in (1, 2):
            began = time.perf_counter()
            found = call(budget, seed)
            seconds.append(time.perf_counter() - began)
            errors.append(np.sqrt(np.mean((found - truth) ** 2)))
        return float(np.mean(errors)), float(np.mean(seconds))

    reached, mine = run(ours, budget)
    for name, call in peers.items():
        for theirs in (budget * 2**k for k in range(6)):
            error, seconds = run(call, theirs)
            if error <= reached or seconds > 8 * mine:
                break
        sign = "" if error <= reached else ">"
        print(
            f"| {title} to an error of {reached:.4f} (budget {budget}); {name}, budget {theirs}, "
            f"error {error:.4f} | {mine:.2f} | {sign}{seconds:.2f} | {sign}{seconds / mine:.1f} × "
            f"| {goal} |",
            flush=True,
        )


def long_run(
    model: Model, example: Example, budget: int = 200_000
) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values and interactions from many evaluations,
    with a largest standard error printed.
    """
    game = new_game(model, example)
    rng = np.random.default_rng(99)
    found = run_until(pairs.adjusted(game, len(game), rng, budget, game.players.cross))
    print(
        f"<!-- truth: {budget} evaluations, standard errors {found.errors.max():.5f}, "
        f"{found.pair_errors.max():.5f} -->"
    )
    return found.values, found.pairs


def shapley(
    scenes: tuple[Model, Example], _full: tuple[Model, Example], truth: tuple | None = None
) -> None:
    """Shapley values at equal error."""
    values, _ = truth or long_run(*scenes)
    players = len(values)

    def ours(budget: int, seed: int) -> np.ndarray:
        game = new_game(*scenes)
        return run_until(pairs.adjusted(game, players, np.random.default_rng(seed), budget)).values

    def of_shap(kind: str) -> Callable:
        def call(budget: int, seed: int) -> np.ndarray:
            game = new_game(*scenes)
            nobody, everybody = np.zeros((1, players)), np.ones((1, players))
            if kind == "Kernel":
                np.random.seed(seed)
                found = shap.KernelExplainer(lambda z: game(z > 0.5), nobody).shap_values(
                    everybody, nsamples=budget, silent=True, l1_reg=False
                )
                return np.asarray(found).ravel()
            masker = shap.maskers.Independent(nobody)
            explainer = shap.explainers.Permutation(lambda z: game(z > 0.5), masker, seed=seed)
            return explainer(everybody, max_evals=budget, silent=True).values.ravel()

        return call

    def of_captum(kind: type) -> Callable:
        def call(budget: int, seed: int) -> np.ndarray:
            game = new_game(*scenes)

            def forward(z: torch.Tensor) -> torch.Tensor:
                return torch.from_numpy(game(z.numpy() > 0.5))

            many = budget if kind is captum.attr.KernelShap else max(1, budget // players)
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                np.random.seed(seed)
                found = kind(forward).attribute(
                    torch.ones(1, players), baselines=0.0, n_samples=many, perturbations_per_eval=64
                )
            return found.numpy().ravel()

        return call

    def of_shapiq(kind: Callable) -> Callable:
        def call(budget: int, seed: int) -> np.ndarray:
            game = new_game(*scenes)
            found = kind(seed).approximate(budget, game)
            return np.array([found[(i,)] for i in range(players)])

        return call

    race(
        "Shapley values, 7 × 7 grid and words",
        values,
        ours,
        1000,
        {
            "shap Permutation": of_shap("Permutation"),
            "shap Kernel": of_shap("Kernel"),
            "Captum KernelShap": of_captum(captum.attr.KernelShap),
            "Captum ShapleyValueSampling": of_captum(captum.attr.ShapleyValueSampling),
            "shapiq KernelSHAP": of_shapiq(lambda s: shapiq.KernelSHAP(players, random_state=s)),
            "shapiq kADD-SHAP": of_shapiq(
                lambda s: shapiq.kADDSHAP(players, max_order=2, random_state=s)
            ),
        },
        "≥ 5",
    )


def interactions(
    scenes: tuple[Model, Example], _full: tuple[Model, Example], truth: tuple | None = None
) -> None:
    """Word × region interactions at equal error."""
    values, mixed = truth or long_run(*scenes)
    players = len(values)
    cross = new_game(*scenes).players.cross

    def ours(budget: int, seed: int) -> np.ndarray:
        game = new_game(*scenes)
        return run_until(
            pairs.adjusted(game, players, np.random.default_rng(seed), budget, cross)
        ).pairs

    def of_shapiq(kind: Callable) -> Callable:
        def call(budget: int, seed: int) -> np.ndarray:
            found = kind(seed).approximate(budget, new_game(*scenes))
            return np.array([found[tuple(sorted(pair))] for pair in cross.tolist()])

        return call

    race(
        "word × region interactions",
        mixed,
        ours,
        8000,
        {
            "shapiq KernelSHAP-IQ": of_shapiq(
                lambda s: shapiq.KernelSHAPIQ(players, 2, index="SII", random_state=s)
            ),
            "shapiq PermutationSII": of_shapiq(
                lambda s: shapiq.PermutationSamplingSII(players, 2, random_state=s)
            ),
        },
        "≥ 3",
    )


def faithful(scenes: tuple[Model, Example], _full: tuple[Model, Example]) -> None:
    """Faithful Shapley interactions of all pairs of words and a 5 × 5 grid at equal error."""

    players = len(new_game(*scenes, 5))
    couples = np.column_stack(np.triu_indices(players, 1)).tolist()

    def ours(budget: int, seed: int) -> np.ndarray:
        found = run_until(
            pairs.faithful_interactions(
                new_game(*scenes, 5), players, np.random.default_rng(seed), budget
            )
        )
        assert found.pairs is not None
        return found.pairs

    def theirs(budget: int, seed: int) -> np.ndarray:
        found = shapiq.RegressionFSII(players, 2, random_state=seed).approximate(
            budget, new_game(*scenes, 5)
        )
        return np.array([found[(i, j)] for i, j in couples])

    race(
        "faithful interactions",
        ours(100_000, 99),
        ours,
        4000,
        {"shapiq RegressionFSII": theirs},
        "≥ 3",
    )


def rules(scenes: tuple[Model, Example], _full: tuple[Model, Example]) -> None:
    """Chefer relevance by the authors' update rules, head by head, on the same attention."""
    model, example = scenes
    encoded = model.encode(example)
    found = model.attention(encoded)
    gradients = torch.autograd.grad(found.scores[0, 0], found.maps)
    maps = [a[0].detach() for a in found.maps]
    slopes = [g[0] for g in gradients]

    def authors() -> torch.Tensor:
        flow = torch.eye(maps[0].shape[-1])
        for attention, slope in zip(maps, slopes, strict=True):
            weighted = torch.stack(
                [(s * a).clamp(min=0) for s, a in zip(slope, attention, strict=True)]
            ).mean(0)
            flow = flow + weighted @ flow
        return flow

    gap = (authors() - relevance(maps, slopes)).abs().max().item()
    row(
        f"relevance on given attention (largest difference {gap:.1e})",
        lambda: relevance(maps, slopes),
        authors,
        "≥ 1",
        51,
    )


ROWS = {
    "step": step,
    "ig": ig,
    "occlusion": occlusion,
    "photograph": photograph,
    "relevance": rules,
    "faithful": faithful,
}


def main() -> None:
    """Prints the table."""
    warnings.filterwarnings("ignore")
    wanted = sys.argv[1:] or [*ROWS, "shapley", "interactions"]
    scenes = vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")[5]
    full = full_size()
    print(
        "| row; peer | ours, s | peer, s | ratio | goal |\n| --- | --- | --- | --- | --- |",
        flush=True,
    )
    for name in wanted:
        if name in ROWS:
            ROWS[name](scenes, full)
    if {"shapley", "interactions"} & set(wanted):
        truth = long_run(*scenes)
        for name, race_of in (("shapley", shapley), ("interactions", interactions)):
            if name in wanted:
                race_of(scenes, full, truth)


if __name__ == "__main__":
    main()
