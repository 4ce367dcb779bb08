"""How a picture becomes pixels: calling a transform, and tracing where its frame lies in the picture."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.features.image import Geometry


def _is_processor(transform: Any) -> bool:
    return hasattr(transform, "preprocess") and hasattr(transform, "image_mean")


def apply_transform(transform: Any, image: Image.Image, name: str) -> Tensor:
    """Pixels (1, 3, H', W') of a picture for model `name`.

    Raises:
        InvalidInput: the transform fails, or gives something else.
    """
    try:
        return _apply(transform, image)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidInput(f"the transform of model {name!r} fails on this image: {error}") from error


def read_frame(
    steps: Any, picture: np.ndarray, patch: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Geometry, tuple[int, int]]:
    """Pixels (1, 3, H', W') by a transformers image processor, where they lie, and the (rows, columns) of patches."""
    pixels = steps(Image.fromarray(picture), return_tensors="pt")["pixel_values"].to(device, dtype)
    frame = (pixels.shape[2], pixels.shape[3])
    return pixels, trace_geometry(steps, picture.shape[:2], frame), (frame[0] // patch, frame[1] // patch)


def _apply(transform: Any, image: Image.Image) -> Tensor:
    if _is_processor(transform):
        frame = transform(images=[np.asarray(image)], return_tensors="pt", input_data_format="channels_last")
        return frame["pixel_values"]
    pixels = transform(image)
    if not isinstance(pixels, Tensor) or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError("it must give a tensor (3, H, W); end it with ToTensor()")
    return pixels[None].float().contiguous()  # some networks `view` what a permuted picture leads to, and fail


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


def timm_transform(module: nn.Module) -> Any:
    """The transform that a timm model was trained with; `None` for others."""
    if not hasattr(module, "pretrained_cfg"):
        return None
    import timm

    return timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)


def timm_labels(module: nn.Module) -> tuple[str, ...]:
    """The classes of a timm model, as far as timm knows them."""
    known = getattr(module, "pretrained_cfg", None)
    if not known:
        return ()
    if known.get("label_names"):
        return tuple(known["label_names"])
    import timm

    names = timm.data.ImageNetInfo()
    count = getattr(module, "num_classes", 0)
    return tuple(names.index_to_description(i) for i in range(count)) if count == names.num_classes() else ()
