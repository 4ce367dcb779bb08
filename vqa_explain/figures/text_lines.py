"""Text of a figure, divided into lines of a stated width:
matplotlib draws past the edge what does not fit.
"""

from functools import lru_cache

import matplotlib
from matplotlib.backends.backend_agg import get_hinting_flag
from matplotlib.font_manager import FontProperties, findfont, get_font

_UNKNOWN = (
    1.15  # em, of letters that the font lacks and another one draws: whole pixels above one em
)
_MEASURED = 100.0  # points, the size at which letters are measured
# Letters are whole pixels wide on a screen: at a small size a line is up to a fifth wider than its
# letters are without pixels. Figures are shown at 100 dots per inch, and saved at others.
_DOTS_PER_INCH = (None, 72, 80, 96, 100, 150)


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of one line in points, at a font size in points;
    the font is matplotlib's own setting.
    """
    path = findfont(FontProperties(family=matplotlib.rcParams["font.family"], weight=weight))
    return max(
        sum(_advance(path, letter, size, dots) for letter in text) for dots in _DOTS_PER_INCH
    )


@lru_cache(maxsize=20_000)
def _advance(path: str, letter: str, size: float, dots: int | None) -> float:
    """The width of a letter in points, on a screen of so many dots per inch, or on none."""
    font = get_font(path)
    font.set_size(_MEASURED if dots is None else size, dots or 72)
    code = ord(letter)
    if not font.get_char_index(code):
        return size * _UNKNOWN
    if dots is None:
        return float(size * font.load_char(code).linearHoriAdvance / 65536 / _MEASURED)
    advance = font.load_char(code, flags=get_hinting_flag()).horiAdvance / 64  # in pixels
    return float(advance * 72 / dots)


def wrapped(text: str, size: float, width: float, most: int | None = None) -> list[str]:
    """The text in lines of at most `width` points, at most so many; "…" ends what is cut.

    Lines end at blanks; a word that is too wide for a line is divided.
    """
    lines = [""]
    for word in text.split():
        whole = f"{lines[-1]} {word}".strip()
        if text_width(whole, size) <= width:
            lines[-1] = whole
            continue
        if lines[-1]:
            lines.append("")
        *full, lines[-1] = _divided(word, size, width)
        lines[-1:] = [*full, lines[-1]]
        if most is not None and len(lines) > most:
            break
    if most is None or len(lines) <= most:
        return lines
    return [*lines[: most - 1], shortened(f"{lines[most - 1]} {lines[most]}", size, width)]


def _divided(word: str, size: float, width: float) -> list[str]:
    """Pieces of a word, each as long as a line allows and of one letter at least."""
    pieces, room = [""], width
    for letter in word:
        wide = text_width(letter, size)
        if wide > room and pieces[-1]:
            pieces.append("")
            room = width
        pieces[-1] += letter
        room -= wide
    return pieces


def shortened(text: str, size: float, width: float) -> str:
    """The text if it is at most `width` points wide; else its beginning with "…"."""
    if text_width(text, size) <= width:
        return text
    beginning = _divided(text, size, width - text_width("…", size))[0]
    return f"{beginning.rstrip()}…"
