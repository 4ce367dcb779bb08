"""What a page without scripts shows of one input: pictures, words on colors, bars,
or a drawing of the user's own.
"""

import base64
import html
import io

import numpy as np
from PIL import Image

from vqa_explain import colors
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import Part, PicturePart, PlayerValue, TextPart
from vqa_explain.showing import drawing_of
from vqa_explain.wording import player_text, value_text

LONGEST = 384  # pixels, the longer side of a picture in the page


def list_of(part: Part, e: Explanation) -> str:
    """An input that is no picture, with its name unless it is the only one, and a text."""
    others = [one for one in e.parts if not isinstance(one, PicturePart)]
    alone = isinstance(part, TextPart) and len(others) == 1
    fixed = " (fixed)" if part.fixed else ""
    name = "" if alone else f'<div class="name">{html.escape(part.name)}{fixed}</div>'
    return name + _drawn(part, e)


def _drawn(part: Part, e: Explanation) -> str:
    if part.fixed:
        return f'<div class="words fixed" dir="auto">{html.escape(part.title)}</div>'
    own = drawing_of(part.kind, "page")
    if own is not None:
        return str(own(part, e))
    if isinstance(part, TextPart):
        return f'<div class="words">{"".join(_word(word, part, e) for word in part.words)}</div>'
    return _bars(part, e)


def _word(word: PlayerValue, part: Part, e: Explanation) -> str:
    red, green, blue = e.colors_of(part.kind).of(word.value)
    ink = colors.ink((red, green, blue))
    text = html.escape(word.text)
    value = player_text(word, e.values_unit.two_sided)
    return (
        f'<span class="word" dir="auto" style="background:rgb({red},{green},{blue});color:{ink}">'
        f"{text}<small>{value}</small></span>"
    )


def _bars(part: Part, e: Explanation) -> str:
    """One bar per player from zero to its value, with a whisker of its standard error."""
    ends = [one.value + sign * (one.error or 0) for one in part.players for sign in (-1, 1)]
    ends += e.full_ends(e.colors_of(part.kind).full, part.values)
    start = [0.0] if e.values_unit.from_zero else []
    low, high = min([*start, *ends], default=0), max([*start, *ends], default=0)
    rows = "".join(_bar(player, part, e, low, high) for player in part.players)
    return f'<div class="bars">{rows}</div>'


def _bar(player: PlayerValue, part: Part, e: Explanation, low: float, high: float) -> str:
    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.0
        return 100 * min(1.0, max(0.0, share))

    def piece(kind: str, start: float, end: float, style: str = "") -> str:
        left, width = min(start, end), abs(end - start)
        return f'<i class="{kind}" style="left:{left:.2f}%;width:{width:.2f}%{style}"></i>'

    zero, end = place(0.0), place(player.value)
    red, green, blue = e.colors_of(part.kind).of(player.value)
    pieces = piece("zero", zero, zero)
    pieces += piece("value", zero, end, f";background:rgb({red},{green},{blue})")
    if player.error:
        ends = place(player.value - player.error), place(player.value + player.error)
        pieces += piece("whisker", *ends)
    said = player_text(player, e.values_unit.two_sided)
    text = html.escape(player.text)
    return (
        f'<div><span dir="auto">{text}</span><span '
        f'class="rail">{pieces}</span><small>{said}</small></div>'
    )


def picture_of(part: PicturePart, e: Explanation) -> str:
    """A picture, and beside it the same with the values laid over it;
    only the picture where it is fixed.
    """
    height, width = part.picture.shape[:2]
    what = "regions" if e.by_player else "pixels"
    alone = e.is_alone(part)
    name = "picture" if alone else html.escape(part.name)
    image = f'<img src="{picture_url(part.picture)}" width="{width}" height="{height}" alt="the {name}">'
    if part.fixed:
        said = f"{html.escape(part.name)}: fixed"
        return f'<figure class="fixed">{image}\n<figcaption>{said}</figcaption></figure>'
    said = what if alone else f"{name}, {what}"
    return (
        f"<figure>{image}\n<figcaption>{name}</figcaption></figure>\n"
        f"<figure>{_overlay(part, e)}<figcaption>{said}</figcaption>"
        f"{_legend(e.map_colors, e, e.map_legend)}</figure>"
    )


def _overlay(part: PicturePart, e: Explanation) -> str:
    """The overlay as a picture with one transparent box per region that tells its value when
    pointed at.
    """
    # Drawn over pictures of some sizes: twice that of the page, so that it stays sharp.
    small = part.smaller(2 * LONGEST)
    values, _ = e.heat_of(small)
    height, width = part.picture.shape[:2]
    boxes = "".join(
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}">'
        f"<title>{player_text(r, e.values_unit.two_sided)}</title></rect>"
        for r in part.regions
        for left, top, right, bottom in [r.box]
        if right > left
    )
    label = "overlay of the explanation" if e.is_alone(part) else f"overlay of {part.name}"
    picture = picture_url(colors.overlay(small.picture, e.map_colors.shares(values), 1, e.palette))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(label)}">'
        f'<image href="{picture}" width="{width}" height="{height}"/>{boxes}</svg>'
    )


def list_legends(e: Explanation) -> str:
    """The legends of words and bars, where that of the map does not hold for them."""
    lists = [part for part in e.parts if part.players and not isinstance(part, PicturePart)]
    has_map = any(isinstance(part, PicturePart) and part.players for part in e.parts)
    if e.one_scale and has_map:
        return ""
    scales = {e.legend_of(part): e.colors_of(part.kind) for part in lists}
    return "".join(_legend(scale, e, said) for said, scale in scales.items())


def _legend(scale: colors.Scale, e: Explanation, said: str) -> str:
    """A legend: from the value where the colors begin to the one of full color,
    and what has such a value.
    """
    low, middle, high = (
        ",".join(map(str, colors.over_white(at, 1, scale.palette)))
        for at in (scale.palette.low, (scale.palette.low + 1) / 2, 1)
    )
    ramp = f"linear-gradient(90deg,rgb({low}),rgb({middle}),rgb({high}))"
    ends = [
        value_text(end, None, e.values_unit.two_sided) if end else "0"
        for end in (scale.low, scale.full)
    ]
    return (
        f'<div class="scale">{ends[0]}<i style="background:{ramp}"></i>{ends[1]} '
        f"<span>{html.escape(said)}</span></div>"
    )


def picture_url(pixels: np.ndarray) -> str:
    """A data URL, at most `LONGEST` pixels a side. Small pictures are enlarged by whole pixels,
    to stay sharp.
    """
    image = Image.fromarray(pixels)
    if max(image.size) > LONGEST:
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    elif max(image.size) * 2 <= LONGEST:
        times = LONGEST // max(image.size)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85, method=0)  # a sixth larger, and 20 times as fast
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
