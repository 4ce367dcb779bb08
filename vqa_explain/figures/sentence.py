"""A sentence in a figure: its words, what each took from the pictures, and the words of both sides
against each other.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from vqa_explain import colors
from vqa_explain.errors import InvalidInput
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import JointValues, Part, PicturePart
from vqa_explain.figures.matrix import Table, look_of_matrix, table
from vqa_explain.figures.parts import Block, faded, ink, legend, plain
from vqa_explain.figures.scales import HATCHED
from vqa_explain.figures.text_lines import shortened, text_width
from vqa_explain.figures.views import TITLE_SIZE

MOST_WORDS = 6  # whose pictures are drawn where none are asked for
ANSWER = "answer"
_CHIP_SIZE = 11.0
_CHIP_ROW = 25.0
_CHIP_ROOM = 13.0
_SAID = 14.0  # the height of what is said below the words


def chosen_words(explanation: Explanation, asked: Sequence[str | int] | None) -> list[int]:
    """The numbers of the words whose pictures a figure shows.

    Args:
        explanation: of a sentence.
        asked: words or their numbers; by default the six that the pictures matter most for.

    Raises:
        InvalidInput: there is no such word.
    """
    pictures = _pictures(explanation)
    if asked is not None:
        if not pictures:
            raise InvalidInput("no picture has values, so none is drawn; leave outputs= out")
        if isinstance(asked, str) or not len(asked):
            raise InvalidInput("outputs must be a list of words, such as ['red', 3]")
        found = [number for one in asked for number in explanation.matrix.numbers(one)]
        return list(dict.fromkeys(found))
    sizes = [
        sum(np.abs(part.values).sum() for part in _pictures(row)) for row in explanation.outputs
    ]
    order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
    return sorted(order[:MOST_WORDS])


def _pictures(row: Explanation) -> list[Part]:
    return [part for part in row.parts if isinstance(part, PicturePart) and not part.fixed]


def of_words(explanation: Explanation, words: Sequence[int]) -> Explanation:
    """An explanation with the parts of all these words, from which one scale for all is made."""
    parts = [part for number in words for part in explanation.outputs[number].parts]
    return replace(explanation, parts=tuple(parts), outputs=())


def chips(explanation: Explanation, words: Sequence[int], room: float) -> Block:
    """The answer's words in rows, colored by the pictures' share; those whose pictures are drawn
    have a frame.
    """
    rows: list[list[tuple[int, str, float]]] = [[]]
    for number, row in enumerate(explanation.outputs):
        text = shortened(row.target, _CHIP_SIZE, room - _CHIP_ROOM)
        width = text_width(text, _CHIP_SIZE) + _CHIP_ROOM
        if rows[-1] and sum(one[2] for one in rows[-1]) + width > room:
            rows.append([])
        rows[-1].append((number, text, width))
    shares = [row.picture_share for row in explanation.outputs]
    flagged = [row.is_not_from_pictures for row in explanation.outputs]
    colored = any(share is not None for share in shares)
    height = _CHIP_ROW * len(rows) + _SAID + 4

    def draw(axes: Axes) -> None:
        for line, row in enumerate(rows):
            left, middle = 0.0, height - _CHIP_ROW * (line + 0.5)
            for number, text, width in row:
                ground = colors.over_white(shares[number] or 0.0, 1.0, colors.SIZES)
                framed = number in words
                axes.text(
                    left + width / 2,
                    middle,
                    plain(text),
                    ha="center",
                    va="center",
                    fontsize=_CHIP_SIZE,
                    color=colors.ink(ground) if colored else ink(),
                    bbox={
                        "boxstyle": "round,pad=0.25",
                        "facecolor": tuple(part / 255 for part in ground) if colored else "none",
                        "edgecolor": ink() if framed else faded(0.75),
                        "linewidth": 1.2 if framed else 0.5,
                        "linestyle": "--" if flagged[number] else "-",
                    },
                )
                left += width
        said = "darker: a larger share of the values is on the picture; " if colored else ""
        said += "framed: drawn below; " if words else ""
        said += "dashed: not from the picture" if any(flagged) else ""
        axes.text(0, 6, said.removesuffix("; "), va="bottom", fontsize=8.5)

    return Block(height, draw)


def unit_of_words(explanation: Explanation, player: str) -> str:
    """What a color stands for in every word."""
    text = explanation.values_unit.text.replace("{score}", "the log probability of a word")
    return f"{text}, per {player}"


def word_title(explanation: Explanation, number: int, width: float) -> str:
    """What stands above the picture of a word: the word, with its number where it stands there
    twice, and its probability.
    """
    row = explanation.outputs[number]
    twice = sum(other.target == row.target for other in explanation.outputs) > 1
    again = f" ({number})" if twice else ""
    return plain(shortened(f"“{row.target}”{again}, {row.answers[0].shown}", TITLE_SIZE, width))


def tables(explanation: Explanation, cmap: Any, room: float, regions: bool) -> list[Block]:
    """The answer's words against the players of each input, and a color bar for all.

    Args:
        explanation: of a sentence.
        cmap: a color map in place of our own.
        room: the width.
        regions: whether regions have a table too; they are numbered on the picture then.
    """
    matrix, at = explanation.matrix, 0
    unit = explanation.values_unit
    blocks: list[Block] = []
    look = look_of_matrix(matrix.values, cmap, explanation.palette)
    for part in explanation.parts:
        if part.fixed:
            continue
        columns = slice(at, at + len(part.players))
        at = columns.stop
        is_picture = isinstance(part, PicturePart)
        if not part.players or (is_picture and not regions):
            continue
        errors = None if matrix.errors is None else matrix.errors[:, columns]
        joint = JointValues(ANSWER, part.name, matrix.values[:, columns], errors)
        names = None if is_picture else [player.text for player in part.players]
        title = f"words of the answer × {part.player}s of {part.name}"
        across = f"{part.player} of {part.name}"
        if not unit.shared:
            look = look_of_matrix(joint.values, cmap, explanation.palette)
        blocks.append(table(Table(joint, matrix.words, names, title, across), look, room))
        if not unit.shared:
            blocks.append(legend(unit_of_words(explanation, part.player), look, ("", ""), room))
    if blocks and unit.shared:
        said = unit_of_words(explanation, explanation.all_players)
        if matrix.errors is not None:
            said += HATCHED
        blocks.append(legend(said, look, ("", ""), room))
    return blocks
