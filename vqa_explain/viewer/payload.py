"""What the viewer draws: an explanation as plain values and arrays of bytes,
for a widget or for a page.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from PIL import Image

from vqa_explain.examples import Example, read_image
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import (
    Part,
    PicturePart,
    PlayerValue,
    RegionValue,
    TextPart,
    WordValue,
    band_of,
)
from vqa_explain.findings import sure_ratio
from vqa_explain.target import Answer
from vqa_explain.viewer.measured import numbers_of

NOWHERE = 2**32 - 1  # the label of pixels that the model did not see
LONGEST = 1024  # pixels, the longer side of a picture that is sent
THUMBNAIL = 88  # the same of one in a list
Pack = Callable[[np.ndarray], Any]


def raw(values: np.ndarray) -> dict[str, Any]:
    """An array for a widget, whose bytes travel as they are."""
    values = np.ascontiguousarray(values)
    return {"type": values.dtype.name, "shape": list(values.shape), "data": values.tobytes()}


def packed(values: np.ndarray) -> dict[str, Any]:
    """An array for a page: deflated, in base64."""
    values = np.ascontiguousarray(values)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflate.compress(values.tobytes()) + deflate.flush()
    return {
        "type": values.dtype.name,
        "shape": list(values.shape),
        "data64": base64.b64encode(data).decode(),
    }


def payload(e: Explanation, pack: Pack, example: Example | None = None) -> dict[str, Any]:
    """Everything about an explanation that the viewer shows, input by input.

    Pictures and their maps are made smaller where the longer side is above `LONGEST`; boxes are in
    pixels of the picture itself.
    """
    return {
        "heading": title_of(e),
        "parts": [_part(e, part, pack, example) for part in e.parts],
        "joint": [
            {
                "first": one.first,
                "second": one.second,
                "values": pack(one.values.astype(np.float32)),
                "errors": None if one.errors is None else pack(one.errors.astype(np.float32)),
            }
            for one in e.joint
        ],
        "pairsTitle": e.pairs_title if e.pairs else "",
        "edits": _edited(e, example),
        "answers": [asdict(a) for a in e.answers],
        "target": e.target,
        "contrast": e.contrast,
        "targetIndex": e.target_index,
        "contrastIndex": e.contrast_index,
        "score": e.score,
        "explained": e.explained,
        "unit": e.unit,
        "unitText": e.unit_text,
        "signed": e.values_unit.signed,
        "fromZero": e.values_unit.from_zero,
        "addsUp": e.values_unit.adds_up,
        "shared": e.values_unit.shared,
        "whyNoShares": e.values_unit.why_no_shares,
        "share": e.share,
        "oneScale": e.one_scale,
        "byPlayer": e.by_player,
        "errorText": e.error_text,
        "error": e.error,
        "errorKind": e.error_kind,
        "notes": list(e.notes),
        "facts": [text for text in (e.padding_text, e.without_inputs_text) if text],
        "method": e.method,
        "model": e.provenance["model"],
        "parameters": {k: v for k, v in e.parameters.items() if v is not None},
        "cost": e.cost_text,
        "numbers": numbers_of(e, example),
        "origin": f"{e.provenance['model']}, seed {e.provenance['seed']}, {e.cost_text}",
        "label": None if example is None else example.answer,
        "exampleId": _id_of(e, example),
        "exampleKind": "" if example is None else example.family,
        "pairs": _pairs(e),
        "outputs": [_output(row, pack) for row in e.outputs],
    }


def _output(row: Explanation, pack: Pack) -> dict[str, Any]:
    """What one word of an answer has of its own; the rest is the whole's."""
    return {
        "target": row.target,
        "probability": row.answers[0].probability,
        "explained": row.explained,
        "unitText": row.unit_text,
        "share": row.share,
        "sources": row.sources,
        "withPictures": row.with_pictures,
        "pictureShare": row.picture_share,
        "notFromPictures": row.is_not_from_pictures,
        "contrast": row.contrast,
        "earlier": list(row.earlier),
        "earlierErrors": list(row.earlier_errors),
        "errorText": row.error_text,
        "error": row.error,
        "parts": [part_of_output(row, part, pack) for part in row.parts],
    }


def part_of_output(row: Explanation, part: Part, pack: Pack) -> dict[str, Any]:
    scale = row.colors_of(part.kind)
    errors = [player.error for player in part.players]
    bands = [band_of(player) for player in part.players]
    found: dict[str, Any] = {
        "values": part.values,
        "errors": None if None in errors else errors,
        "bands": [None if band is None else list(band) for band in bands] if any(bands) else [],
        "bare": scale.bare,
        "full": scale.full,
        "legend": row.legend(part.player),
    }
    if isinstance(part, PicturePart):
        found |= {"mapBare": row.map_colors.bare, "mapFull": row.map_colors.full}
        found["mapLegend"] = row.map_legend
        if not row.by_player and not part.fixed:
            found["heat"] = _heat(row, part, pack)
    return found


def thumbnail(e: Explanation, pack: Pack) -> dict[str, Any] | None:
    """The first explained picture with its map, small, as `payload` sends a part; `None` where
    there is none.
    """
    part = next((one for one in e.parts if isinstance(one, PicturePart) and one.players), None)
    if part is None:
        return None
    return {
        **_small_picture(part.picture, pack, THUMBNAIL),
        "heat": _heat(e, part, pack, THUMBNAIL),
        "sided": e.values_unit.two_sided,
    }


def _id_of(e: Explanation, example: Example | None) -> str:
    found = e.provenance.get("example") if example is None else example.id
    return found or ""


def preview(example: Example, answers: Sequence[Answer], pack: Pack) -> dict[str, Any]:
    """What is shown of an example before it is explained, named as in `payload`.

    Pictures and texts are told as the user gave them, and frames of a video one by one.

    Raises:
        InvalidInput: a picture cannot be read.
    """
    parts: list[dict[str, Any]] = []
    for one in example.given:
        found = {"name": one.name, "kind": one.kind, "fixed": one.fixed, "title": "", "players": []}
        if one.kind == PicturePart.kind:
            parts.append(found | _small_picture(read_image(one.value), pack))
        elif one.kind == TextPart.kind:
            parts.append({**found, "title": str(one.value)})
    return {
        "heading": example.asked or example.id or "",
        "parts": parts,
        "answers": [asdict(answer) for answer in answers],
        "label": example.answer,
        "exampleId": example.id or "",
        "exampleKind": example.family,
    }


def title_of(e: Explanation) -> str:
    """The text that was asked, as it was; or what was classified, with a capital."""
    text = e.heading
    has_text = any(isinstance(part, TextPart) and not part.fixed for part in e.parts)
    return text if has_text else text[:1].upper() + text[1:]


def _part(e: Explanation, part: Part, pack: Pack, example: Example | None) -> dict[str, Any]:
    """What the viewer shows of one input; its kind says which view draws it."""
    scale = e.colors_of(part.kind)
    has_map = any(isinstance(one, PicturePart) and one.players for one in e.parts)
    found: dict[str, Any] = {
        "name": part.name,
        "kind": part.kind,
        "title": part.title,
        "fixed": part.fixed,
        "alone": e.is_alone(part),
        "player": part.player,
        "players": [_player(player) for player in part.players],
        "bare": scale.bare,
        "full": scale.full,
        # Beside a map, which says what is on its scale, a list says its own players.
        "legend": e.legend(part.player) if has_map else e.legend_of(part),
    }
    if isinstance(part, PicturePart):
        truth = None if example is None or not e.is_alone(part) else example.truth
        found |= _picture(e, part, pack, truth)
    return found


def _player(player: PlayerValue) -> dict[str, Any]:
    """A player's value, its band over several fills, and where it is in the input: the box of a
    region, the span of a word.
    """
    found: dict[str, Any] = {"value": player.value, "error": player.error}
    band = band_of(player)
    if band is not None:
        found["band"] = list(band)
    if isinstance(player, RegionValue):  # whose text is its box
        return {**found, "box": player.box}
    found["text"] = player.text
    if isinstance(player, WordValue):
        found |= {"start": player.start, "end": player.end}
    return found


def _picture(
    e: Explanation, part: PicturePart, pack: Pack, truth: np.ndarray | None
) -> dict[str, Any]:
    """The picture, its map and its regions, pixel by pixel."""
    small = _places(part)
    labels = part.labels[small].astype(np.int64)
    return {
        **_small_picture(part.picture, pack),
        "labels": pack(np.where(labels < 0, NOWHERE, labels).astype(np.uint32)),
        "heat": _heat(e, part, pack),
        "mapBare": e.map_colors.bare,
        "mapFull": e.map_colors.full,
        "mapLegend": e.map_legend,
        "truth": None if truth is None else pack(truth[small].astype(np.uint8)),
    }


def _heat(e: Explanation, part: PicturePart, pack: Pack, longest: int = LONGEST) -> Any:
    """(H, W) int8, shares of full color in 127ths."""
    small = _places(part, longest)
    if part.fixed:
        return pack(np.zeros(np.broadcast_shapes(*(one.shape for one in small)), dtype=np.int8))
    shown = replace(part, image=part.image[small], labels=part.labels[small], frame=None)
    shares = e.map_colors.shares(e.heat_of(shown)[0])
    return pack(np.rint(127 * shares).astype(np.int8))


def _places(part: PicturePart, longest: int = LONGEST) -> tuple[np.ndarray, ...]:
    """Which pixels of a picture stand for all, as an index."""
    height, width = part.picture.shape[:2]
    rows, columns = _small_size(part.picture, longest)
    middles = [
        np.minimum((np.arange(count) + 0.5) * full / count, full - 1).astype(int)
        for count, full in ((rows, height), (columns, width))
    ]
    return np.ix_(*middles)


def _small_size(picture: np.ndarray, longest: int = LONGEST) -> tuple[int, int]:
    """The height and width at which a picture is sent."""
    height, width = picture.shape[:2]
    shrink = max(1.0, max(height, width) / longest)
    return max(1, round(height / shrink)), max(1, round(width / shrink))


def _small_picture(picture: np.ndarray, pack: Pack, longest: int = LONGEST) -> dict[str, Any]:
    encoded = encoded_picture(picture, _small_size(picture, longest))
    return {
        "size": list(picture.shape[:2]),
        "pictureId": picture_id(picture),
        "picture": pack(np.frombuffer(encoded, dtype=np.uint8)),
    }


def _edited(e: Explanation, example: Example | None) -> str | None:
    """The one text that a person may ask in other words; `None` where there are several,
    or a chat.
    """
    asked = [part.name for part in e.parts if isinstance(part, TextPart) and not part.fixed]
    is_chat = example is not None and example.messages is not None
    return asked[0] if len(asked) == 1 and not is_chat else None


def _pairs(e: Explanation) -> dict[str, Any] | None:
    """What is to be known of all interactions: how many evaluations they cost,
    and when the strongest is sure.
    """
    if not e.pairs:
        return None
    return {"spent": e.evaluations, "sure": sure_ratio(len(e.pairs)), "text": e.findings()[1]}


def picture_id(picture: np.ndarray) -> str:
    """The same for the same pixels, so that values of different pictures are not subtracted."""
    content = np.ascontiguousarray(picture)
    return hashlib.sha256(
        f"{content.shape} {content.dtype}".encode() + content.tobytes()
    ).hexdigest()[:16]


def encoded_picture(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    """WebP of the picture at `size` (height, width); lossless where it is small."""
    image = Image.fromarray(picture)
    if size != picture.shape[:2]:
        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # The quickest methods: files are a sixth larger, and written 20 times as fast.
    if size[0] * size[1] <= 128 * 128:
        image.save(buffer, "WEBP", lossless=True, quality=0, method=0)
    else:
        image.save(buffer, "WEBP", quality=88, method=0)
    return buffer.getvalue()
