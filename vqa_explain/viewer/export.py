"""Explanations as HTML: a fragment for notebooks and one page that needs no network."""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vqa_explain._shown import percent_text
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart, TextPart
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.parts import list_legends, list_of, picture_of
from vqa_explain.viewer.payload import packed, payload, title_of

_PAGE = """
:root{color-scheme:light dark}
body{background:light-dark(#f2f2ef,#0f1012);color:light-dark(#1a1b1e,#eeeeec);margin:0;
padding:6px 12px 12px;font:13px/1.45 system-ui,sans-serif}
main{max-width:1400px;margin:auto}
main>h1{font-size:13px;font-weight:600;margin:0 0 5px}
main>p{color:light-dark(#51545b,#b4b7be);margin:8px 0 0}
"""
ARTICLE_STYLE = """
.vqax{font:14px/1.5 system-ui,sans-serif;color:var(--ink,#1d2329);background:var(--card,#fff);
border:1px solid var(--line,#d9dee3);border-radius:10px;padding:1.1rem 1.3rem;margin:0 0 1.4rem}
.vqax h2{font-size:1.1rem;margin:0 0 .2rem;overflow-wrap:anywhere}
.vqax .soft{color:var(--soft,#5c6873);font-size:.85rem;overflow-wrap:anywhere}
.vqax .words{margin:.8rem 0;display:flex;flex-wrap:wrap;gap:.3rem}
.vqax .word{border-radius:5px;padding:.15rem .45rem;text-align:center;overflow-wrap:anywhere;
border:1px solid #0002}
.vqax .word small{display:block;font-size:.68rem}
.vqax .words.fixed{display:block;color:var(--soft,#5c6873);margin:.3rem 0;white-space:pre-wrap}
.vqax .name{font-weight:600;font-size:.85rem;margin:.6rem 0 -.5rem}
.vqax .fixed img{opacity:.5}
.vqax .bars{display:grid;gap:.15rem;max-width:44rem;margin:.8rem 0;font-size:.85rem;
overflow-wrap:anywhere}
.vqax .bars>div{display:grid;
grid-template-columns:minmax(4rem,2fr) minmax(4rem,3fr) minmax(4.5rem,6.5rem);gap:.6rem}
.vqax .bars small{text-align:end}
.vqax .rail{position:relative;display:block;height:1.1rem}
.vqax .rail i{position:absolute;top:12%;height:76%;border:1px solid #0005;border-radius:2px}
.vqax .rail .zero{top:0;height:100%;border:0;border-inline-start:1px solid currentColor;
border-radius:0}
.vqax .rail .whisker{top:calc(50% - 1px);height:2px;border:0;background:currentColor}
.vqax .bars+.scale{margin:-.3rem 0 .8rem}
.vqax .pictures{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}
.vqax figure{margin:0}
.vqax figcaption{font-size:.8rem;color:var(--soft,#5c6873)}
.vqax img,.vqax svg{display:block;width:15rem;height:auto;border-radius:4px}
.vqax rect{fill:transparent}
.vqax rect:hover{stroke:#111;stroke-width:1%;}
.vqax table{border-collapse:collapse;font-size:.85rem}
.vqax td{padding:.1rem .6rem .1rem 0;overflow-wrap:anywhere}
.vqax .notes{margin:.6rem 0;padding:.1rem 0 .1rem .8rem;
border-inline-start:3px solid var(--note,#b7791f);
overflow-wrap:anywhere}
.vqax .pairs{font-size:.85rem;margin-top:.6rem;overflow-wrap:anywhere}
.vqax .bar{display:flex;height:.8rem;border-radius:4px;overflow:hidden;margin:.9rem 0 .3rem}
.vqax .shares span{margin-inline-end:.9rem;white-space:nowrap}
.vqax .shares i{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;
margin:0 .3rem 0 .2rem}
.vqax .scale{display:flex;flex-wrap:wrap;gap:.1rem .5rem;align-items:center;font-size:.78rem;
margin-top:.4rem}
.vqax .words+.scale{margin:-.3rem 0 .8rem}
.vqax figure .scale{flex-wrap:wrap;width:15rem;max-width:100%}
.vqax figure .scale i{flex:1 1 5rem}
.vqax .scale span{flex-basis:100%;overflow-wrap:anywhere}
.vqax .scale i{flex:0 1 9rem;height:.7rem;border-radius:3px;border:1px solid #0003}
"""
_SHARES = ("#4c6376", "#8a6d1b", "#2f6b4a", "#77456b", "#9a4a2f", "#3b4a9a")


def page(
    explanations: Sequence[Explanation | None],
    title: str = "Why this answer?",
    examples: Sequence[Example | None] | None = None,
    lines: Sequence[dict[str, Any] | None] | None = None,
    notes: Mapping[str, Any] | None = None,
    entries: Sequence[Mapping[str, Any]] | None = None,
    stamp: str = "",
) -> str:
    """One HTML page with the viewer and these explanations: everything inside, nothing from a
    network.

    A content security policy lets only its own script run, so that no question or label can bring
    one.

    Args:
        explanations: what is shown; `None` for an example that is only listed, by its entry.
        title: the page's.
        examples: what was explained, for true answers, true regions and names; `None` where it is
            not known.
        lines: what `measured_line` gave; `None` where nothing was measured.
        entries: a line for each in the list and the table, as a viewer's trait has them; by
            default what the explanation says.
        notes: stars and notes by the examples' names, as a viewer's trait has them.
        stamp: see `stamp_tag`.
    """
    known = [None] * len(explanations) if examples is None else examples
    told: list[dict[str, Any]] = [
        {} if e is None else payload(e, packed, of)
        for e, of in zip(explanations, known, strict=True)
    ]
    for one, line in zip(told, lines or [None] * len(told), strict=True):
        one["line"] = line
    for one, entry in zip(told, entries or [{}] * len(told), strict=True):
        one["entry"] = dict(entry) or None
    shown = [one for one in explanations if one is not None]
    return page_of_payloads(told, title, _intro(shown), notes, stamp)


def stamp_tag(stamp: str) -> str:
    """What a page has near its beginning where it was given a stamp: whoever links to its examples
    knows by it what is in it.
    """
    return f'<meta name="vqa-explain" content="{html.escape(stamp)}">' if stamp else ""


def page_of_payloads(
    told: list[dict[str, Any]],
    title: str,
    intro: str,
    notes: Mapping[str, Any] | None = None,
    stamp: str = "",
) -> str:
    """One HTML page with the viewer.

    Args:
        told: what `payload` gives, with "line" and "entry" as `page` takes them.
        title: the page's.
        intro: HTML below the viewer.
        notes, stamp: see `page`.
    """
    code = script("page")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src "
        f"'sha256-{digest}'"
    )
    data = _as_script(_without_repeated_pictures(told))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{stamp_tag(stamp)}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}</title><style>{_PAGE}{style()}</style></head>
<body><main><h1>{html.escape(title)}</h1>
<div id="viewer"></div>
<noscript>This page draws with a script of its own, which is turned off.</noscript>
<p>{intro}</p>
</main><script type="application/json" id="explanations">{data}</script>
<script type="application/json" id="notes">{_as_script(dict(notes or {}))}</script>
<script type="module">{code}</script></body></html>
"""


def _as_script(value: Any) -> str:
    """JSON that ends no element and starts no comment."""
    data = json.dumps(value, allow_nan=False)
    for mark in "<>&\u2028\u2029":
        data = data.replace(mark, f"\\u{ord(mark):04x}")
    return data


def _without_repeated_pictures(payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, each picture only where it comes first: `page.js` finds it by its "pictureId"."""
    seen: set[str] = set()
    for part in (part for one in payloads for part in one.get("parts", []) if "picture" in part):
        if part["pictureId"] in seen:
            del part["picture"]
        else:
            seen.add(part["pictureId"])
    return payloads


def _intro(explanations: Sequence[Explanation]) -> str:
    """What the colors mean, and where one unit holds for all inputs:
    what is true of all explanations.
    """
    return " ".join(
        [
            _about_colors(explanations),
            *_about_scales(explanations),
            f"Point at {_players(explanations)} for its value.",
        ]
    )


def _players(explanations: Sequence[Explanation]) -> str:
    """What has values in these explanations, words first, such as "a word or a region"."""
    parts = [part for e in explanations for part in e.parts if part.players]
    ordered = [part for part in parts if isinstance(part, TextPart)] + parts
    names = list(dict.fromkeys(part.player for part in ordered)) or [PicturePart.player]
    named = [f"an {name}" if name[0] in "aeiou" else f"a {name}" for name in names]
    return _listed(named, "or")


def _listed(texts: Sequence[str], last: str) -> str:
    """Such as "a, b or c"."""
    *others, end = texts
    return f"{', '.join(others)} {last} {end}" if others else end


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
    """A sentence, or none where nothing holds for all of those with players of several kinds."""
    asked = [e for e in explanations if len(_kinds(e)) > 1]
    names = {tuple(_kinds(e)) for e in asked}
    if len(names) != 1:
        return []
    kinds = next(iter(names))
    has_map = any(isinstance(part, PicturePart) and part.players for part in asked[0].parts)
    if all(e.one_scale for e in asked):
        unit = ": points of the score" if all(e.values_unit.adds_up for e in asked) else ""
        return [
            f"{_listed(kinds, 'and').capitalize()} are in one unit{unit}; each kind fills a color "
            "scale of its own, until you choose one scale."
        ]
    if not any(e.one_scale for e in asked) and has_map:
        rest = _listed([kind for kind in kinds if kind != f"{PicturePart.player}s"], "and")
        return [f"{rest.capitalize()} and the map have scales of their own, each with its legend."]
    return []


def _kinds(e: Explanation) -> list[str]:
    """What the players of each kind of input are called, words first."""
    parts = [part for part in e.parts if part.players]
    ordered = [part for part in parts if isinstance(part, TextPart)] + parts
    return list(dict.fromkeys(f"{part.player}s" for part in ordered))


def fragment(explanation: Explanation) -> str:
    """The article of one explanation with its styles, for a notebook's output."""
    return f"<style>{ARTICLE_STYLE}</style>{article(explanation)}"


def article(e: Explanation) -> str:
    """An explanation as an HTML element, all its text escaped; `ARTICLE_STYLE` goes with it."""
    rows = "".join(
        f"<tr><td>{html.escape(a.text)}</td><td>{html.escape(a.shown)}</td></tr>" for a in e.answers
    )
    pairs = "".join(f"<div>{html.escape(line)}</div>" for line in _pair_lines(e))
    origin = (
        f"{e.provenance['model']}, method {e.method}, seed {e.provenance['seed']}, {e.cost_text}"
    )
    others = [part for part in e.parts if not isinstance(part, PicturePart)]
    pictures = [part for part in e.parts if isinstance(part, PicturePart)]
    return f"""<article class="vqax">
<h2 dir="auto">{html.escape(title_of(e))}</h2>
<div class="soft">explained: {html.escape(e.explained)}; values: {html.escape(e.unit_text)}</div>
{"".join(list_of(part, e) for part in others)}{list_legends(e)}
<div class="pictures">
{"".join(picture_of(part, e) for part in pictures)}
<table>{rows}</table></div>
<div class="pairs">{pairs}</div>
{_shares(e)}
{_notes(e)}
<div class="soft">error: {html.escape(e.error_text)}</div>
{_facts(e)}
<div class="soft">{html.escape(origin)}</div>
</article>"""


def _pair_lines(e: Explanation) -> list[str]:
    """The pairs that stand out from their errors, and what is to be known of all."""
    found, said = e.findings()
    return [*map(e.pair_text, found), *([f"{e.pairs_title}: {said}"] if said else [])]


def _notes(e: Explanation) -> str:
    """What a reader must know of the values, one line each."""
    lines = "".join(f"<div>{html.escape(_sentence(note))}</div>" for note in e.notes)
    return f'<div class="notes" role="note">{lines}</div>' if lines else ""


def _facts(e: Explanation) -> str:
    """What fell on padding, and what the model answers with everything absent,
    where they are known.
    """
    facts = [text for text in (e.padding_text, e.without_inputs_text) if text]
    return "".join(f'<div class="soft">{html.escape(text)}</div>' for text in facts)


def _sentence(clause: str) -> str:
    """A clause with a capital and a full stop."""
    return f"{clause[:1].upper()}{clause[1:]}."


def _shares(e: Explanation) -> str:
    """The inputs' shares, named below a bar; "" where one input has them all,
    which says nothing.
    """
    if len(e.share) < 2:
        return ""
    if e.values_unit.why_no_shares:
        return f'<div class="soft">share: {html.escape(e.share_text)}</div>'
    parts = "".join(
        f'<div style="width:{100 * share:.1f}%;background:{_SHARES[i % len(_SHARES)]}"></div>'
        for i, share in enumerate(e.share.values())
    )
    names = "".join(
        f'<span><i style="background:{_SHARES[i % len(_SHARES)]}"></i>{html.escape(name)} '
        f"{percent_text(share)}</span>"
        for i, (name, share) in enumerate(e.share.items())
    )
    return f'<div class="bar">{parts}</div><div class="soft shares">share: {names}</div>'
