"""How large a picture a processor of transformers makes: its configuration is a stranger's file."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import MAX_PIXELS

SIZES = ("size", "crop_size", "max_image_size", "high_res_size", "pad_size")
SIDES = ("height", "width", "max_height", "max_width")
EDGES = ("shortest_edge", "longest_edge")
# Of processors that have these, the edges of a size are numbers of pixels.
COUNTS_PIXELS = ("merge_size", "temporal_patch_size", "min_pixels", "max_pixels")


def check_sizes(processor: Any, name: str) -> None:
    """Refuses a processor that would make of every picture more than is read of any, before memory
    is taken for one.

    Args:
        processor: of transformers; others are left alone.
        name: the model's.

    Raises:
        InvalidInput: a size has more than `MAX_PIXELS`.
    """
    for part in _parts(processor):
        for kind in SIZES:
            size = getattr(part, kind, None)
            counts = any(getattr(part, one, None) is not None for one in COUNTS_PIXELS)
            pixels = _pixels(size, counts)
            if pixels > MAX_PIXELS:
                raise InvalidInput(
                    f"the processor of model {name!r} makes every picture one of up to "
                    f"{pixels:.3g} pixels by its {kind}, and at most {MAX_PIXELS:,} are taken; "
                    f"mend {kind} in its configuration"
                )


def _parts(processor: Any) -> Iterator[Any]:
    yield processor
    for name in ("image_processor", "video_processor"):
        part = getattr(processor, name, None)
        if part is not None:
            yield part


def _pixels(size: Any, counts_pixels: bool) -> float:
    """The pixels of a size; 0 where it says none."""
    if _is_number(size):
        return float(size) ** 2
    if isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_number, size)):
        return float(size[0]) * float(size[1])
    if not isinstance(size, Mapping) and not hasattr(size, "shortest_edge"):
        return 0.0
    found = [_entry(size, edge) for edge in EDGES]
    edges = max(found) if counts_pixels else max(found) ** 2
    sides = [_entry(size, side) for side in SIDES]
    return max(edges, sides[0] * sides[1], sides[2] * sides[3])


def _entry(size: Any, name: str) -> float:
    value = size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)
    return float(value) if _is_number(value) else 0.0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
