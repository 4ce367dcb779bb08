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
from vqa_explain.explanation import Explanation, WordValue, value_text
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
.vqax .bar{display:flex;height:1.35rem;border-radius:4px;overflow:hidden;margin:.9rem 0 .3rem;font-size:.78rem}
.vqax .bar{color:#fff}
.vqax .bar div{display:flex;align-items:center;justify-content:center;white-space:nowrap;overflow:hidden}
.vqax .scale{display:flex;gap:.5rem;align-items:center;font-size:.78rem;margin-top:.4rem}
.vqax .scale i{flex:none;width:9rem;height:.7rem;border-radius:3px}
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
<p>{_intro(explanations)} Point at a word or a region for its value.</p>
<div id="viewer"></div>
<noscript>This page draws with a script of its own, which is turned off.</noscript>
</main><script type="application/json" id="explanations">{data}</script>
<script type="module">{code}</script></body></html>
"""


def _intro(explanations: Sequence[Explanation]) -> str:
    """What the colors mean: one sentence of all explanations where all are alike, else that each says it."""
    units = [e.values_unit for e in explanations]
    if units and all(unit.adds_up for unit in units):
        return (
            "One color speaks for the explained answer, the other against it. Words and regions share one scale: "
            "points of the score."
        )
    if units and not any(unit.signed for unit in units):
        return "The deeper the color, the larger the value. No value is below zero, and none is a change of the score."
    return "Each explanation says the unit of its values; only points are changes of the score."


def fragment(explanation: Explanation) -> str:
    """The article of one explanation with its styles, for a notebook's output."""
    return f"<style>{ARTICLE_STYLE}</style>{article(explanation)}"


def article(e: Explanation) -> str:
    """An explanation as an HTML element, all its text escaped; `ARTICLE_STYLE` goes with it."""
    heading = html.escape(e.question) if e.question is not None else "Image classification"
    rows = "".join(f"<tr><td>{html.escape(a.text)}</td><td>{a.shown}</td></tr>" for a in e.answers)
    spent = f"{e.cost.forwards:,} forwards, {e.cost.backwards:,} backwards, {e.cost.seconds:.2f} s"
    pairs = "".join(f"<div>{html.escape(line)}</div>" for line in _pair_lines(e))
    origin = f"{e.provenance['model']}, method {e.method}, seed {e.provenance['seed']}, {spent}"
    height, width = e.picture.shape[:2]
    return f"""<article class="vqax">
<h2 dir="auto">{heading}</h2>
<div class="soft">explained: {html.escape(e.explained)}; values: {html.escape(e.unit_text)}</div>
<div class="words">{"".join(_word(w, e) for w in e.words)}</div>
<div class="pictures">
<figure><img src="{_picture(e.picture)}" width="{width}" height="{height}" alt="the picture">
<figcaption>picture</figcaption></figure>
<figure>{_overlay(e)}<figcaption>{"regions" if e.by_region else "pixels"}</figcaption>{_scale(e)}</figure>
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
    red, green, blue = colors.over_white(word.value, e.word_scale, e.palette)
    ink = colors.ink((red, green, blue))
    text = html.escape(word.text)
    value = value_text(word.value, word.error, e.values_unit.signed)
    return (
        f'<span class="word" dir="auto" style="background:rgb({red},{green},{blue});color:{ink}">'
        f"{text}<small>{value}</small></span>"
    )


def _overlay(e: Explanation) -> str:
    """The overlay as a picture with one transparent box per region that tells its value when pointed at."""
    values, scale = e.heat
    height, width = e.picture.shape[:2]
    boxes = "".join(
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}">'
        f"<title>{value_text(r.value, r.error, e.values_unit.signed)}</title></rect>"
        for r in e.regions
        for left, top, right, bottom in [r.box]
        if right > left
    )
    picture = _picture(colors.overlay(e.picture, values, scale, e.palette))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="overlay of the explanation">'
        f'<image href="{picture}" width="{width}" height="{height}"/>{boxes}</svg>'
    )


def _scale(e: Explanation) -> str:
    """The legend: from the least value that the method can give to the one of full color."""
    _, scale = e.heat
    low, middle, high = (
        ",".join(map(str, colors.over_white(at, 1, e.palette)))
        for at in (e.palette.low, (e.palette.low + 1) / 2, 1)
    )
    ramp = f"linear-gradient(90deg,rgb({low}),rgb({middle}),rgb({high}))"
    ends = [
        value_text(end * scale, None, e.values_unit.signed) if end else "0"
        for end in (e.palette.low, 1.0)
    ]
    each = "" if e.by_region else " per pixel"
    return f'<div class="scale">{ends[0]}<i style="background:{ramp}"></i>{ends[1]} {html.escape(e.unit)}{each}</div>'


def _shares(e: Explanation) -> str:
    if len(e.share) > 1 and e.values_unit.why_no_shares:
        return f'<div class="soft">share: {html.escape(e.share_text)}</div>'
    parts = "".join(
        f'<div style="width:{100 * share:.1f}%;background:{_SHARES[i % 2]}">{html.escape(name)} {share:.0%}</div>'
        for i, (name, share) in enumerate(e.share.items())
    )
    return f'<div class="bar">{parts}</div>'


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
