"""What a figure shows of one input below the pictures: words on colors, bars, or a drawing of the
user's own.

All lengths are points, 72 to the inch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from vqa_explain import colors
from vqa_explain.explanation import Explanation, value_text
from vqa_explain.features.parts import Part, PicturePart, PlayerValue, TextPart
from vqa_explain.figures.colormaps import own_map, part_of_map
from vqa_explain.figures.text_lines import shortened, text_width, wrapped
from vqa_explain.showing import drawing_of

LEADING = 1.35  # from line to line, in font sizes
_NAME_ROW = 16.0  # the height of an input's name
_WORD_SIZE = 10.0
_WORD_ROW = 36.0
_WORD_ROOM = 16.0  # around a word
_BAR_SIZE = 8.0
_BAR_ROW = 15.0
_MOST_BARS = 40
_OWN_DRAWING = 130.0  # the height of a drawing of the user's own
_PALE = "#6b7680"  # of what is fixed


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


def plain(text: str) -> str:
    """Text that matplotlib shows as it is, without mathematics."""
    return text.replace("$", r"\$")


def height_of(lines: Sequence[str], size: float) -> float:
    """Points that lines take, with a margin below; 0 for none."""
    return (len(lines) + 1) * LEADING * size if lines else 0.0


def blocks_of(part: Part, explanation: Explanation, look: Look, room: float) -> list[Block]:
    """What stands for one input that is no picture, from the top.

    The only input besides pictures needs no name if it is a text.
    """
    if part.fixed:
        return [_fixed(part, room)]
    drawn = _drawing(part, explanation, look, room)
    return drawn if named_by_itself(part, explanation) else [_name(part.name, room), *drawn]


def named_by_itself(part: Part, explanation: Explanation) -> bool:
    """Whether an input is the only one besides pictures, and a text,
    so that nobody asks which it is.
    """
    others = [one for one in explanation.parts if not isinstance(one, PicturePart)]
    return isinstance(part, TextPart) and len(others) == 1


def _drawing(part: Part, explanation: Explanation, look: Look, room: float) -> list[Block]:
    own = drawing_of(part.kind, "figure")
    if own is not None:
        return [_own_drawing(part, explanation, own, room)]
    if isinstance(part, TextPart):
        return [_words(part, explanation, look, room)] if part.words else []
    return [_bars(part, explanation, look, room)] if part.players else []


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
        text = plain(shortened(name, 9, room))
        axes.text(0, 3, text, va="bottom", fontsize=9, fontweight="bold", color="#333333")

    return Block(_NAME_ROW, draw)


def _fixed(part: Part, room: float) -> Block:
    """What was left as it is, pale, in at most three lines."""
    said = f"{part.name} (fixed): {part.title}" if part.title else f"{part.name} (fixed)"
    lines = wrapped(said, _BAR_SIZE, room, most=3)
    height = height_of(lines, _BAR_SIZE)

    def draw(axes: Axes) -> None:
        text = plain("\n".join(lines))
        axes.text(0, height, text, va="top", fontsize=_BAR_SIZE, color=_PALE, linespacing=1.3)

    return Block(height, draw)


def _words(part: TextPart, explanation: Explanation, look: Look, room: float) -> Block:
    """The words in rows on the colors of their values."""
    cells = [_WordCell.of(word, explanation, room) for word in part.words]
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
    """A word and its value, as they are written, and the width of the two in points."""

    text: str
    said: str
    value: float
    width: float

    @classmethod
    def of(cls, word: PlayerValue, explanation: Explanation, room: float) -> "_WordCell":
        text = shortened(word.text, _WORD_SIZE, room - _WORD_ROOM)
        said = value_text(word.value, word.error, explanation.values_unit.two_sided)
        width = max(text_width(text, _WORD_SIZE), text_width(said, 6.5)) + _WORD_ROOM
        return cls(text, said, word.value, width)

    def draw(self, axes: Axes, middle: float, top: float, look: Look) -> None:
        red, green, blue = look.of(self.value)
        axes.text(
            middle,
            top - 12,
            plain(self.text),
            ha="center",
            va="center",
            bbox={
                "facecolor": (red, green, blue),
                "edgecolor": "none",
                "boxstyle": "round,pad=0.3",
            },
            color=colors.ink((255 * red, 255 * green, 255 * blue)),
            fontsize=_WORD_SIZE,
        )
        axes.text(middle, top - 23, self.said, ha="center", va="top", fontsize=6.5)


def _bars(part: Part, explanation: Explanation, look: Look, room: float) -> Block:
    """One bar per player from zero to its value, with a whisker of its standard error."""
    players, left_out = shown_players(part)
    signed = explanation.values_unit.two_sided
    said = [value_text(player.value, player.error, signed) for player in players]
    names = [shortened(player.text, _BAR_SIZE, 0.35 * room) for player in players]
    left = max(text_width(name, _BAR_SIZE) for name in names) + 8
    right = room - max(text_width(text, 7) for text in said) - 8
    lines = wrapped(left_out, 7, room) if left_out else []
    height = _BAR_ROW * len(players) + height_of(lines, 7) + 6
    place = _placer(players, explanation, part.kind, left, right)

    def draw(axes: Axes) -> None:
        bottom = height - _BAR_ROW * len(players)
        axes.plot([place(0.0)] * 2, [bottom, height], color="#999999", linewidth=0.6)
        for row, player in enumerate(players):
            middle = height - _BAR_ROW * (row + 0.5)
            start, end = place(0.0), place(player.value)
            axes.barh(
                middle,
                end - start,
                left=start,
                height=0.65 * _BAR_ROW,
                color=look.of(player.value),
                edgecolor="#888888",
                linewidth=0.5,
            )
            if player.error:
                ends = [place(player.value - player.error), place(player.value + player.error)]
                axes.plot(ends, [middle, middle], color="#222222", linewidth=1)
            axes.text(left - 6, middle, plain(names[row]), ha="right", va="center", fontsize=8)
            axes.text(room, middle, said[row], ha="right", va="center", fontsize=7)
        text = plain("\n".join(lines))
        axes.text(0, bottom - 3, text, va="top", fontsize=7, linespacing=1.3)

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
    players: Sequence[PlayerValue], explanation: Explanation, kind: str, left: float, right: float
) -> Callable[[float], float]:
    """Value → place in points between `left` and `right`; zero,
    all values and their errors have a place.
    """
    ends = [player.value + sign * (player.error or 0) for player in players for sign in (-1, 1)]
    # As long as the color is strong: full color is a whole side, also where other inputs have
    # larger values.
    ends += explanation.full_ends(kind, [player.value for player in players])
    # Where zero means nothing, as of mean scores, it may be far away.
    start = [0.0] if explanation.values_unit.from_zero else []
    low, high = min([*start, *ends]), max([*start, *ends])
    width = high - low if high > low else 1.0

    def place(value: float) -> float:
        share = min(1.0, max(0.0, (value - low) / width))
        return left + share * (right - left)

    return place


def legend(said: str, look: Look, room: float) -> Block:
    """A color bar with its unit."""
    lines = wrapped(said, 8, room, most=2)
    height = height_of(lines, 8) + 16

    def draw(axes: Axes) -> None:
        axes.text(room / 2, 2, plain("\n".join(lines)), ha="center", va="bottom", fontsize=8)
        place = axes.inset_axes((room / 2 - 110, height - 9, 220, 7), transform=axes.transData)
        bar = axes.figure.colorbar(
            ScalarMappable(look.norm, look.cmap), cax=place, orientation="horizontal"
        )
        bar.ax.tick_params(labelsize=7, length=2, pad=1)

    return Block(height, draw)
