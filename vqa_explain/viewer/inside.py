"""What the viewer draws of the inside of a network: blocks and heads as plain values."""

import html
from typing import Any

import numpy as np

from vqa_explain.errors import Unsupported
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.inside.heads import Heads, heads
from vqa_explain.inside.layers import Layers, layers
from vqa_explain.models.base import Model
from vqa_explain.viewer.export import page_of_payloads
from vqa_explain.viewer.payload import Pack, packed, part_of_output, payload


def looked_inside(
    model: Model, example: Example, explanation: Explanation, pack: Pack
) -> dict[str, Any]:
    """What the blocks and heads of a network do to the answer that an explanation is of.

    Raises:
        InvalidInput, Unsupported: see `vqa_explain.layers`.
    """
    if explanation.target_index is None:
        raise Unsupported("the tab follows an answer; this explanation is of another score")
    how: dict[str, Any] = {
        "target": explanation.target,
        "contrast": explanation.contrast,
        "score": explanation.score,
    }
    if model.labels is None:
        how["answers"] = [one.text for one in explanation.answers]
    found = layers(model, example, **how)
    try:
        each = heads(model, example, **how)
    except Unsupported:  # blocks without heads that can be told apart
        each = None
    return payload_of_inside(found, each, pack)


def payload_of_inside(found: Layers, each: Heads | None, pack: Pack) -> dict[str, Any]:
    """Blocks, their maps and their heads.

    The maps' pictures are left out: they are those of the explanation that is shown.
    """
    return {
        "said": _said(found),
        "answer": found.answer.text,
        "score": found.score,
        "change": found.change,
        "groups": list(found.groups),
        "decided": found.decided(),
        "settled": {name: found.settled(name) for name in found.without},
        "blocks": [
            {
                "path": path,
                "values": found.conductance[number].tolist(),
                "early": _told(found.early[number]),
                "without": {name: _told(of[number]) for name, of in found.without.items()},
                "row": _row(found.maps[number], pack) if found.maps else None,
            }
            for number, path in enumerate(found.blocks)
        ],
        "base": _bare(found.maps[0], pack) if found.maps else None,
        "heads": None if each is None else _heads(each, found, pack),
    }


def _told(answer: Any) -> dict[str, Any]:
    return {"text": answer.text, "probability": answer.probability, "shown": answer.shown}


def _row(of: Explanation, pack: Pack) -> dict[str, Any]:
    """What the map of a block has of its own."""
    parts = [part_of_output(of, part, pack) for part in of.parts]
    for part in parts:
        part.pop("heat", None)
    return {
        "target": of.target,
        "explained": of.explained,
        "unitText": of.unit_text,
        "share": of.share,
        "errorText": of.error_text,
        "error": of.error,
        "parts": parts,
    }


def _bare(of: Explanation, pack: Pack) -> dict[str, Any]:
    """An explanation that regions are drawn of, without what another has too."""
    found = {**payload(of, pack), "byPlayer": True, "outputs": []}
    for part in found["parts"]:
        part.pop("picture", None)
        if "heat" in part:
            part["heat"] = None
    return found


def _heads(each: Heads, found: Layers, pack: Pack) -> dict[str, Any] | None:
    """The matrix of what is lost, and what each head looks at; `None` of other blocks."""
    if each.blocks != found.blocks:
        return None
    attention = None
    if each.attention is not None and each.looks is not None:
        attention = {
            "values": pack(each.attention.astype(np.float32)),
            "base": _bare(each.looks, pack),
        }
    return {
        "lost": [[float(x) for x in row if np.isfinite(x)] for row in each.lost],
        "becomes": [[one.text for one in row] for row in each.becomes],
        "attention": attention,
    }


def _said(found: Layers) -> list[str]:
    """What the blocks show, in sentences."""
    last = len(found.blocks) - 1
    number = found.decided()
    said = [
        f"Read early, the network answers “{found.answer.text}” from block {number} on."
        if number <= last
        else f"Read early, no block answers “{found.answer.text}”."
    ]
    return said + [f"The {name} {found.settled_text(name)}." for name in found.without]


def page(found: Layers, each: Heads | None = None) -> str:
    """One HTML page of what the blocks do, opened where that is seen: see `Layers.to_html`.

    Raises:
        Unsupported: the blocks have no maps.
    """
    if not found.maps:
        raise Unsupported(
            "these blocks run several times, so that they have no maps to draw; found.plot draws "
            "what they do"
        )
    shown = found.maps[min(found.decided(), len(found.maps) - 1)]
    inside = payload_of_inside(found, each, packed)
    return page_of_payloads(
        [{**payload(shown, packed), "line": None, "entry": None, "inside": inside}],
        f"Inside: where {found.whose} comes about",
        html.escape(" ".join(_said(found))),
    )
