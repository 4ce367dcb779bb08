"""Image classifiers: any module that gives logits (B, K) for pixels (B, 3, H, W)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature
from vqa_explain.features.image import BLANKS, Geometry, ImageFeature, fill_in
from vqa_explain.features.regions import Regions
from vqa_explain.models.base import Encoded, Leaves, Positions, own_labels, parameters_frozen

GRID = (7, 7)  # the regions of a classifier that has no division of its own


class ClassifierModel:
    """Adapter of an image classifier with one feature; see `models.base.Model`.

    Args:
        module: gives logits (B, K), or an object with `.logits`.
        transform: a torchvision transform (Compose, or a weights' preset) or a transformers image processor.
        labels: the K class names.
    """

    family = "classifier"
    features: tuple[Feature, ...] = (ImageFeature(),)
    capabilities = frozenset({"gradients"})

    def __init__(
        self, module: nn.Module, transform: Any, labels: Sequence[str] | None, name: str, device: torch.device
    ) -> None:
        self.name = name
        self.device = device
        self.module = module.to(device).eval()
        self._prepare = transform
        self.labels: tuple[str, ...] = tuple(labels) if labels is not None else own_labels(module)

    def encode(self, example: Example) -> Encoded:
        picture = read_image(example.image)
        image = Image.fromarray(picture)
        try:
            pixels = _apply(self._prepare, image).to(self.device)
        except (RuntimeError, ValueError, TypeError) as error:
            raise InvalidInput(f"the transform of model {self.name!r} fails on this image: {error}") from error
        frame = (pixels.shape[2], pixels.shape[3])
        geometry = trace_geometry(self._prepare, picture.shape[:2], frame)
        grid = (min(GRID[0], frame[0]), min(GRID[1], frame[1]))
        encoded = Encoded(example, picture, pixels, geometry, grid)
        self._check_output(encoded)
        return encoded

    def _check_output(self, encoded: Encoded) -> None:
        if self.labels and getattr(self, "_checked", False):
            return
        with torch.no_grad():
            logits = self.scores(encoded, self.leaves(encoded))
        if logits.ndim != 2 or len(logits) != 1:
            raise InvalidInput(f"model {self.name!r} gives scores of shape {tuple(logits.shape)}, not (B, K)")
        if not self.labels:
            self.labels = tuple(f"class {i}" for i in range(logits.shape[1]))
        if len(self.labels) != logits.shape[1]:
            raise InvalidInput(
                f"model {self.name!r} has {logits.shape[1]} classes and {len(self.labels)} labels were given"
            )
        self._checked = True

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone()}

    def baselines(self, encoded: Encoded, fills: dict[str, str], seed: int) -> Leaves:
        return {"image": BLANKS[fills["image"]](encoded.pixels, seed)}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        with parameters_frozen(self.module):
            output = self.module(leaves["image"])
        return output if isinstance(output, Tensor) else output.logits

    @torch.no_grad()
    def coalition_scores(
        self, encoded: Encoded, regions: Regions, shown: Tensor, said: Tensor, fills: dict[str, str], seed: int
    ) -> Tensor:
        labels = torch.from_numpy(regions.labels).to(self.device)
        pixels = fill_in(encoded.pixels, shown[:, labels], fills["image"], seed)
        return self.scores(encoded, {"image": pixels})

    def positions(self, encoded: Encoded) -> Positions:
        return Positions(np.arange(0), np.arange(encoded.grid[0] * encoded.grid[1]))

    def default_layer(self, encoded: Encoded) -> str:
        """The last module that gives maps (B, C, h, w) of more than one cell."""
        found: list[str] = []

        def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                    found.append(name)

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in self.module.named_modules() if name]
        try:
            with torch.no_grad():
                self.scores(encoded, self.leaves(encoded))
        finally:
            for handle in handles:
                handle.remove()
        if not found:
            raise Unsupported(
                f"model {self.name!r} has no layer with maps (B, C, h, w), which class activation maps need; "
                "use another method, such as integrated_gradients or occlusion"
            )
        return found[-1]


def _is_processor(transform: Any) -> bool:
    return hasattr(transform, "preprocess") and hasattr(transform, "image_mean")


def _apply(transform: Any, image: Image.Image) -> Tensor:
    if _is_processor(transform):
        frame = transform(images=[np.asarray(image)], return_tensors="pt", input_data_format="channels_last")
        return frame["pixel_values"]
    pixels = transform(image)
    if not isinstance(pixels, Tensor) or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError("it must give a tensor (3, H, W); end it with ToTensor()")
    return pixels[None].float()


def trace_geometry(transform: Any, original: tuple[int, int], frame: tuple[int, int]) -> Geometry:
    """Where the frame lies in the picture, from the steps of a known kind of transform.

    Raises:
        InvalidInput: a step may move pixels in a way that is not known here.
    """
    size, offset = original, (0, 0)
    for step in _steps(transform):
        kind = step if isinstance(step, tuple) else _kind(step)
        if kind is None:
            continue
        if kind[0] == "resize":
            size, offset = _resized(size, kind[1], kind[2]), (0, 0)
            inner = size
        else:
            inner = kind[1]
            offset = (_centre(size[0], inner[0]), _centre(size[1], inner[1]))
    if (size if offset == (0, 0) and frame == size else frame) != frame:
        raise InvalidInput("the transform's steps do not lead to the size that it gives; use Resize and CenterCrop")
    return Geometry(original, size, frame, offset)


def _steps(transform: Any) -> list[Any]:
    if hasattr(transform, "transforms"):
        return [inner for step in transform.transforms for inner in _steps(step)]
    if hasattr(transform, "resize_size") and hasattr(transform, "crop_size"):  # torchvision's weights' presets
        crop = _pair(transform.crop_size)
        return [("resize", transform.resize_size, None), ("crop", crop)]
    if _is_processor(transform):
        return _processor_steps(transform)
    return [transform]


def _processor_steps(processor: Any) -> list[Any]:
    steps: list[Any] = []
    if processor.do_resize:
        size = dict(processor.size)
        side = size.get("shortest_edge")
        steps.append(("resize", [side] if side else [size["height"], size["width"]], None))
    if getattr(processor, "do_center_crop", False):
        crop = dict(processor.crop_size)
        steps.append(("crop", (crop["height"], crop["width"])))
    return steps


_STILL = {
    "ToTensor",
    "PILToTensor",
    "ToImage",
    "ToDtype",
    "ConvertImageDtype",
    "Normalize",
    "MaybeToTensor",
    "Grayscale",
    "Identity",
    "ToPureTensor",
    "MaybePILToTensor",
}


def _kind(step: Any) -> tuple[Any, ...] | None:
    name = type(step).__name__
    if name == "Resize":
        return ("resize", step.size, getattr(step, "max_size", None))
    if name == "CenterCrop":
        return ("crop", _pair(step.size))
    if name in _STILL:
        return None
    raise InvalidInput(
        f"the transform's step {name!r} may move pixels in a way that cannot be traced back to the picture; "
        "use Resize, CenterCrop, ToTensor and Normalize"
    )


def _pair(size: Any) -> tuple[int, int]:
    values = [size] if isinstance(size, int) else list(size)
    return (values[0], values[-1])


def _resized(size: tuple[int, int], wanted: Any, longest: int | None) -> tuple[int, int]:
    """torchvision's rule: two numbers are taken as they are, one is the short side's."""
    values = [wanted] if isinstance(wanted, int) else list(wanted)
    if len(values) == 2:
        return (values[0], values[1])
    short, long = min(size), max(size)
    new_short, new_long = values[0], int(values[0] * long / short)
    if longest is not None and new_long > longest:
        new_short, new_long = int(longest * new_short / new_long), longest
    return (new_short, new_long) if size[0] <= size[1] else (new_long, new_short)


def _centre(size: int, crop: int) -> int:
    """torchvision's CenterCrop: rounded middle, or padded by half where the picture is smaller."""
    return int(round((size - crop) / 2.0)) if size >= crop else -((crop - size) // 2)
