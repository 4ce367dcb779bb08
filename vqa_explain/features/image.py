"""The image feature: what an absent region of a picture becomes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from vqa_explain.features.geometry import Geometry


def _blur(pixels: Tensor, _seed: int) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    sigma = max(pixels.shape[-2:]) / 12
    # The kernel reaches 2 sigma but never past what reflection padding allows.
    size = [2 * max(0, min(int(2 * sigma), side - 1)) + 1 for side in pixels.shape[-1:-3:-1]]
    # In half precision a wide kernel takes minutes on a CPU, and loses digits.
    wide = pixels.float() if pixels.dtype in (torch.float16, torch.bfloat16) else pixels
    result: Tensor = gaussian_blur(wide, size, [sigma, sigma]).to(pixels)
    return result


def _mean(pixels: Tensor, _seed: int) -> Tensor:
    return pixels.mean(dim=(-2, -1), keepdim=True).expand_as(pixels).clone()


def _constant(pixels: Tensor, _seed: int) -> Tensor:
    return torch.zeros_like(pixels)


def _noise(pixels: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    return pixels.mean(dim=(-2, -1), keepdim=True) + noise * pixels.std(dim=(-2, -1), keepdim=True)


def _inpaint(pixels: Tensor, present: Tensor) -> Tensor:
    """Absent pixels from their neighbors: averages of what is present, from the finest scale that has any.

    The push and pull of Gortler et al. 1996, "The lumigraph", section 3.4. Where nothing is present at all: the mean.
    """
    known, weight = pixels * present, present.to(pixels)
    levels = [(known, weight)]
    while max(known.shape[-2:]) > 1:
        known, weight = (
            F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (known, weight)
        )
        levels.append((known, weight))
    guess = pixels.mean(dim=(-2, -1), keepdim=True).expand_as(known)
    for known, weight in reversed(levels):
        guess = F.interpolate(guess, size=known.shape[-2:], mode="bilinear", align_corners=False)
        guess = torch.where(weight > 0, known / weight.clamp(min=1e-12), guess)
    return guess


# What a picture shows where everything is absent, from the model's (1, 3, H', W') pixels and a seed. "constant" is
# the middle of the model's normalized range.
BLANKS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "blur": _blur,
    "mean": _mean,
    "constant": _constant,
    "noise": _noise,
}
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # pixels → their blank pictures

# What an absent region becomes: a part of such a picture, or "inpaint", which looks at what is present. A further
# fill, "drop", leaves the region's patches out of the sequence: see the models.
FILLS = (*BLANKS, "inpaint")


def blank(pixels: Tensor, fill: str, seed: int) -> Tensor:
    """The picture with everything absent after a fill of `BLANKS`; not to be written into.

    It is kept as long as `pixels`, since every batch of coalitions asks for it.
    """
    known = _known.setdefault(pixels, {})
    key = (fill, seed, pixels._version)
    if key not in known:
        known[key] = BLANKS[fill](pixels, seed)
    result: Tensor = known[key]
    return result


def baseline(
    pixels: Tensor, geometry: Geometry, fill: str, seed: int, instead: str = "blur"
) -> Tensor:
    """The frame with the whole picture absent; padding stays as it is.

    Args:
        pixels: (1, C, H', W').
        geometry: which of them show the picture.
        fill: a fill.
        seed: for fills that draw.
        instead: what stands for fills that no picture can show, such as "drop".
    """
    empty = BLANKS[fill if fill in BLANKS else instead](pixels, seed)
    if geometry.inside.all():
        return empty
    inside = torch.from_numpy(geometry.inside).to(pixels.device)
    return torch.where(inside, empty, pixels)


def fill_in(pixels: Tensor, present: Tensor, fill: str, seed: int) -> Tensor:
    """The frame (N, 3, H', W') with the absent pixels of `present` (N, H', W') filled after `fill`."""
    present = present[:, None]
    absent = _inpaint(pixels, present) if fill == "inpaint" else blank(pixels, fill, seed)
    return torch.where(present, pixels, absent)


@dataclass(frozen=True)
class ImageFeature:
    """A picture as a model's input: one leaf of pixels, players that are regions."""

    name: str = "image"
    fills: tuple[str, ...] = FILLS
    default_fill: str = "blur"
