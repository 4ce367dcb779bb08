"""Large pictures: what a file keeps of them, and how they are made smaller.

Values of a picture of 12 megapixels take 96 MB in float64, and those of the frame that they are
made of take 1 MB.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from vqa_explain._fields import WrongField, check
from vqa_explain.examples import MAX_PIXELS
from vqa_explain.features.geometry import AlignedGeometry, Axis

LARGE = 3 * 2_000_000  # numbers in a picture, from which on it is kept so
ENCODED, FRAME = "encoded_picture", "frame_"  # names of arrays, and the beginning of names
_LOSSLESS = 3_000_000  # bytes; a picture that takes more is kept with a loss
_QUALITY = 85
MOST_ELEMENTS = 4096  # along a side of a frame that has more of them than the picture has pixels


@dataclass(frozen=True, eq=False)
class FrameValues:
    """Values in a frame whose rows and columns show those of the picture.

    Attributes:
        values: (H', W') float64.
        geometry: where the frame lies in the picture.
    """

    values: np.ndarray
    geometry: AlignedGeometry

    def carried(self) -> np.ndarray:
        """(H, W) float64, the values in the picture."""
        return self.geometry.to_original(self.values)

    def gives(self, image: np.ndarray) -> bool:
        """Whether values (H, W) are these and no others: someone may have replaced them."""
        return image.shape == self.geometry.original and np.array_equal(self.carried(), image)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays."""
        found = {"values": self.values}
        for name, axis in (("rows", self.geometry.rows), ("columns", self.geometry.columns)):
            found[f"{name}_side"] = np.array([axis.size, axis.extent], dtype=np.float64)
            found[f"{name}_centers"] = axis.centers
            found[f"{name}_inside"] = axis.inside
        return found

    @classmethod
    def of_arrays(cls, given: Mapping[str, np.ndarray], original: tuple[int, int]) -> "FrameValues":
        """The same of what `arrays` gave, read from a file.

        Args:
            given: name → array.
            original: (H, W) of the picture.

        Raises:
            WrongField: the arrays are not those of a frame of this picture.
        """
        kinds = {"side": "f", "centers": "f", "inside": "bu"}
        of_axes = {f"{axis}_{what}" for axis in ("rows", "columns") for what in kinds}
        check(set(given) == {"values", *of_axes}, "the frame is not complete")
        for name in of_axes:
            is_row = given[name].ndim == 1 and given[name].dtype.kind in kinds[name.split("_")[1]]
            check(is_row, f"{name} of the frame is no row of its type")
        rows = _axis_of(given, "rows", original[0])
        columns = _axis_of(given, "columns", original[1])
        values = given["values"]
        is_frame = values.shape == (len(rows.centers), len(columns.centers))
        check(is_frame and values.dtype.kind == "f", "values of the frame do not fit its sides")
        return cls(values, AlignedGeometry(rows, columns))


def _axis_of(given: Mapping[str, np.ndarray], name: str, side: int) -> Axis:
    """One side of a frame, of a picture with so many pixels along it."""
    centers, inside, told = (given[f"{name}_{what}"] for what in ("centers", "inside", "side"))
    check(told.shape == (2,) and told[0] == side, f"{name} of the frame are not the picture's")
    # What is computed of a frame takes its elements times the picture's pixels along a side.
    fits = 0 < len(centers) <= max(side, MOST_ELEMENTS) and inside.shape == centers.shape
    check(fits, f"{name} of the frame do not fit the picture")
    is_finite = np.isfinite(centers).all() and np.isfinite(told).all() and told[1] >= 0
    check(is_finite, f"{name} of the frame are not finite")
    return Axis(side, centers, float(told[1]), inside.astype(bool))


def encoded(picture: np.ndarray) -> np.ndarray:
    """(N,) uint8, a file of the picture (H, W, 3): without loss where that is small, else WebP."""
    image, sink = Image.fromarray(picture), BytesIO()
    image.save(sink, "PNG", compress_level=1)
    if sink.tell() > _LOSSLESS:
        sink = BytesIO()
        image.save(sink, "WEBP", quality=_QUALITY, method=2)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def decoded(file: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, the picture of what `encoded` gave.

    Raises:
        WrongField: it is none, or larger than pictures may be.
    """
    check(file.dtype == np.uint8 and file.ndim == 1, "the encoded picture is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(BytesIO(file.tobytes()), formats=("PNG", "WEBP")) as image:
                check(image.width * image.height <= MAX_PIXELS, "the encoded picture is too large")
                return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WrongField("the encoded picture cannot be read") from error


def is_picture(values: Any) -> bool:
    """Whether it is an array (H, W, 3) uint8 with pixels."""
    if not isinstance(values, np.ndarray) or values.dtype != np.uint8:
        return False
    return values.ndim == 3 and values.shape[2] == 3 and values.size > 0


def check_map(values: Any, picture: np.ndarray, kind: str, name: str) -> None:
    """Refuses what is no array (H, W) of a kind of numbers, as numpy calls it, for a picture
    (H, W, 3).
    """
    fits = isinstance(values, np.ndarray) and values.shape == picture.shape[:2]
    check(fits and values.dtype.kind == kind, f"{name} are not one number per pixel")


def middles_of(count: int, of: int) -> np.ndarray:
    """(of,) the rows in the middles of `of` equal parts of `count` rows."""
    found: np.ndarray = np.minimum((np.arange(of) + 0.5) * count / of, count - 1).astype(int)
    return found


def mean_of(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, …) the means of a picture (H, W, 3) uint8, or of values (H, W) float32, under each
    pixel of a smaller one.
    """
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BOX))
