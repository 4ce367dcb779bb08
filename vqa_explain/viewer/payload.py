"""What the viewer draws: an explanation as plain values and arrays of bytes, for a widget or for a page."""

import base64
import hashlib
import io
import zlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.findings import sure_ratio

NOWHERE = 2**32 - 1  # the label of pixels that the model did not see
LONGEST = 1024  # pixels, the longer side of a picture that is sent
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
    """Everything about an explanation that the viewer shows.

    The picture and its maps are made smaller where the longer side is above `LONGEST`; boxes are in its own pixels.
    """
    height, width = e.picture.shape[:2]
    shrink = max(1.0, max(height, width) / LONGEST)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    rows, columns = (np.minimum((np.arange(n) + 0.5) * full / n, full - 1).astype(int) for n, full in
                     ((size[0], height), (size[1], width)))  # fmt: skip
    labels = e.labels[np.ix_(rows, columns)]
    values, _ = e.heat
    heat = np.rint(127 * e.map_colors.shares(values[np.ix_(rows, columns)])).astype(np.int8)
    truth = None if example is None else example.truth
    found: dict[str, Any] = {
        "question": e.question,
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
        "words": [
            {"text": w.text, "start": w.start, "end": w.end, "value": w.value, "error": w.error}
            for w in e.words
        ],
        "regions": [asdict(r) for r in e.regions],
        "share": e.share,
        "wordBare": e.word_colors.bare,
        "wordScale": e.word_colors.full,
        "regionBare": e.region_colors.bare,
        "regionScale": e.region_colors.full,
        "heatBare": e.map_colors.bare,
        "heatScale": e.map_colors.full,
        "wordLegend": e.word_legend,
        "mapLegend": e.map_legend,
        "oneScale": e.one_scale,
        "byRegion": e.by_player,
        "errorText": e.error_text,
        "notes": list(e.notes),
        "facts": [text for text in (e.padding_text, e.without_inputs_text) if text],
        "method": e.method,
        "model": e.provenance["model"],
        "parameters": {k: v for k, v in e.parameters.items() if v is not None},
        "origin": f"{e.provenance['model']}, seed {e.provenance['seed']}, {e.cost_text}",
        "label": None if example is None else example.answer,
        "size": [height, width],
        "pictureId": picture_id(e.picture),
        "labels": pack(np.where(labels < 0, NOWHERE, labels.astype(np.int64)).astype(np.uint32)),
        "heat": pack(heat),
        "picture": pack(np.frombuffer(encoded_picture(e.picture, size), dtype=np.uint8)),
        "interactions": None if e.interactions is None else pack(e.interactions.astype(np.float32)),
        "interactionErrors": None
        if e.interaction_errors is None
        else pack(e.interaction_errors.astype(np.float32)),
        "pairs": _pairs(e),
        "truth": None if truth is None else pack(truth[np.ix_(rows, columns)].astype(np.uint8)),
    }
    return found


def _pairs(e: Explanation) -> dict[str, Any] | None:
    """What is to be known of all interactions: how many evaluations they cost, and when the strongest is sure."""
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
    if size[0] * size[1] <= 128 * 128:
        image.save(buffer, "WEBP", lossless=True)
    else:
        image.save(buffer, "WEBP", quality=88)
    return buffer.getvalue()
