"""Draws a scene of everyday, with the exact mask of every object."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from vqa_explain.datasets.everyday.backgrounds import background
from vqa_explain.datasets.everyday.objects import picture_of
from vqa_explain.datasets.everyday.scene import SIZE, Item, Scene

SHADOW = 0.35  # how much of the light a shadow takes
_SOFT = 2  # pixels over which a shadow fades
_SHIFT = (2, 3)  # pixels by which it lies to the right and below
_PAD = 3 * _SOFT + max(_SHIFT)


@dataclass(frozen=True)
class Drawn:
    """A picture with what covers each of its pixels.

    Attributes:
        image: (SIZE, SIZE, 3) uint8.
        masks: (objects, SIZE, SIZE) bool, the pixels that show each object: at least half of the
            pixel is its, and no later object lies over it.
        touched: (objects, SIZE, SIZE) bool, all pixels that the object or its shadow changes.
    """

    image: np.ndarray
    masks: np.ndarray
    touched: np.ndarray


def draw(scene: Scene, seed: tuple[int, ...]) -> Drawn:
    """The picture of a scene; larger objects lie below smaller ones.

    The background is drawn from `seed` alone, so it stays where an object is taken away.
    """
    canvas = background(scene.ground, np.random.default_rng(seed))
    masks = np.zeros((len(scene.items), SIZE, SIZE), dtype=bool)
    touched = np.zeros_like(masks)
    order = sorted(range(len(scene.items)), key=lambda i: -scene.items[i].size)
    for index in order:
        solid, touched[index] = _paint(canvas, scene.items[index])
        masks &= ~solid
        masks[index] = solid
    return Drawn(np.rint(canvas).astype(np.uint8), masks, touched)


def _paint(canvas: np.ndarray, item: Item) -> tuple[np.ndarray, np.ndarray]:
    """Puts an object and its shadow on the canvas (H, W, 3), which changes.

    Returns its solid pixels and all that it touched, both (H, W) bool.
    """
    picture = picture_of(item.kind, item.color, item.size, item.angle, item.mirrored)
    left = round(item.x - picture.width / 2)
    top = round(item.y - picture.height / 2)
    padded = Image.new("L", (picture.width + 2 * _PAD, picture.height + 2 * _PAD))
    padded.paste(picture.getchannel("A"), (_PAD + _SHIFT[0], _PAD + _SHIFT[1]))
    shade = np.asarray(padded.filter(ImageFilter.BoxBlur(_SOFT)), dtype=np.float32) / 255
    there, here = _common(left - _PAD, top - _PAD, shade.shape)
    shadow = shade[here]
    canvas[there] *= 1 - SHADOW * shadow[:, :, None]
    touched = np.zeros(canvas.shape[:2], dtype=bool)
    touched[there] = shadow > 0

    pixels = np.asarray(picture, dtype=np.float32)
    there, here = _common(left, top, pixels.shape)
    alpha = pixels[here][:, :, 3:] / 255
    canvas[there] += alpha * (pixels[here][:, :, :3] - canvas[there])
    touched[there] |= alpha[:, :, 0] > 0
    solid = np.zeros_like(touched)
    solid[there] = alpha[:, :, 0] >= 0.5
    return solid, touched


def _common(
    left: int, top: int, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where something of that shape lies on the canvas, and which part of it lies there."""
    rows = slice(max(0, top), min(SIZE, top + shape[0]))
    columns = slice(max(0, left), min(SIZE, left + shape[1]))
    own_rows = slice(rows.start - top, rows.stop - top)
    own_columns = slice(columns.start - left, columns.stop - left)
    return (rows, columns), (own_rows, own_columns)
