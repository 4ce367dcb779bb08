"""Backgrounds of everyday: crops of scikit-image's photographs, gradients and textures."""

import math
from functools import cache

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

from vqa_explain.datasets.everyday.scene import SIZE

# Photographs and textures that ship with scikit-image. None shows an object that is asked for.
PHOTOGRAPHS = ("astronaut", "coffee", "retina", "immunohistochemistry", "hubble_deep_field")
TEXTURES = {  # gray photographs, with the tint that each gets
    "grass": (0.8, 1.05, 0.6),
    "gravel": (0.95, 0.95, 1.0),
    "brick": (1.1, 0.85, 0.75),
}
GROUNDS = (*TEXTURES, "photograph", "gradient")
_LEAST = 240  # pixels of the shorter side of what is cropped


@cache
def _photograph(name: str) -> np.ndarray:
    """(H, W, 3) float32, blurred and small enough that a crop shows a good part of it."""
    pixels = np.asarray(getattr(data, name)())
    image = Image.fromarray(pixels).convert("RGB")
    scale = _LEAST / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    if name in PHOTOGRAPHS:
        image = image.filter(ImageFilter.GaussianBlur(3))
    return np.asarray(image, dtype=np.float32)


def background(ground: str, rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) float32 in 0 … 255, dull enough that objects stand out."""
    if ground == "gradient":
        return _gradient(rng)
    name = str(rng.choice(PHOTOGRAPHS)) if ground == "photograph" else ground
    whole = _photograph(name)
    top = rng.integers(0, whole.shape[0] - SIZE + 1)
    left = rng.integers(0, whole.shape[1] - SIZE + 1)
    crop = whole[top : top + SIZE, left : left + SIZE]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    return _dulled(crop, TEXTURES.get(name, (1.0, 1.0, 1.0)), rng)


def _dulled(
    crop: np.ndarray, tint: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """Less contrast, about that tint, and neither very dark nor very bright."""
    shade = np.array(tint, np.float32) * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    contrast = np.float32(rng.uniform(0.35, 0.6))
    level = np.float32(rng.uniform(110, 190))
    dulled: np.ndarray = ((crop - crop.mean()) * contrast + level) * shade
    kept: np.ndarray = np.clip(dulled, 0, 255)
    return kept


def _gradient(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * math.pi)
    line = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE - 0.5
    ramp = line[None, :] * np.float32(math.cos(angle)) + line[:, None] * np.float32(math.sin(angle))
    middle = rng.uniform(110, 200, 3).astype(np.float32)
    slope = rng.uniform(-60, 60, 3).astype(np.float32)
    graded: np.ndarray = np.clip(middle + ramp[:, :, None] * slope, 0, 255)
    return graded
