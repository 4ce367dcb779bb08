"""Large pictures: what a file keeps of them, and how they are made smaller.

Values of a picture of 12 megapixels take 96 MB in float64, and those of the frame that they are
made of take 1 MB.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from vqa_explain.features.geometry import AlignedGeometry, Axis

LARGE = 3 * 2_000_000  # numbers in a picture, from which on it is kept so
ENCODED, FRAME = "encoded_picture", "frame_"  # names of arrays, and the beginning of names
_LOSSLESS = 3_000_000  # bytes; a picture that takes more is kept with a loss
_QUALITY = 85


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
    def of_arrays(cls, given: Mapping[str, np.ndarray]) -> "FrameValues":
        """The same of what `arrays` gave, read from a file."""
        axes = []
        for name in ("rows", "columns"):
            size, extent = given[f"{name}_side"].tolist()
            centers, inside = given[f"{name}_centers"], given[f"{name}_inside"]
            axes.append(Axis(int(size), centers, extent, inside.astype(bool)))
        return cls(given["values"], AlignedGeometry(*axes))


def encoded(picture: np.ndarray) -> np.ndarray:
    """(N,) uint8, a file of the picture (H, W, 3): without loss where that is small, else WebP."""
    image, sink = Image.fromarray(picture), BytesIO()
    image.save(sink, "PNG", compress_level=1)
    if sink.tell() > _LOSSLESS:
        sink = BytesIO()
        image.save(sink, "WEBP", quality=_QUALITY, method=2)
    return np.frombuffer(sink.getvalue(), dtype=np.uint8)


def decoded(file: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, the picture of what `encoded` gave."""
    return np.asarray(Image.open(BytesIO(file.tobytes())).convert("RGB"))


def middles_of(count: int, of: int) -> np.ndarray:
    """(of,) the rows in the middles of `of` equal parts of `count` rows."""
    found: np.ndarray = np.minimum((np.arange(of) + 0.5) * count / of, count - 1).astype(int)
    return found


def mean_of(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, …) the means of a picture (H, W, 3) uint8, or of values (H, W) float32, under each
    pixel of a smaller one.
    """
    return np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BOX))
