"""How a picture becomes pixels: calling a transform or a processor."""

import sys
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.features.geometry import Geometry
from vqa_explain.models.measuring import PictureReader


def picture_reader(transform: Any, name: str) -> PictureReader:
    """Reads pictures by a torchvision transform, a function, or a transformers image processor.

    Args:
        transform: from a PIL image to a tensor (C, H', W'); a processor from an array.
        name: the model, for errors.
    """
    return PictureReader(partial(apply_transform, transform, name=name), name)


def read_patches(
    pictures: PictureReader, picture: np.ndarray, patch: int
) -> tuple[Tensor, Geometry, tuple[int, int]]:
    """Pixels (1, C, H', W'), where they lie, and the (rows,
    columns) of patches of `patch` pixels.
    """
    pixels, geometry = pictures.read(picture)
    return pixels, geometry, (geometry.frame[0] // patch, geometry.frame[1] // patch)


def apply_transform(transform: Any, picture: np.ndarray, name: str) -> tuple[Tensor]:
    """The one frame (1, C, H', W') of a picture (H, W, 3) uint8 for model `name`.

    Raises:
        InvalidInput: the transform fails, or gives something else.
    """
    try:
        pixels = _apply(transform, picture)
        # What a transform passes on from torch.inference_mode could not be differentiated.
        return (pixels.clone() if pixels.is_inference() else pixels,)
    except InvalidInput:
        raise
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise InvalidInput(
            f"the transform of model {name!r} fails on this image: {error}"
        ) from error


def _apply(transform: Any, picture: np.ndarray) -> Tensor:
    transform = getattr(transform, "image_processor", transform)
    if _is_processor(transform):
        # Where channels are is said outright: it is ambiguous for a picture of three rows.
        given = {"return_tensors": "pt", "input_data_format": "channels_last"}
        pixels = transform(images=[picture], **given)["pixel_values"]
        if not isinstance(pixels, Tensor) or pixels.ndim != 4 or len(pixels) != 1:
            raise ValueError(
                f"it gives pixel values {_shape(pixels)}, not one picture (1, C, H, W)"
            )
        return pixels
    pixels = transform(Image.fromarray(picture))
    if not isinstance(pixels, Tensor) or pixels.ndim != 3:
        raise ValueError(
            f"it gives {_shape(pixels)}, not a tensor (C, H, W); end it with ToTensor()"
        )
    # Some networks `view` what a permuted picture leads to, and fail.
    return pixels[None].float().contiguous()


def _is_processor(transform: Any) -> bool:
    # Importing transformers takes longer than a small model; who has a processor has imported it.
    home = sys.modules.get("transformers.image_processing_base")
    return home is not None and isinstance(transform, home.ImageProcessingMixin)


def _shape(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def timm_transform(module: nn.Module) -> Any:
    """The transform that a timm model was trained with; `None` for others."""
    if not hasattr(module, "pretrained_cfg"):
        return None
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    return create_transform(**resolve_model_data_config(module), is_training=False)


def timm_labels(module: nn.Module) -> tuple[str, ...]:
    """The classes of a timm model, as far as timm knows them."""
    known = getattr(module, "pretrained_cfg", None)
    if not known:
        return ()
    if known.get("label_names"):
        return tuple(known["label_names"])
    from timm.data.imagenet_info import ImageNetInfo

    names = ImageNetInfo()
    count = getattr(module, "num_classes", 0)
    return (
        tuple(names.index_to_description(i) for i in range(count))
        if count == names.num_classes()
        else ()
    )
