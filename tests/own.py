"""A method, a metric and a model of one's own, as a reader would write them."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms import ToTensor

import vqa_explain as vx


@vx.register_method(
    "contrasted_saliency",
    source="ours",
    unit="gradient size",
    needs={"gradients", "pixels"},
    error="none: it does not add up",
    cost="one forward and backward",
)
@dataclass(frozen=True)
class GradientTimesContrast:
    """|∂f/∂x| where a pixel differs from the picture's mean by more than `least` deviations,
    else 0.
    """

    least: float = vx.parameter(0.5, "deviations from the mean", low=0.0, high=10.0)

    def __call__(self, task: vx.Task) -> vx.Attribution:
        leaves = task.leaves()
        _, found = task.gradients(leaves)
        away = (leaves["image"] - leaves["image"].mean()).abs() / leaves["image"].std()
        image = (found["image"].abs() * (away > self.least)).sum(dim=1)[0]
        values = {"image": image.cpu().numpy()}
        if "question" in found:
            values["question"] = found["question"].norm(dim=-1)[0].cpu().numpy()
        return vx.Attribution(values, None, "none")


@vx.register_metric("top_share", source="ours", better="neither", range="0 … 1")
@dataclass(frozen=True)
class TopShare:
    """The share of Σ|a| that the most relevant player has."""

    def __call__(self, case: vx.Case) -> float:
        size = np.abs(case.values)
        return float(size.max() / size.sum()) if size.any() else float("nan")


class Blind(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(2, 2)
        torch.nn.init.eye_(self.words.weight)

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (
            3 * self.words(tokens).mean(dim=1) + 0 * pixels.mean(dim=(1, 2, 3))[:, None]
        )
        return scores


@vx.register_model("blind")
def blind(device: torch.device) -> vx.CustomModel:
    text = {"<unk>": 0, "<pad>": 0, "circle": 1}
    return vx.CustomModel(
        Blind(), image=ToTensor(), text=text, labels=["yes", "no"], name="blind", device=device
    )
