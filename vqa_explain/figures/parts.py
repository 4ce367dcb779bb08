"""What a figure shows of one input below the pictures: words on colors, bars, or a drawing of the
user's own.

All lengths are points, 72 to the inch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgb

from vqa_explain import colors
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import Part, PicturePart, PlayerValue, TextPart
from vqa_explain.figures.colormaps import own_map, part_of_map
from vqa_explain.figures.scales import HATCH, HATCH_COLOR, Scales
from vqa_explain.figures.text_lines import shortened, text_width, wrapped
from vqa_explain.showing import drawing_of
from vqa_explain.wording import player_text, value_text, with_minus

COLOR_BAR = "color bar"  # what matplotlib's axes of one are called
LEADING = 1.35  # from line to line, in font sizes
_NAME_ROW = 18.0  # the height of an input's name
_WORD_SIZE = 11.5
_WORD_ROW = 41.0
_WORD_ROOM = 16.0  # around a word
_VALUE_SIZE = 8.5
_BAR_SIZE = 9.0
_BAR_ROW = 17.0
_MOST_BARS = 40
_OWN_DRAWING = 130.0  # the height of a drawing of the user's own
_PALE = 0.35  # how far what is fixed fades


@dataclass(frozen=True)
class Block:
    """What stands below the views over the figure's whole width: its height in points, and how it
    is drawn.

    It draws into axes whose unit is the point, from (0, 0) at the lower left.
    """

    height: float
    draw: Callable[[Axes], None]


@dataclass(frozen=True)
class Look:
    """The colors of one view: `ends` are the values at the two ends of `cmap`."""

    ends: tuple[float, float]
    cmap: Colormap

    @property
    def ticks(self) -> list[float]:
        """The two ends, and zero where it lies well between them."""
        low, high = self.ends
        between = [0.0] if low < 0.8 * low + 0.2 * high < 0 < 0.2 * low + 0.8 * high else []
        return [low, *between, high] if low < high else [low]

    @property
    def norm(self) -> Normalize:
        return Normalize(*self.ends)

    def of(self, value: float) -> tuple[float, float, float]:
        """The color of a value, of 0 … 1."""
        red, green, blue, _ = self.cmap(self.norm(value))
        return red, green, blue


def look_of(scale: colors.Scale, cmap: Any, low: float = -1, high: float = 1) -> Look:
    """The colors from `low` to `high`, in shares of full color;
    one-sided scales begin at their bare value.
    """
    low = max(low, scale.palette.low)
    width = scale.full - scale.bare
    width = width if width > 0 else 1.0  # where all values are alike
    chosen = own_map(scale, low, high) if cmap is None else part_of_map(cmap, low, high)
    return Look((scale.bare + low * width, scale.bare + high * width), chosen)


def ink() -> str:
    """The color of text by matplotlib's settings, which is light on a dark ground."""
    return str(matplotlib.rcParams["text.color"])


def faded(share: float) -> tuple[float, float, float]:
    """The color of text, so far on its way to the ground."""
    text, ground = (
        np.array(to_rgb(matplotlib.rcParams[name])) for name in ("text.color", "figure.facecolor")
    )
    red, green, blue = (text + share * (ground - text)).tolist()
    return red, green, blue


def plain(text: str) -> str:
    """Text that matplotlib shows as it is, without mathematics."""
    return text.replace("$", r"\$")


def height_of(lines: Sequence[str], size: float) -> float:
    """Points that lines take, with a margin below; 0 for none."""
    return (len(lines) + 1) * LEADING * size if lines else 0.0


def blocks_of(
    part: Part, explanation: Explanation, scales: Scales, look: Look, room: float
) -> list[Block]:
    """What stands for one input that is no picture, from the top.

    The only input besides pictures needs no name if it is a text.
    """
    if part.fixed:
        return [_fixed(part, room)]
    drawn = _drawing(part, explanation, scales, look, room)
    return drawn if named_by_itself(part, explanation) else [_name(part.name, room), *drawn]


def named_by_itself(part: Part, explanation: Explanation) -> bool:
    """Whether an input is the only one besides pictures, and a text,
    so that nobody asks which it is.
    """
    others = [one for one in explanation.parts if not isinstance(one, PicturePart)]
    return isinstance(part, TextPart) and len(others) == 1


def _drawing(
    part: Part, explanation: Explanation, scales: Scales, look: Look, room: float
) -> list[Block]:
    own = drawing_of(part.kind, "figure")
    if own is not None:
        return [_own_drawing(part, explanation, own, room)]
    if isinstance(part, TextPart):
        return [_words(part, explanation, scales, look, room)] if part.words else []
    return [_bars(part, explanation, scales, look, room)] if part.players else []


def _own_drawing(
    part: Part, explanation: Explanation, draw_part: Callable[..., Any], room: float
) -> Block:
    """A drawing of the user's own, in axes with room for ticks and labels."""

    def draw(axes: Axes) -> None:
        box = axes.get_position()
        across, down = box.width / room, box.height / _OWN_DRAWING
        place = (box.x0 + 40 * across, box.y0 + 28 * down, (room - 50) * across, 86 * down)
        inner = axes.figure.add_axes(place)
        inner.tick_params(labelsize=7)
        draw_part(part, explanation, inner)

    return Block(_OWN_DRAWING, draw)


def _name(name: str, room: float) -> Block:
    """An input's name above what is drawn of it."""

    def draw(axes: Axes) -> None:
        text = plain(shortened(name, 10, room / 1.12))
        axes.text(0, 3, text, va="bottom", fontsize=10, fontweight="bold")

    return Block(_NAME_ROW, draw)


def _fixed(part: Part, room: float) -> Block:
    """What was left as it is, pale, in at most three lines."""
    said = f"{part.name} (fixed): {part.title}" if part.title else f"{part.name} (fixed)"
    lines = wrapped(said, _BAR_SIZE, room, most=3)
    height = height_of(lines, _BAR_SIZE)

    def draw(axes: Axes) -> None:
        text = plain("\n".join(lines))
        axes.text(
            0, height, text, va="top", fontsize=_BAR_SIZE, color=faded(_PALE), linespacing=1.3
        )

    return Block(height, draw)


def _words(
    part: TextPart, explanation: Explanation, scales: Scales, look: Look, room: float
) -> Block:
    """The words in rows on the colors of their values."""
    certain = (explanation.settled_parts or {}).get(part.name, ())
    unsure = scales.unsure(part)
    cells = [
        _WordCell.of(word, explanation, room, number in certain, number in unsure)
        for number, word in enumerate(part.words)
    ]
    rows: list[list[_WordCell]] = [[]]
    for cell in cells:
        if rows[-1] and sum(c.width for c in rows[-1]) + cell.width > room:
            rows.append([])
        rows[-1].append(cell)

    def draw(axes: Axes) -> None:
        for number, row in enumerate(rows):
            left = (room - sum(cell.width for cell in row)) / 2
            for cell in row:
                cell.draw(axes, left + cell.width / 2, _WORD_ROW * (len(rows) - number), look)
                left += cell.width

    return Block(_WORD_ROW * len(rows), draw)


@dataclass(frozen=True)
class _WordCell:
    """A word and its value, as they are written, the width of the two in points, and whether it is
    outlined, as what is settled is, or hatched, as what cannot be told from zero.
    """

    text: str
    said: str
    value: float
    width: float
    outlined: bool
    hatched: bool

    @classmethod
    def of(
        cls,
        word: PlayerValue,
        explanation: Explanation,
        room: float,
        outlined: bool,
        hatched: bool,
    ) -> "_WordCell":
        text = shortened(word.text, _WORD_SIZE, room - _WORD_ROOM)
        said = with_minus(player_text(word, explanation.values_unit.two_sided))
        width = max(text_width(text, _WORD_SIZE), text_width(said, _VALUE_SIZE)) + _WORD_ROOM
        return cls(text, said, word.value, width, outlined, hatched)

    def draw(self, axes: Axes, middle: float, top: float, look: Look) -> None:
        red, green, blue = look.of(self.value)
        edge = HATCH_COLOR if self.hatched else faded(0.75)
        axes.text(
            middle,
            top - 13,
            plain(self.text),
            ha="center",
            va="center",
            bbox={
                "facecolor": (red, green, blue),
                "edgecolor": ink() if self.outlined else edge,
                "linewidth": 1.6 if self.outlined else 0.6,
                "hatch": HATCH if self.hatched else None,
                "boxstyle": "round,pad=0.3",
            },
            color=colors.ink((255 * red, 255 * green, 255 * blue)),
            fontsize=_WORD_SIZE,
        )
        axes.text(middle, top - 25, self.said, ha="center", va="top", fontsize=_VALUE_SIZE)


def _bars(part: Part, explanation: Explanation, scales: Scales, look: Look, room: float) -> Block:
    """One bar per player from zero to its value, with a whisker of its standard error."""
    players, left_out = shown_players(part)
    signed = explanation.values_unit.two_sided
    said = [with_minus(player_text(player, signed)) for player in players]
    names = [shortened(player.text, _BAR_SIZE, 0.35 * room) for player in players]
    left = max(text_width(name, _BAR_SIZE) for name in names) + 8
    right = room - max(text_width(text, _VALUE_SIZE) for text in said) - 8
    lines = wrapped(left_out, _VALUE_SIZE, room) if left_out else []
    height = _BAR_ROW * len(players) + height_of(lines, _VALUE_SIZE) + 6
    place = _placer(players, explanation, scales.of(part.kind).full, left, right)
    numbers = (explanation.settled_parts or {}).get(part.name, ())
    certain = [part.players[number] for number in numbers]
    unsure = [part.players[number] for number in scales.unsure(part)]

    def draw(axes: Axes) -> None:
        bottom = height - _BAR_ROW * len(players)
        axes.plot([place(0.0)] * 2, [bottom, height], color=faded(0.5), linewidth=0.6)
        for row, player in enumerate(players):
            middle = height - _BAR_ROW * (row + 0.5)
            start, end = place(0.0), place(player.value)
            axes.barh(
                middle,
                end - start,
                left=start,
                height=0.65 * _BAR_ROW,
                color=look.of(player.value),
                edgecolor=ink() if player in certain else faded(0.5),
                linewidth=1.6 if player in certain else 0.5,
                hatch=HATCH if player in unsure else None,
            )
            if player.error:
                ends = [place(player.value - player.error), place(player.value + player.error)]
                axes.plot(ends, [middle, middle], color=ink(), linewidth=1)
            name = plain(names[row])
            axes.text(left - 6, middle, name, ha="right", va="center", fontsize=_BAR_SIZE)
            axes.text(room, middle, said[row], ha="right", va="center", fontsize=_VALUE_SIZE)
        text = plain("\n".join(lines))
        axes.text(0, bottom - 3, text, va="top", fontsize=_VALUE_SIZE, linespacing=1.3)

    return Block(height, draw)


def shown_players(part: Part) -> tuple[list[PlayerValue], str]:
    """The players that a list of bars has room for, in their order,
    and a sentence where some are left out.
    """
    players = list(part.players)
    if len(players) <= _MOST_BARS:
        return players, ""
    order = sorted(range(len(players)), key=lambda number: -abs(players[number].value))
    largest = sorted(order[:_MOST_BARS])
    said = f"the {_MOST_BARS} of {len(players):,} {part.player}s with the largest values"
    return [players[number] for number in largest], said


def _placer(
    players: Sequence[PlayerValue], explanation: Explanation, full: float, left: float, right: float
) -> Callable[[float], float]:
    """Value → place in points between `left` and `right`; zero,
    all values and their errors have a place.
    """
    ends = [player.value + sign * (player.error or 0) for player in players for sign in (-1, 1)]
    # As long as the color is strong: full color is a whole side, also where other inputs have
    # larger values.
    ends += explanation.full_ends(full, [player.value for player in players])
    # Where zero means nothing, as of mean scores, it may be far away.
    start = [0.0] if explanation.values_unit.from_zero else []
    low, high = min([*start, *ends]), max([*start, *ends])
    width = high - low if high > low else 1.0

    def place(value: float) -> float:
        share = min(1.0, max(0.0, (value - low) / width))
        return left + share * (right - left)

    return place


def legend(said: str, look: Look, ends: tuple[str, str], room: float) -> Block:
    """A color bar with its unit and, at its ends, what they speak for."""
    lines = wrapped(said, _BAR_SIZE, room, most=2)
    height = LEADING * _BAR_SIZE * len(lines) + 30
    wide = min(240.0, 0.4 * room)
    beside = (room - wide) / 2 - 14
    low, high = (shortened(end, _BAR_SIZE, beside) for end in ends)

    def draw(axes: Axes) -> None:
        axes.text(
            room / 2, 2, plain("\n".join(lines)), ha="center", va="bottom", fontsize=_BAR_SIZE
        )
        left, middle = (room - wide) / 2, height - 8
        place = axes.inset_axes((left, middle - 4, wide, 8), transform=axes.transData)
        place.set_label(COLOR_BAR)
        bar = axes.figure.colorbar(
            ScalarMappable(look.norm, look.cmap), cax=place, orientation="horizontal"
        )
        bar.set_ticks(
            look.ticks,
            labels=[with_minus(value_text(tick, None, signed=False)) for tick in look.ticks],
        )
        bar.ax.tick_params(labelsize=_VALUE_SIZE, length=2, pad=1)
        bar.outline.set_linewidth(0.5)
        axes.text(left - 10, middle, plain(low), ha="right", va="center", fontsize=_BAR_SIZE)
        axes.text(left + wide + 10, middle, plain(high), va="center", fontsize=_BAR_SIZE)

    return Block(height, draw)
