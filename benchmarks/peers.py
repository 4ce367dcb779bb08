"""Squared error of Shapley values against evaluations of the game: ours, shapiq, shap and Captum.

    python benchmarks/peers.py --out peers.json          # 30 players: 40 minutes on one core

Games are sums of unanimity games: 50 sets of players, each of which brings a normal number when all
of it is present. Their Shapley values are known. In each setting the sets have any size from 1 to
3, 5 or 15. Every estimator gets the same games, and what it really asked is counted. Its error is
Σ (estimate − exact)² over Σ exact², the mean over the games. Estimators of shapiq that can pair
coalitions with their complements do so. Left out are kADD-SHAP of order 2, which with pairs gives
what KernelSHAP gives, and SPEX, which takes minutes for one estimate. ProxySPEX needs lightgbm.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import shap
import shapiq
import torch

from vqa_explain.games import estimators, pairs
from vqa_explain.games.estimators import run_until

SETS = 50


@dataclass
class Unanimity:
    """A sum of unanimity games that counts what it is asked.

    Attributes:
        sets: (M, P) bool.
        parts: (M,) what each brings.
        asked: evaluations so far.
    """

    sets: np.ndarray
    parts: np.ndarray
    asked: int = 0

    @classmethod
    def drawn(cls, players: int, largest: int, rng: np.random.Generator) -> "Unanimity":
        sets = np.zeros((SETS, players), dtype=bool)
        for one in sets:
            one[rng.choice(players, rng.integers(1, largest + 1), replace=False)] = True
        return cls(sets, rng.normal(size=SETS))

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        present = np.atleast_2d(coalitions).astype(bool)
        self.asked += len(present)
        missing = self.sets.astype(np.float32) @ (~present).T.astype(np.float32)
        found: np.ndarray = self.parts @ (missing == 0)
        return found

    @property
    def exact(self) -> np.ndarray:
        """(P,) the Shapley values: each set's part is divided evenly among its members."""
        found: np.ndarray = (self.parts / self.sets.sum(axis=1)) @ self.sets
        return found


Peer = Callable[[Unanimity, int, int, int], np.ndarray]  # game, players, budget, seed → (P,)


def ours(estimator: Callable[..., Any], game: Any, players: int, budget: int, seed: int) -> Any:
    rounds = estimator(game, players, np.random.default_rng(seed), budget)
    return run_until(rounds).values


def of_shapiq(
    kind: Callable[..., Any], how: dict[str, Any], game: Any, players: int, budget: int, seed: int
) -> np.ndarray:
    # It takes games that give 0 to nobody, as these do.
    found = kind(n=players, random_state=seed, **how).approximate(budget, game)
    return np.array([found[(player,)] for player in range(players)])


def of_shap_kernel(game: Any, players: int, budget: int, seed: int) -> np.ndarray:
    np.random.seed(seed)
    explainer = shap.KernelExplainer(lambda rows: game(rows > 0.5), np.zeros((1, players)))
    found: np.ndarray = explainer.shap_values(
        np.ones(players), nsamples=budget - 2, l1_reg=False, silent=True
    )
    return found


def of_shap_permutation(game: Any, players: int, budget: int, seed: int) -> np.ndarray:
    masker = shap.maskers.Independent(np.zeros((1, players)), max_samples=1)
    explainer = shap.explainers.Permutation(lambda rows: game(rows > 0.5), masker, seed=seed)
    rounds = max(1, budget // (2 * players + 1))
    found = explainer(np.ones((1, players)), max_evals=rounds * (2 * players + 1), silent=True)
    values: np.ndarray = found.values[0]
    return values


def of_captum(kind: str, game: Any, players: int, budget: int, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    np.random.seed(seed)

    def forward(rows: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(game(rows.numpy() > 0.5)).float()

    method = getattr(captum.attr, kind)(forward)
    samples = budget // players if kind == "ShapleyValueSampling" else budget
    found = method.attribute(
        torch.ones(1, players), baselines=torch.zeros(1, players), n_samples=max(1, samples)
    )
    values: np.ndarray = found[0].double().numpy()
    return values


PAIRED: dict[str, Any] = {"pairing_trick": True}
PEERS: dict[str, Peer] = {
    "ours, adjusted": partial(ours, pairs.adjusted),
    "ours, kernel": partial(ours, estimators.kernel),
    "ours, permutation": partial(ours, estimators.permutation),
    "shapiq KernelSHAP, paired": partial(of_shapiq, shapiq.KernelSHAP, PAIRED),
    "shapiq KernelSHAP-IQ, paired": partial(
        of_shapiq, shapiq.KernelSHAPIQ, {**PAIRED, "max_order": 1, "index": "SV"}
    ),
    "shapiq inconsistent KernelSHAP-IQ, paired": partial(
        of_shapiq, shapiq.InconsistentKernelSHAPIQ, {**PAIRED, "max_order": 1, "index": "SV"}
    ),
    "shapiq RegressionFSII of order 1, paired": partial(
        of_shapiq, shapiq.RegressionFSII, {**PAIRED, "max_order": 1}
    ),
    "shapiq UnbiasedKernelSHAP, paired": partial(of_shapiq, shapiq.UnbiasedKernelSHAP, PAIRED),
    "shapiq SVARM, paired": partial(of_shapiq, shapiq.SVARM, PAIRED),
    "shapiq SHAP-IQ, paired": partial(
        of_shapiq, shapiq.SHAPIQ, {**PAIRED, "max_order": 1, "index": "SV"}
    ),
    "shapiq SVARM-IQ, paired": partial(
        of_shapiq, shapiq.SVARMIQ, {**PAIRED, "max_order": 1, "index": "SV"}
    ),
    "shapiq ProxySPEX": partial(of_shapiq, shapiq.ProxySPEX, {"max_order": 1, "index": "SV"}),
    "shapiq permutation sampling": partial(of_shapiq, shapiq.PermutationSamplingSV, {}),
    "shapiq stratified sampling": partial(of_shapiq, shapiq.StratifiedSamplingSV, {}),
    "shapiq Owen sampling": partial(of_shapiq, shapiq.OwenSamplingSV, {}),
    "shap Kernel": of_shap_kernel,
    "shap Permutation": of_shap_permutation,
    "captum ShapleyValueSampling": partial(of_captum, "ShapleyValueSampling"),
    "captum KernelShap": partial(of_captum, "KernelShap"),
}


def measured(peer: Peer, players: int, largest: int, each: int, games: int) -> dict[str, float]:
    """The mean relative squared error, and evaluations and seconds of one estimate."""
    errors, asked, seconds = [], [], []
    for number in range(games):
        rng = np.random.default_rng((largest, number))
        game = Unanimity.drawn(players, largest, rng)
        began = time.perf_counter()
        values = peer(game, players, each * players, number)
        seconds.append(time.perf_counter() - began)
        asked.append(game.asked)
        exact = game.exact
        errors.append(float(((values - exact) ** 2).sum() / (exact**2).sum()))
    spread = float(np.std(errors, ddof=1)) / len(errors) ** 0.5 if games > 1 else float("nan")
    return {
        "error": float(np.mean(errors)),
        "standard_error": spread,
        "evaluations": float(np.mean(asked)),
        "seconds": float(np.mean(seconds)),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: a row for each estimator, errors of each setting and number of evaluations."""
    settings = list(dict.fromkeys((row["largest"], row["each"]) for row in rows))
    head = ["estimator", *(f"1–{largest}, {each} a player" for largest, each in settings)]
    lines = [head, ["---"] * len(head)]
    least = {
        one: min(r["error"] for r in rows if (r["largest"], r["each"]) == one and "error" in r)
        for one in settings
    }
    for name in dict.fromkeys(row["estimator"] for row in rows):
        own = {(r["largest"], r["each"]): r for r in rows if r["estimator"] == name}
        cells = []
        for one in settings:
            if "error" not in own[one]:
                cells.append("fails")
                continue
            text = f"{own[one]['error']:.2g}"
            cells.append(f"**{text}**" if own[one]["error"] == least[one] else text)
        lines.append([name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--players", type=int, default=30)
    parser.add_argument("--games", type=int, default=10)
    parser.add_argument("--largest", type=int, nargs="+", default=[3, 5, 15])
    parser.add_argument("--each", type=int, nargs="+", default=[10, 40, 100])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # theirs, of small budgets
    rows: list[dict[str, Any]] = []
    for largest in asked.largest:
        for each in asked.each:
            for name, peer in PEERS.items():
                row: dict[str, Any] = {"estimator": name, "largest": largest, "each": each}
                try:
                    row |= measured(peer, asked.players, largest, each, asked.games)
                except Exception as error:  # of any kind: another library's
                    row["fails"] = f"{type(error).__name__}: {error}"
                rows.append(row)
                print(json.dumps(row), flush=True)
                if asked.out:
                    asked.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
