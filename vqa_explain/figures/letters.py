"""Letters that matplotlib's own font lacks: drawn with another installed font, or as a box."""

import logging
import unicodedata
from functools import cache

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

_LOG = logging.getLogger("vqa_explain")
_LAST_RESORT = "Last Resort"  # a font of matplotlib's whose every letter is the name of its script
MISSING = "□"  # in place of a letter that no installed font has; matplotlib's own font has it


def complete_letters(figure: Figure) -> None:
    """Gives texts fonts that have their letters; what no font has becomes a box, which is logged.

    Else matplotlib draws its own box for each such letter, and warns of each.
    """
    texts = [one for one in figure.findobj(Text) if isinstance(one, Text)]
    lacking = _lacking("".join(text.get_text() for text in texts))
    if not lacking:
        return
    fonts = {letter: _other_font(letter) for letter in lacking}
    missing = {letter for letter, name in fonts.items() if name is None}
    for text in texts:
        said = text.get_text()
        others = [name for letter in set(said) if (name := fonts.get(letter)) is not None]
        if others:
            text.set_fontfamily([*matplotlib.rcParams["font.family"], *sorted(set(others))])
        if missing & set(said):
            text.set_text("".join(MISSING if one in missing else one for one in said))
    if missing:
        _LOG.warning(
            "%d letters of the figure are in no installed font and drawn as %s: install a font "
            "that has them, such as Noto Sans CJK",
            len(missing),
            MISSING,
        )


def _lacking(text: str) -> list[str]:
    """The letters of a text that the figure's own font lacks, sorted."""
    path = findfont(FontProperties(family=matplotlib.rcParams["font.family"]))
    letters = set(text) - {"\n"}
    drawn = {letter for letter in letters if unicodedata.category(letter)[0] != "Z"}  # no blanks
    return sorted(letter for letter in drawn if not _has(path, letter))


def _has(path: str, letter: str) -> bool:
    return bool(get_font(path).get_char_index(ord(letter)))


@cache
def _other_font(letter: str) -> str | None:
    """The name of an installed font that has the letter; upright ones first."""
    for entry in sorted(fontManager.ttflist, key=lambda one: (one.style != "normal", one.name)):
        if entry.name.startswith(_LAST_RESORT):
            continue
        try:
            if _has(entry.fname, letter):
                return str(entry.name)
        except (OSError, RuntimeError):  # a file that is gone, or that matplotlib cannot read
            continue
    return None
