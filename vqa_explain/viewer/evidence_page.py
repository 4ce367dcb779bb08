"""Evidence as one HTML page: radio buttons choose the state that is shown, without a script."""

import html
from collections import Counter
from collections.abc import Sequence

import numpy as np

from vqa_explain.features.parts import Part, PicturePart
from vqa_explain.searching import INTO, Evidence, EvidenceState
from vqa_explain.viewer.parts import LONGEST, picture_url

_OPACITY = 0.15  # of what is absent
_STYLE = """
:root{color-scheme:light dark}
body{background:light-dark(#f2f2ef,#0f1012);color:light-dark(#1a1b1e,#eeeeec);margin:0;
padding:14px;font:15px/1.5 system-ui,sans-serif}
main{max-width:44rem;margin:auto;background:light-dark(#fff,#191b1f);border-radius:10px;
border:1px solid light-dark(#d9dee3,#34373d);padding:1rem 1.2rem}
h1{font-size:1.15rem;margin:0 0 .7rem;overflow-wrap:anywhere}
fieldset{border:0;margin:0;padding:0;min-width:0}
legend,.soft{color:light-dark(#51545b,#b4b7be);font-size:.87rem;overflow-wrap:anywhere}
input{position:absolute;opacity:0}
label{display:inline-block;border:1px solid light-dark(#8b939c,#6b717a);border-radius:6px;
padding:.2rem .8rem;margin:.2rem .3rem .6rem 0;cursor:pointer}
input:checked+label{background:light-dark(#1d4f7c,#9cc8ee);color:light-dark(#fff,#10151a);
border-color:transparent}
input:focus-visible+label{outline:3px solid light-dark(#b7791f,#e0ab55);outline-offset:2px}
section{display:none}
.answer{font-size:1.3rem;font-weight:700;color:light-dark(#8a3d00,#ffb35c);margin:.1rem 0 .5rem;
overflow-wrap:anywhere}
img{display:block;max-width:100%;height:auto;border-radius:4px;margin:.5rem 0;
image-rendering:pixelated}
.parts{display:flex;flex-wrap:wrap;gap:.2rem .55rem;margin:.5rem 0}
.parts span{overflow-wrap:anywhere}
.gone{color:light-dark(#767b82,#8a9099);text-decoration:line-through}
.set{font-weight:700}
"""


def page(found: Evidence, *, most: int = 1) -> str:
    """The page of evidence, with at most so many sets of each goal. A content security policy lets
    no script run, so that no question or answer can bring one.
    """
    states = found.states(most)
    numbers = range(len(states))
    shows = "".join(f"#state{n}:checked~#shown{n}{{display:block}}" for n in numbers)
    chooses = "".join(
        f'<input type="radio" name="state" id="state{n}"{" checked" if n == 0 else ""}>'
        f'<label for="state{n}">{html.escape(name)}</label>'
        for n, name in zip(numbers, _names(states, found.wanted), strict=True)
    )
    shown = "".join(_shown(found, state, n) for n, state in zip(numbers, states, strict=True))
    title = html.escape(found.example.asked or "What the answer stands on")
    fills = ", ".join(f"{name}: {fill}" for name, fill in found.fills.items())
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title><style>{_STYLE}{shows}</style></head>
<body><main><h1 dir="auto">{title}</h1>
<fieldset><legend>What is present</legend>
{chooses}{shown}</fieldset>
<p class="soft">Absent is {html.escape(fills)}. With everything absent the model answers
“{html.escape(found.without)}”.</p>
</main></body></html>
"""


def _names(states: Sequence[EvidenceState], wanted: str | None) -> list[str]:
    """What the buttons say: the goal, with a number where it has several sets."""
    goals = [f"into “{wanted}”" if state.goal == INTO else state.goal for state in states]
    several, seen = Counter(goals), Counter[str]()
    names = []
    for goal in goals:
        seen[goal] += 1
        names.append(f"{goal} {seen[goal]}" if several[goal] > 1 else goal)
    return names


def _shown(found: Evidence, state: EvidenceState, number: int) -> str:
    """One state of the inputs."""
    parts = "".join(_part(part, state) for part in found.parts)
    return (
        f'<section id="shown{number}"><div class="soft">{html.escape(state.head)}</div>'
        f'<div class="answer" dir="auto">{html.escape(state.answer)}</div>{parts}'
        f'<div class="soft">{html.escape(state.said)}</div></section>\n'
    )


def _part(part: Part, state: EvidenceState) -> str:
    if isinstance(part, PicturePart):
        return _picture(part, state)
    if part.fixed:
        return f'<div class="soft" dir="auto">{html.escape(part.title)}</div>'
    words = []
    for number, player in enumerate(part.players):
        there = state.holds(part.name, number)
        stressed = "set" if state.stressed else ""
        kind = stressed if there else "gone"
        words.append(f'<span class="{kind}">{html.escape(player.text)}</span>')
    return f'<div class="parts" dir="auto">{"".join(words)}</div>'


def _picture(part: PicturePart, state: EvidenceState) -> str:
    """The picture, of which absent regions are nearly transparent."""
    small = part.smaller(2 * LONGEST)
    count = len(part.players)
    # Label −1, which the model does not see, takes the last place: it is left as it is.
    there = np.array([part.fixed or state.holds(part.name, n) for n in range(count)] + [True])
    opacity = np.where(there, 255, round(255 * _OPACITY)).astype(np.uint8)[small.labels]
    height, width = part.picture.shape[:2]
    number = int(there[:-1].sum())
    told = f"{part.name}, {number} of {count} {part.player}s present"
    source = picture_url(np.dstack([small.picture, opacity]))
    wide = max(width, min(LONGEST, 4 * width))
    return (
        f'<img src="{source}" width="{wide}" height="{round(wide * height / width)}" '
        f'alt="{html.escape(told)}">'
    )
