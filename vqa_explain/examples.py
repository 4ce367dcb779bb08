"""One question about one picture, and the reading of pictures from whatever the user has."""

import os
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput

MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with, perhaps, a question, the true answer, and what the answer depends on.

    Attributes:
        image: a path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4); see `read_image`. An error, for an
            example that could not be read: it is raised where the picture is needed, and other examples go on.
        question: the question; `None` for a classifier.
        answer: the true answer, if known.
        answers: what several people answered, where that is known.
        id: a name for reports.
        family: the kind of question, for tables by kind.
        masks: (objects, H, W) bool, the exact pixels of every object.
        about: indices into `masks` of the objects that the question is about.
        decisive: character spans (start, end) of the words that decide the answer.
        features, boxes: for models that see a detector's boxes: (R, F), and (R, 4) left, top, right, bottom in pixels.
    """

    image: Any
    question: str | None = None
    answer: str | None = None
    id: str = ""
    family: str = ""
    masks: np.ndarray | None = None
    about: tuple[int, ...] = ()
    decisive: tuple[tuple[int, int], ...] = ()
    features: Any = None
    boxes: Any = None
    answers: tuple[str, ...] = ()

    @property
    def truth(self) -> np.ndarray | None:
        """(H, W) bool, the pixels of the objects that the question is about."""
        if self.masks is None or not self.about:
            return None
        return np.asarray(np.asarray(self.masks)[list(self.about)].any(axis=0))


def check_readable(example: Example) -> None:
    """Finds an example that could not be read, before anything else is found wanting in it.

    Raises:
        InvalidInput: why it could not be read.
    """
    if isinstance(example.image, InvalidInput):
        raise example.image


def is_readable(example: Example) -> bool:
    """Whether an example could be read (see `check_readable`)."""
    return not isinstance(example.image, InvalidInput)


def read_image(source: Any) -> np.ndarray:
    """The picture as (H, W, 3) uint8 sRGB (by its color profile), upright (EXIF), alpha laid over white.

    Args:
        source: a path, a PIL image, or an array: (H, W) or (H, W, 1 | 3 | 4) of bool, uint8, uint16, or floats
            from 0 to 1. A tensor is taken as an array; channels come last.

    Raises:
        InvalidInput: the file is missing, empty, corrupt, truncated or no picture; the picture is above
            `MAX_PIXELS`; the array has another shape, type or range.
    """
    if isinstance(source, InvalidInput):
        raise source
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if hasattr(source, "convert") and hasattr(source, "getbands"):
        return _from_pil(source, "the image")
    if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
        return _from_array(np.asarray(source))
    raise InvalidInput(
        f"an image must be a path, a PIL image or an array, not {type(source).__name__}"
    )


def _read_file(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        there = path.exists()
    except OSError as error:  # a name that no file can have
        raise InvalidInput(
            f"image {str(path)[:200]!r} cannot be read: {error.strerror}; check the path"
        ) from error
    if not there:
        raise InvalidInput(f"image {str(path)!r} does not exist; check the path")
    if not path.is_file():
        raise InvalidInput(f"image {str(path)!r} is not a file; give the path of a picture")
    if path.stat().st_size == 0:
        raise InvalidInput(f"image {str(path)!r} is empty (0 bytes); save or fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _from_pil(image, f"image {str(path)!r}")
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"image {str(path)!r} is not a picture that Pillow can read; convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise InvalidInput(
            f"image {str(path)!r} is above {MAX_PIXELS:,} pixels; make it smaller first"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"image {str(path)!r} is corrupt or truncated ({error}); save or fetch it again"
        ) from error


def _from_pil(image: Any, name: str) -> np.ndarray:
    from PIL import Image, ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise InvalidInput(
            f"{name} has {image.width} × {image.height} pixels, above {MAX_PIXELS:,}; make it smaller first"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_array(_to_16_bit(np.asarray(image), name))
    profile = image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(_to_srgb(image, profile))


def _to_srgb(image: Any, profile: bytes | None) -> Any:
    """The picture in sRGB after its color profile; one that does not fit the picture is left aside, as viewers do."""
    from PIL import ImageCms

    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            return ImageCms.profileToProfile(
                image, own, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _to_16_bit(values: np.ndarray, name: str) -> np.ndarray:
    """Single-channel pictures of deep integer or float type, as uint16 or floats from 0 to 1."""
    if values.dtype == np.uint16:
        return values
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise InvalidInput(f"{name} has values outside 0 … 65535; scale them first")
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.uint16)
    return values if values.max() <= 1 else (values / (255 if values.max() <= 255 else 65535))


def _from_array(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise InvalidInput(
            f"an image array must be (H, W), (H, W, 3) or (H, W, 4) with channels last, not {values.shape}"
        )
    if 0 in values.shape:
        raise InvalidInput(f"the image array is empty: shape {values.shape}")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise InvalidInput(
            f"the image has {values.shape[1]} × {values.shape[0]} pixels, above {MAX_PIXELS:,}"
        )
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype == bool:
        values = values.astype(np.uint8) * 255
    elif np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InvalidInput(
                "a float image array must be finite and within 0 … 1; divide by 255 if it is not"
            )
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise InvalidInput(
            f"an image array must be uint8, uint16, bool or float, not {values.dtype}"
        )
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3, axis=2)
    if values.shape[2] == 4:
        alpha = values[:, :, 3:].astype(np.float32) / 255
        return np.rint(values[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return values.copy()
