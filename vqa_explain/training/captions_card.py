"""Measures the shipped model that writes captions, and writes its card:
`python -m vqa_explain.training.captions_card`.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from vqa_explain.answering import answer
from vqa_explain.datasets.everyday.dataset import Everyday, plan
from vqa_explain.datasets.everyday.objects import KINDS, plural
from vqa_explain.datasets.everyday.scene import Scene
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.games.intervals import Interval, mean_interval, paired_interval
from vqa_explain.metrics.localization import mass
from vqa_explain.models.base import Model
from vqa_explain.models.loading import load
from vqa_explain.training import card
from vqa_explain.training.caption_facts import Verdict, judge, read_caption

SPLIT = "captions"
REGIONS = "segments"  # of which the default method, Shapley values, takes about 20
SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Written:
    """A caption that the model wrote, with the scene that it is of."""

    scene: Scene
    text: str

    @property
    def verdict(self) -> Verdict:
        """What of it is so."""
        return judge(read_caption(self.text), self.scene.items)

    @property
    def is_reference(self) -> bool:
        """Whether it is the data set's caption, word for word."""
        return self.text == self.scene.text


def write_captions(model: Model, count: int) -> list[Written]:
    """What the model writes by itself of the first test pictures."""
    examples = Everyday(SPLIT, count)
    return [Written(plan(SPLIT, n), str(answer(model, examples[n].image))) for n in range(count)]


def shares(found: Sequence[Written]) -> dict[str, Interval]:
    """What is measured → the share with its interval; nouns and colors count each by itself."""
    verdicts = [one.verdict for one in found]
    told: dict[str, list[bool]] = {
        "captions of which all is true": [one.is_true for one in verdicts],
        "and which name every kind of object": [one.is_complete for one in verdicts],
        "captions that are the data set's, word for word": [one.is_reference for one in found],
        "nouns that are in the picture (precision)": _joined(one.nouns for one in verdicts),
        "kinds of objects that are named (recall)": _joined(one.found for one in verdicts),
        "colors that are right": _joined(one.colors for one in verdicts),
        "recolored objects, where named, that have their color": _joined(
            one.painted for one in verdicts
        ),
        "numbers that are right": _joined(one.numbers for one in verdicts),
        "side words that are right": [one.side for one in verdicts if one.side is not None],
    }
    return {name: mean_interval(np.array(hits, dtype=float), SHARE) for name, hits in told.items()}


def _joined(several: Any) -> list[bool]:
    return [hit for one in several for hit in one]


@dataclass(frozen=True)
class Grounding:
    """Where the words for objects look: the share of their relevance that lies on the object.

    Attributes:
        method, random: of the method, and of a random explanation of the same parts.
        gain: the difference over the same captions.
        area: the share of the picture that the objects cover.
    """

    method: Interval
    random: Interval
    gain: Interval
    pointing: Interval
    area: float


def ground(model: Model, count: int) -> Grounding:
    """Explains the data set's captions of the first test pictures, each in one pass."""
    rng, rows, areas = np.random.default_rng(0), [], []
    for example in Everyday(SPLIT, count):
        text = str(example.answer)
        asked = replace(example, answer=None, mentions=())
        why = explain(model, asked, answers=[text], target="sentence", regions=REGIONS)
        found = list(_named(why, example))
        drawn = [_drawn_again(why, rng) for _ in found]
        rows.append(
            [
                np.mean([mass(values, truth) for values, truth in found]),
                np.mean([mass(one, truth) for one, (_, truth) in zip(drawn, found, strict=True)]),
                np.mean([truth[values == values.max()].mean() for values, truth in found]),
            ]
        )
        areas.append(np.mean([truth.mean() for _, truth in found]))
    own, other, pointing = np.array(rows).T
    return Grounding(
        mean_interval(own, SHARE),
        mean_interval(other, SHARE),
        paired_interval(other, own),
        mean_interval(pointing, SHARE),
        float(np.mean(areas)),
    )


def _named(why: Explanation, example: Example) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each phrase that names objects, the sum (H, W) of its words' values, and where the
    objects are (H, W) bool.
    """
    places = word_places(why, str(example.answer))
    assert example.masks is not None, "captions have masks"
    for start, end, objects in example.mentions:
        own = [row for row, (first, behind) in places if first < end and start < behind]
        truth = np.asarray(example.masks[list(objects)].any(axis=0))
        yield np.sum([row.image for row in own], axis=0), truth


def _drawn_again(why: Explanation, rng: np.random.Generator) -> np.ndarray:
    """(H, W) random values of the same regions, as the method "random" draws them."""
    values, back = np.unique(why.image, return_inverse=True)
    drawn: np.ndarray = rng.standard_normal(len(values))[back].reshape(why.image.shape)
    return drawn


def plant(example: Example, rng: random.Random) -> tuple[str, tuple[int, int]]:
    """The example's caption with one object in place of another that is in the picture, and the
    characters of its noun.
    """
    text = str(example.answer)
    facts = read_caption(text)
    said = {thing.kind for thing in facts.things}
    thing = rng.choice(facts.things)
    kind = rng.choice([kind for kind in KINDS if kind not in said])
    noun = kind if thing.number == 1 else plural(kind)
    start = text.rfind(" ", 0, thing.end) + 1
    before = text[:start]
    if re.search(r"\ban? $", before):
        before = re.sub(r"\ban? $", "an " if noun[0] in "aeiou" else "a ", before)
    return before + noun + text[thing.end :], (len(before), len(before) + len(noun))


@dataclass(frozen=True)
class Flags:
    """How the mark "not from the picture" fares on the nouns of captions.

    Attributes:
        precision: of marked nouns, the share that was planted.
        recall: of planted nouns, the share that is marked.
        spared: of nouns of what is in the picture, the share that is not marked.
    """

    precision: Interval
    recall: Interval
    spared: Interval


def flag(model: Model, count: int, seed: int = 0) -> Flags:
    """Plants one object in each of the first test captions, and reads the marks of all nouns."""
    rng, planted, true = random.Random(seed), [], []
    for example in Everyday(SPLIT, count):
        text, (start, end) = plant(example, rng)
        why = explain_cheaply(model, example, text)
        marks = noun_marks(why, text)
        planted.append(marks.pop((start, end)))
        true += marks.values()
    marked = [True] * sum(planted) + [False] * sum(true)
    return Flags(
        mean_interval(np.array(marked, dtype=float), SHARE),
        mean_interval(np.array(planted, dtype=float), SHARE),
        mean_interval(1 - np.array(true, dtype=float), SHARE),
    )


def explain_cheaply(model: Model, example: Example, text: str) -> Explanation:
    """A text as the answer, by the fastest method: the marks do not depend on it."""
    asked = replace(example, answer=None, mentions=())
    return explain(model, asked, method="saliency", answers=[text], target="sentence")


def word_places(why: Explanation, text: str) -> list[tuple[Explanation, tuple[int, int]]]:
    """Each word of an explained sentence with its characters in the text."""
    found, at = [], 0
    for row in why.outputs:
        start = text.index(row.target, at)
        at = start + len(row.target)
        found.append((row, (start, at)))
    return found


def noun_marks(why: Explanation, text: str) -> dict[tuple[int, int], bool]:
    """The characters of each noun → whether it is marked as not from the picture."""
    ends = {thing.end for thing in read_caption(text).things}
    return {
        place: row.is_not_from_pictures for row, place in word_places(why, text) if place[1] in ends
    }


def percent(found: Interval) -> str:
    """A share with its interval, in %."""
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


app = cyclopts.App(help="Measure the model that writes captions, and write its card.")


@app.default
def write_card(
    *,
    count: int = 1000,
    explained: int = 60,
    planted: int = 300,
    out: Path = Path("data/captions"),
    training: Path | None = None,
) -> None:
    """Writes README.md into the checkpoint's folder.

    Args:
        count: captions that the model writes.
        explained: captions of the data set of which every word is explained.
        planted: captions in which one object is replaced by another.
        out: the checkpoint's folder.
        training: the JSON that training left, for the card.
    """
    model = load(out)
    record = json.loads(training.read_text()) if training else {}
    body = [ABOUT, "", *_written_lines(model, count), *_ground_lines(ground(model, explained))]
    body += [*_flag_lines(flag(model, planted), planted), LIMITS, ""]
    card.write(out, "captions", "image-to-text", body, record)


def _written_lines(model: Model, count: int) -> list[str]:
    found = shares(write_captions(model, count))
    rows = [f"| {name} | {percent(one)} | {one.count} |" for name, one in found.items()]
    return [
        f"What it writes by itself of the first {count} pictures of the split “captions”, word by",
        "word the most probable; a rule reads the captions and compares them with the scenes.",
        "Shares in %, with 95 % intervals:",
        "",
        "| what | % | of |",
        "| --- | --- | --- |",
        *rows,
        "",
        "A picture has several true captions, so few are the data set's own, word for word.",
        "",
    ]


def _ground_lines(found: Grounding) -> list[str]:
    return [
        f"Where words for objects look, over the data set's captions of {found.method.count}",
        "pictures: the share of their positive relevance that lies on the object (as `mention_mass`),",
        f"by Shapley values, the default, in %: {percent(found.method)}; of random values of the",
        f"same regions {percent(found.random)}; the difference {percent(found.gain)}. An object",
        f"covers {100 * found.area:.1f} % of the picture. The pixel of most relevance lies on the",
        f"object in {percent(found.pointing)} % (as `mention_pointing`).",
        "",
    ]


def _flag_lines(found: Flags, count: int) -> list[str]:
    return [
        f"One object of each of {count} captions was replaced by one that is not in the picture.",
        f"Of the planted nouns {percent(found.recall)} % are marked “not from the picture”; of the",
        f"marked nouns {percent(found.precision)} % were planted; of the true nouns",
        f"{percent(found.spared)} % are not marked.",
        "",
    ]


ABOUT = """A small LLaVA (a SigLIP tower of three layers and width 192, a Llama decoder of four
layers and width 128; 1.8 million parameters, 160 px, patch 16) that writes what is where in the
generated pictures of everyday. It was trained on the split “captions-train”, seed 0, by
`python -m vqa_explain.training.captions`. The tower begins with the first layers of the shipped
model “everyday”. In a quarter of the batches places of the picture are filled or left out, and
words are absent, at rates from 0 to 1. Helping heads tell patches what they show, and words where
their objects are. A question may be left out; it asks for the caption and changes little.

These weights come from one run of 2,000 batches of 64 on one core. Its learning rate was to fall
over 3,000 batches at first, and over 2,500, 1,900, 2,200 and 2,000 from batches 550, 850, 1,250 and
1,500 on; pictures without a question came from batch 550 on. The command without options takes
4,000.

The drawings are OpenMoji's (https://openmoji.org, CC BY-SA 4.0); the weights hold none of them."""
LIMITS = """It cannot answer questions, and knows no words, things or pictures but those of
everyday: 64 kinds of drawn objects, eight colors, numbers to three and four sides. Of a photograph
it names some of these things, whatever it shows."""

if __name__ == "__main__":
    app()
