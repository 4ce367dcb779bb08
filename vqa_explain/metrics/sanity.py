"""Does the explanation depend on the model at all?"""

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vqa_explain.errors import VQAExplainError
from vqa_explain.metrics.base import LOWER, Case, register_metric
from vqa_explain.models.base import Model
from vqa_explain.registry import parameter

STAGES = (1 / 3, 2 / 3, 1.0)  # shares of the layers that are randomised, from the answer downwards


def randomised(model: Model, share: float, seed: int) -> Model:
    """A copy of the model whose last layers, this share of its tensors of weights, are drawn anew.

    Each tensor becomes normal with its own mean and deviation, so that activations keep their size. Nothing of the
    model itself changes, and no global random state moves.
    """
    twin = copy.deepcopy(model)
    named = list(twin.module.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, tensor in named[len(named) - round(share * len(named)) :]:
            drawn = torch.randn(tensor.shape, generator=generator).to(tensor)
            spread = tensor.std() if tensor.numel() > 1 else tensor.abs().mean()
            tensor.copy_(tensor.mean() + spread * drawn)
    return twin


@register_metric
@dataclass(frozen=True)
class ParameterRandomization:
    """How alike |a| stays, over pixels and words, when the model's layers are drawn anew from the answer downwards.

    Adebayo et al. 2018, section 3.1 (cascading), the mean over a third, two thirds and all of the tensors of weights:
    Spearman's correlation of players, or SSIM of pixels. Near 1, the explanation does not depend on the model.
    """

    name: ClassVar[str] = "parameter_randomization"
    source: ClassVar[str] = "Adebayo et al. 2018, section 3.1"
    better: ClassVar[str] = LOWER
    range: ClassVar[str] = "−1 … 1"
    judges: ClassVar[str] = "explanation"
    needs: ClassVar[frozenset[str]] = frozenset()
    measure: str = parameter("spearman", "of players, or of pixels", choices=("spearman", "ssim"))

    def __call__(self, case: Case) -> float:
        assert case.twin is not None
        found = []
        for share in STAGES:
            twin = case.twin(share)
            try:
                encoded = twin.encode(case.example)
                if twin.labels is None:  # the candidates are the example's own
                    encoded = twin.with_answers(encoded, case.task.encoded.labels)  # type: ignore[attr-defined]
                there = case.of(case.method, case.again(encoded, twin), case.task.cost)  # type: ignore[arg-type]
            except VQAExplainError:
                continue  # a randomised network may overflow; the other stages still speak
            found.append(self._alike(case, there))
        return float(np.mean(found)) if found else float("nan")

    def _alike(self, one: Case, other: Case) -> float:
        if self.measure == "ssim":
            from skimage.metrics import structural_similarity

            maps = [np.abs(c.explanation.image) for c in (one, other)]
            maps = [m / m.max() if m.max() > 0 else m for m in maps]
            side = min(7, *maps[0].shape)
            return float(structural_similarity(*maps, data_range=1.0, win_size=side - (side + 1) % 2))
        from scipy.stats import rankdata

        ranks = [rankdata(np.abs(c.values)) for c in (one, other)]
        if min(r.std() for r in ranks) == 0:
            return float("nan")
        return float(np.corrcoef(*ranks)[0, 1])
