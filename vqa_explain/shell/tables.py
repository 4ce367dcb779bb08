"""Tables for the terminal."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.style import Style
from rich.table import Table
from rich.text import Text

from vqa_explain import colors
from vqa_explain.shell.facts import describe_models, listed_methods
from vqa_explain.shell.terminal import visible

if TYPE_CHECKING:  # lists need none of these, and they bring torch
    from vqa_explain.explanation import Explanation
    from vqa_explain.features.parts import Part, PlayerValue, TextPart

MOST_PLAYERS = 8  # of a picture, and of kinds with many players


class PlainTable(Table):
    """A table whose texts are shown as they are;
    rich would take words in brackets for its own markup.
    """

    def __init__(
        self, *headers: str, title: Text | str = "", caption: Text | str = "", **more: Any
    ) -> None:
        super().__init__(
            *(escape(visible(header)) for header in headers),
            title=_as_it_is(title) if title else None,
            caption=_as_it_is(caption) if caption else None,
            **more,
        )

    def add_row(self, *cells: Any, **more: Any) -> None:
        super().add_row(*map(_as_it_is, cells), **more)


def _as_it_is(cell: Any) -> Any:
    return Text(visible(cell)) if isinstance(cell, str) else cell


def _colored(text: str, value: float, scale: colors.Scale) -> Text:
    red, green, blue = scale.of(value)
    return Text(
        text, Style(color=colors.ink((red, green, blue)), bgcolor=f"rgb({red},{green},{blue})")
    )


def question_text(e: "Explanation") -> Text:
    """The texts that were asked, with each word on the color of its value;
    or what was classified.
    """
    from vqa_explain.features.parts import TextPart

    asked = [part for part in e.parts if isinstance(part, TextPart) and not part.fixed]
    if not asked:
        return Text(e.heading)
    return Text(" · ").join(_colored_text(e, part) for part in asked)


def _colored_text(e: "Explanation", part: "TextPart") -> Text:
    text, at = Text(), 0
    for word in part.words:
        text.append(part.source[at : word.start])
        text.append_text(_colored(word.text, word.value, e.colors_of(part.kind)))
        at = word.end
    text.append(part.source[at:])
    return text


def explanations_table(explained: Sequence["Explanation"]) -> Table:
    """One row per explanation: question, answer, probability, share, error."""
    table = PlainTable(
        "question", "answer", "probability", "share", "error", title="Why these answers?"
    )
    for e in explained:
        probability = next(
            (a.shown for a in e.answers if a.index == e.provenance.get("target_index")), "–"
        )
        answer = e.target + (f" rather than {e.contrast}" if e.contrast else "")
        table.add_row(question_text(e), Text(answer), probability, e.share_text, e.error_text)
    return table


def explanation_tables(e: "Explanation") -> list[Table]:
    """The summary, a table for each input, and the pairs that stand out, of one explanation."""
    from vqa_explain.features.parts import PicturePart

    # Pictures, whose regions are named by numbers, come after what can be read.
    parts = sorted(e.parts, key=lambda part: isinstance(part, PicturePart))
    tables = [explanations_table([e]), *(_part_table(e, part) for part in parts if part.players)]
    tables[1:1] = [_words_table(e)] if e.outputs else []
    tables += [_fixed_table(e)] if any(part.fixed for part in e.parts) else []
    tables += [_pairs_table(e)] if e.pairs else []
    return [*tables, _notes_table(e)] if e.notes else tables


def _part_table(e: "Explanation", part: "Part") -> Table:
    """The players of one input with their values: all words and columns,
    and the strongest of many others.
    """
    from vqa_explain.features.parts import PicturePart, band_of

    told = part.telling(MOST_PLAYERS)
    few = len(told) < len(part.players)
    ordered = told if few or isinstance(part, PicturePart) else part.players
    what = f"{part.player}s"
    name = what if e.is_alone(part) else f"{what} of {part.name}"
    title = f"strongest {name}" if few or isinstance(part, PicturePart) else name
    header = "left, top, right, bottom" if isinstance(part, PicturePart) else part.player
    # Over several fills, what stands beside an error is where the value lies under each.
    banded = any(band_of(player) is not None for player in part.players)
    headers = [header, "value", "± error", *(["over the fills"] if banded else [])]
    table = PlainTable(*headers, title=f"{title[:1].upper()}{title[1:]}: {e.unit_text}")
    for player in ordered:
        scale, value = e.colors_of(part.kind), _number(e, player.value)
        if isinstance(part, PicturePart):
            cells = [player.text.strip("()"), _colored(value, player.value, scale)]
        else:
            cells = [_colored(player.text, player.value, scale), value]
        ends = [_band(e, player)] if banded else []
        table.add_row(*cells, _plus_minus(player.error), *ends)
    return table


def _band(e: "Explanation", player: "PlayerValue") -> str:
    """The lowest and highest end of a value under several fills, marked where it may have any
    sign.
    """
    from vqa_explain.features.parts import band_of
    from vqa_explain.wording import DEPENDS

    band = band_of(player)
    if band is None:
        return "–"
    mark = f" {DEPENDS}" if band[0] <= 0 <= band[1] else ""
    return f"{_number(e, band[0])} … {_number(e, band[1])}{mark}"


def _words_table(e: "Explanation") -> Table:
    """The words of a sentence, each given those before it, with what mattered most for it."""
    from vqa_explain.wording import value_text

    matrix = e.matrix
    headers = ["word", "log probability", "share", "most important part"]
    measured = any(row.with_pictures is not None for row in e.outputs)
    headers += ["more likely with the picture"] if measured else []
    earlier = any(row.earlier for row in e.outputs)
    headers += ["most important earlier word"] if earlier else []
    table = PlainTable(*headers, title="Words of the answer")
    for number, row in enumerate(e.outputs):
        largest = int(np.abs(matrix.values[number]).argmax())
        error = None if matrix.errors is None else float(matrix.errors[number, largest])
        value = value_text(float(matrix.values[number, largest]), error, row.values_unit.two_sided)
        name, part = matrix.parts[largest]
        told = f"{matrix.log_probabilities[number]:.2f}"
        cells = [row.target, told, row.share_text, f"{name}: {part} {value}"]
        if measured:
            gain = row.with_pictures or 0.0
            cells.append("no" if row.is_not_from_pictures else f"{math.exp(gain):.3g} times")
        if earlier:
            cells.append(_earlier_word(e, number))
        table.add_row(*cells)
    return table


def _earlier_word(e: "Explanation", number: int) -> str:
    """The word before a word of a sentence that mattered most for it."""
    from vqa_explain.wording import value_text

    row = e.outputs[number]
    if not row.earlier:
        return ""
    largest = int(np.abs(row.earlier).argmax())
    value = value_text(row.earlier[largest], row.earlier_errors[largest] or None, True)
    return f"{e.outputs[largest].target} {value}"


def _fixed_table(e: "Explanation") -> Table:
    """The inputs that were left as they are."""
    table = PlainTable("input", "what it is", title="Fixed inputs")
    for part in e.parts:
        if part.fixed:
            title = part.title or part.kind
            table.add_row(part.name, title if len(title) <= 200 else f"{title[:199]}…")
    return table


def _notes_table(e: "Explanation") -> Table:
    """What a reader must know of the values."""
    table = PlainTable("note", title="Notes", show_lines=True)
    for note in e.notes:
        table.add_row(Text(note))
    return table


def _pairs_table(e: "Explanation") -> Table:
    """The pairs of players of two inputs that stand out from their errors."""
    from vqa_explain.wording import value_text

    found, said = e.findings(8)
    title = f"{e.pairs_title[:1].upper()}{e.pairs_title[1:]}"
    headers = ("first", "second") if len(e.joint) > 1 else tuple(e.pairs_title.split(" × "))
    headers = tuple(header.removesuffix("s") for header in headers)
    table = PlainTable(*headers, "value ± error", "errors from zero", title=title, caption=said)
    for pair in found:
        table.add_row(*e.pair_names(pair), value_text(pair.value, pair.error), f"{pair.ratio:.1f}")
    return table


def _number(e: "Explanation", value: float) -> str:
    return f"{value:+.4g}" if e.values_unit.two_sided else f"{value:.4g}"


def _plus_minus(error: float | None) -> str:
    return "–" if error is None else f"{error:.2g}"


def methods_tables(name: str | None) -> list[Table]:
    """All methods, or one with all that is known of it."""
    rows = listed_methods(name)
    if name is None:
        table = PlainTable(
            "method", "what it is", "unit", "source", "needs", title="Methods", show_lines=True
        )
        table.columns[0].no_wrap = True  # one needs the whole name to ask for it
        for row in rows:
            needs = ", ".join(row["needs"]) or "–"
            table.add_row(
                row["name"], " ".join(row["about"].split()), row["unit"], row["source"], needs
            )
        return [table]
    row = rows[0]
    card = PlainTable(show_header=False, title=name)
    paragraphs = [" ".join(paragraph.split()) for paragraph in row["definition"].split("\n\n")]
    card.add_row("definition", "\n\n".join(paragraphs))
    card.add_row("unit of its values", row["unit"])
    card.add_row("source", row["source"])
    card.add_row("a model must have", ", ".join(row["needs"]) or "nothing but scores")
    card.add_row("error", row["error"])
    card.add_row("typical cost", row["cost"])
    return [card, parameters_table(name, row["parameters"])] if row["parameters"] else [card]


def parameters_table(name: str, parameters: list[dict[str, Any]]) -> Table:
    """Each parameter with its default, values and meaning."""
    table = PlainTable("parameter", "default", "values", "meaning", title=f"Parameters of {name}")
    for p in parameters:
        if "choices" in p:
            values = ", ".join(map(str, p["choices"])) + (", or a list" if p.get("several") else "")
        else:
            values = " … ".join(str(p[k]) for k in ("low", "high") if k in p)
            values = values if "high" in p or not values else f"at least {values}"
        table.add_row(p["name"], str(p["default"]), values, p["help"])
    return table


def models_tables() -> list[Table]:
    """Shipped models, families, which methods work on which family, and architectures."""
    found = describe_models()
    shipped = PlainTable("name", "what it is", title="Shipped")
    for name, about in [*found["shipped"].items(), *((name, "your own") for name in found["own"])]:
        shipped.add_row(name, about)
    families = PlainTable("name", "what it is", "can do", title="Families", show_lines=True)
    for name, family in found["families"].items():
        note = f"\n({family['note']})" if family["note"] else ""
        families.add_row(name, family["about"] + note, ", ".join(family["capabilities"]))
    matrix = PlainTable("method", *found["families"], title="Methods")
    for method in [row["name"] for row in listed_methods(None)]:
        matrix.add_row(
            method, *("yes" if method in f["works"] else "–" for f in found["families"].values())
        )
    title = f"Architectures of transformers {found['transformers']}"
    tried = PlainTable("name", "task", "verdict", "because", title=title)
    for one in found["architectures"]:
        tried.add_row(one["name"], one["task"], one["verdict"], one["because"])
    return [shipped, families, matrix, tried]
