"""Explanations as HTML: a fragment for notebooks and one page that needs no network."""

import base64
import hashlib
import html
import io
import json
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vqa_explain import colors
from vqa_explain.explanation import Explanation, value_text
from vqa_explain.features.parts import WordValue
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.payload import packed, payload

LONGEST = 384  # pixels, the longer side of a picture in the page

_PAGE = """
:root{color-scheme:light dark}
body{background:light-dark(#f1f4f6,#14181c);color:light-dark(#1d2329,#e8ebee);margin:0;padding:1.5rem 1rem}
main{max-width:72rem;margin:auto;font:1rem/1.5 system-ui,sans-serif}
main>h1{font-size:1.5rem;margin:0 0 .3rem}
main>p{margin:0 0 1rem}
"""
ARTICLE_STYLE = """
.vqax{font:14px/1.5 system-ui,sans-serif;color:var(--ink,#1d2329);background:var(--card,#fff);
border:1px solid var(--line,#d9dee3);border-radius:10px;padding:1.1rem 1.3rem;margin:0 0 1.4rem}
.vqax h2{font-size:1.1rem;margin:0 0 .2rem;overflow-wrap:anywhere}
.vqax .soft{color:var(--soft,#5c6873);font-size:.85rem;overflow-wrap:anywhere}
.vqax .words{margin:.8rem 0;display:flex;flex-wrap:wrap;gap:.3rem}
.vqax .word{border-radius:5px;padding:.15rem .45rem;text-align:center;overflow-wrap:anywhere;border:1px solid #0002}
.vqax .word small{display:block;font-size:.68rem}
.vqax .pictures{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
.vqax figure{margin:0}
.vqax figcaption{font-size:.8rem;color:var(--soft,#5c6873)}
.vqax img,.vqax svg{display:block;width:15rem;height:auto;border-radius:4px}
.vqax rect{fill:transparent}
.vqax rect:hover{stroke:#111;stroke-width:1%;}
.vqax table{border-collapse:collapse;font-size:.85rem}
.vqax td{padding:.1rem .6rem .1rem 0;overflow-wrap:anywhere}
.vqax .notes{margin:.6rem 0;padding:.1rem 0 .1rem .8rem;border-inline-start:3px solid var(--note,#b7791f);
overflow-wrap:anywhere}
.vqax .pairs{font-size:.85rem;margin-top:.6rem;overflow-wrap:anywhere}
.vqax .bar{display:flex;height:.8rem;border-radius:4px;overflow:hidden;margin:.9rem 0 .3rem}
.vqax .shares span{margin-inline-end:.9rem;white-space:nowrap}
.vqax .shares i{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin:0 .3rem 0 .2rem}
.vqax .scale{display:flex;flex-wrap:wrap;gap:.1rem .5rem;align-items:center;font-size:.78rem;margin-top:.4rem}
.vqax .words+.scale{margin:-.3rem 0 .8rem}
.vqax figure .scale{flex-wrap:wrap;width:15rem;max-width:100%}
.vqax figure .scale i{flex:1 1 5rem}
.vqax .scale span{flex-basis:100%;overflow-wrap:anywhere}
.vqax .scale i{flex:0 1 9rem;height:.7rem;border-radius:3px;border:1px solid #0003}
"""
_SHARES = ("#4c6376", "#8a6d1b")


def page(explanations: Sequence[Explanation], title: str = "Why this answer?") -> str:
    """One HTML page with the viewer and these explanations: everything inside, nothing from a network.

    A content security policy lets only its own script run, so that no question or label can bring one.
    """
    code = script("page")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    data = json.dumps([payload(e, packed) for e in explanations], allow_nan=False)
    for mark in "<>&\u2028\u2029":  # the data ends no element and starts no comment
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}</title><style>{_PAGE}{style()}</style></head>
<body><main><h1>{html.escape(title)}</h1>
<p>{_intro(explanations)}</p>
<div id="viewer"></div>
<noscript>This page draws with a script of its own, which is turned off.</noscript>
</main><script type="application/json" id="explanations">{data}</script>
<script type="module">{code}</script></body></html>
"""


def _intro(explanations: Sequence[Explanation]) -> str:
    """What the colors mean, and where one scale holds for words and map: what is true of all explanations."""
    pointed = "a word or a region" if any(e.words for e in explanations) else "a region"
    return " ".join(
        [
            _about_colors(explanations),
            *_about_scales(explanations),
            f"Point at {pointed} for its value.",
        ]
    )


def _about_colors(explanations: Sequence[Explanation]) -> str:
    units = [e.values_unit for e in explanations]
    if units and all(unit.adds_up for unit in units):
        return "One color speaks for the explained answer, the other against it."
    if units and not any(unit.two_sided for unit in units):
        none = (
            "No value" if any(unit.signed for unit in units) else "No value is below zero, and none"
        )
        return f"The deeper the color, the larger the value. {none} is a change of the score."
    return "Each explanation says the unit of its values; only points are changes of the score."


def _about_scales(explanations: Sequence[Explanation]) -> list[str]:
    """A sentence, or none where nothing holds for all of those with words."""
    asked = [e for e in explanations if e.words]
    if not asked:
        return []
    if all(e.one_scale for e in asked):
        unit = ": points of the score" if all(e.values_unit.adds_up for e in asked) else ""
        return [f"Words and regions share one scale{unit}."]
    if not any(e.one_scale for e in asked):
        return ["Words and the map have scales of their own, each with its legend."]
    return []


def fragment(explanation: Explanation) -> str:
    """The article of one explanation with its styles, for a notebook's output."""
    return f"<style>{ARTICLE_STYLE}</style>{article(explanation)}"


def article(e: Explanation) -> str:
    """An explanation as an HTML element, all its text escaped; `ARTICLE_STYLE` goes with it."""
    heading = html.escape(e.question) if e.question is not None else "Image classification"
    rows = "".join(f"<tr><td>{html.escape(a.text)}</td><td>{a.shown}</td></tr>" for a in e.answers)
    pairs = "".join(f"<div>{html.escape(line)}</div>" for line in _pair_lines(e))
    origin = (
        f"{e.provenance['model']}, method {e.method}, seed {e.provenance['seed']}, {e.cost_text}"
    )
    what = "regions" if e.by_player else "pixels"
    height, width = e.picture.shape[:2]
    return f"""<article class="vqax">
<h2 dir="auto">{heading}</h2>
<div class="soft">explained: {html.escape(e.explained)}; values: {html.escape(e.unit_text)}</div>
<div class="words">{"".join(_word(w, e) for w in e.words)}</div>{_word_scale(e)}
<div class="pictures">
<figure><img src="{_picture(e.picture)}" width="{width}" height="{height}" alt="the picture">
<figcaption>picture</figcaption></figure>
<figure>{_overlay(e)}<figcaption>{what}</figcaption>{_legend(e.map_colors, e, e.map_legend)}</figure>
<table>{rows}</table></div>
<div class="pairs">{pairs}</div>
{_shares(e)}
{_notes(e)}
<div class="soft">error: {html.escape(e.error_text)}</div>
{_facts(e)}
<div class="soft">{html.escape(origin)}</div>
</article>"""


def _pair_lines(e: Explanation) -> list[str]:
    """The pairs of words and regions that stand out from their errors, and what is to be known of all."""
    found, said = e.findings()
    return [*map(e.pair_text, found), *([f"words × regions: {said}"] if said else [])]


def _notes(e: Explanation) -> str:
    """What a reader must know of the values, one line each."""
    lines = "".join(f"<div>{html.escape(_sentence(note))}</div>" for note in e.notes)
    return f'<div class="notes" role="note">{lines}</div>' if lines else ""


def _facts(e: Explanation) -> str:
    """What fell on padding, and what the model answers with everything absent, where they are known."""
    facts = [text for text in (e.padding_text, e.without_inputs_text) if text]
    return "".join(f'<div class="soft">{html.escape(text)}</div>' for text in facts)


def _sentence(clause: str) -> str:
    """A clause with a capital and a full stop."""
    return f"{clause[:1].upper()}{clause[1:]}."


def _word(word: WordValue, e: Explanation) -> str:
    red, green, blue = e.word_colors.of(word.value)
    ink = colors.ink((red, green, blue))
    text = html.escape(word.text)
    value = value_text(word.value, word.error, e.values_unit.two_sided)
    return (
        f'<span class="word" dir="auto" style="background:rgb({red},{green},{blue});color:{ink}">'
        f"{text}<small>{value}</small></span>"
    )


def _overlay(e: Explanation) -> str:
    """The overlay as a picture with one transparent box per region that tells its value when pointed at."""
    values, _ = e.heat
    height, width = e.picture.shape[:2]
    boxes = "".join(
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}">'
        f"<title>{value_text(r.value, r.error, e.values_unit.two_sided)}</title></rect>"
        for r in e.regions
        for left, top, right, bottom in [r.box]
        if right > left
    )
    picture = _picture(colors.overlay(e.picture, e.map_colors.shares(values), 1, e.palette))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="overlay of the explanation">'
        f'<image href="{picture}" width="{width}" height="{height}"/>{boxes}</svg>'
    )


def _word_scale(e: Explanation) -> str:
    """The legend of the words, where that of the map does not hold for them."""
    return _legend(e.word_colors, e, e.word_legend) if e.words and not e.one_scale else ""


def _legend(scale: colors.Scale, e: Explanation, said: str) -> str:
    """A legend: from the value where the colors begin to the one of full color, and what has such a value."""
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


def _shares(e: Explanation) -> str:
    """The features' shares, named below a bar; "" where one feature has them all, which says nothing."""
    if len(e.share) < 2:
        return ""
    if e.values_unit.why_no_shares:
        return f'<div class="soft">share: {html.escape(e.share_text)}</div>'
    parts = "".join(
        f'<div style="width:{100 * share:.1f}%;background:{_SHARES[i % 2]}"></div>'
        for i, share in enumerate(e.share.values())
    )
    names = "".join(
        f'<span><i style="background:{_SHARES[i % 2]}"></i>{html.escape(name)} {share:.0%}</span>'
        for i, (name, share) in enumerate(e.share.items())
    )
    return f'<div class="bar">{parts}</div><div class="soft shares">share: {names}</div>'


def _picture(pixels: np.ndarray) -> str:
    """A data URL, at most `LONGEST` pixels a side. Small pictures are enlarged by whole pixels, to stay sharp."""
    image = Image.fromarray(pixels)
    if max(image.size) > LONGEST:
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    elif max(image.size) * 2 <= LONGEST:
        times = LONGEST // max(image.size)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
