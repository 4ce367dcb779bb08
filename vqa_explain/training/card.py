"""Measures a shipped model and writes its card: `python -m vqa_explain.training.card scenes`."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cyclopts
import torch

from vqa_explain.datasets import scenes
from vqa_explain.datasets.everyday.dataset import Everyday, plan
from vqa_explain.datasets.loading import load_dataset
from vqa_explain.errors import is_one_of, unknown
from vqa_explain.examples import Example
from vqa_explain.game import make_players
from vqa_explain.models.base import Model
from vqa_explain.models.loading import load

Tally = dict[str, list[bool]]
MODES = {"both": None, "question only": "image", "image only": "question"}  # what is absent
ABSENT = {"image": "drop", "question": "mask"}  # as in training


def measure(model: Model, examples: Iterable[Example]) -> dict[str, Tally]:
    """Whether each answer is right, by family,
    with both modalities and with the other one absent.
    """
    right: dict[str, Tally] = {mode: defaultdict(list) for mode in MODES}
    for example in examples:
        encoded = model.encode(example)
        players = make_players(encoded, {"image": (1, 1)})
        there = torch.ones(len(MODES), len(players), dtype=torch.bool)
        for row, away in enumerate(MODES.values()):
            if away is not None:
                there[row, players.of[away].numbers] = False
        best = model.coalition_scores(encoded, players.present(there), ABSENT, 0).argmax(1)
        for mode, index in zip(MODES, best.tolist(), strict=True):
            right[mode][example.family].append(encoded.labels[index] == example.answer)
    return right


class Planned(Protocol):
    """What a generated example is before it is drawn."""

    @property
    def family(self) -> str: ...
    @property
    def answer(self) -> str: ...


def question_prior(
    plan: Callable[[str, int], Planned],
    asked_as: str,
    splits: tuple[str, str] = ("train", "test"),
    train: int = 200_000,
    test: int = 20_000,
) -> tuple[float, float]:
    """Accuracy of the most frequent training answer to each exact question,
    and of the family's best constant.

    Args:
        plan: a split and a number → the example of that number.
        asked_as: the attribute that is its question.
        splits: that of training and that of the test.
        train, test: how many of each are looked at.
    """
    by_question: dict[str, Counter[str]] = defaultdict(Counter)
    by_family: dict[str, Counter[str]] = defaultdict(Counter)
    for index in range(train):
        one = plan(splits[0], index)
        by_question[getattr(one, asked_as)][one.answer] += 1
        by_family[one.family][one.answer] += 1
    asked = constant = 0
    for index in range(test):
        one = plan(splits[1], index)
        constant += by_family[one.family].most_common(1)[0][0] == one.answer
        known = by_question.get(getattr(one, asked_as)) or by_family[one.family]
        asked += known.most_common(1)[0][0] == one.answer
    return asked / test, constant / test


def _table(right: dict[str, Tally]) -> str:
    rows = ["| questions | " + " | ".join(MODES) + " | count |", "| --- " * (len(MODES) + 2) + "|"]
    families = [*right["both"], "all"]
    for family in families:
        cells = []
        for mode in MODES:
            hits = [h for f, hs in right[mode].items() for h in hs if family in (f, "all")]
            cells.append(f"{sum(hits) / len(hits):.3f}")
        rows.append(f"| {family} | " + " | ".join(cells) + f" | {len(hits)} |")
    return "\n".join(rows)


app = cyclopts.App(help="Measure a shipped model and write its card.")


@dataclass(frozen=True)
class Shown:
    """How a shipped model is measured.

    Attributes:
        examples: how many examples → these.
        asked: "all test questions", or what the first so many are called.
        prior: accuracy of the question alone: see `question_prior`; `None` where it is not counted.
    """

    examples: Callable[[int], Sequence[Example]]
    asked: str
    prior: Callable[[], tuple[float, float]] | None = None


SHOWN = {
    "scenes": Shown(
        lambda count: scenes.Scenes("test", count),
        "the first {} test scenes",
        lambda: question_prior(scenes.plan, "question"),
    ),
    "easy-vqa": Shown(lambda _: load_dataset("easy-vqa"), "all test questions"),
    "everyday": Shown(
        lambda count: Everyday("test", count),
        "the first {} test questions",
        lambda: question_prior(plan, "text"),
    ),
    "everyday-shortcut": Shown(
        lambda count: Everyday("shortcut", count),
        "the first {} questions of the split “shortcut”, where the background says nothing",
        lambda: question_prior(plan, "text", ("shortcut-train", "shortcut")),
    ),
}


@app.default
def write_card(
    name: str, *, count: int = 4000, out: Path | None = None, training: Path | None = None
) -> None:
    """Writes README.md into the checkpoint's folder.

    Args:
        name: a shipped model.
        count: test examples; easy-VQA is measured on all of its test questions.
        out: the checkpoint's folder.
        training: the JSON that training left, for the card.
    """
    if not is_one_of(name, SHOWN):
        raise unknown("shipped model", name, SHOWN)
    folder, shown = out or Path("data") / name, SHOWN[name]
    right = measure(load(name), shown.examples(count))
    record = json.loads(training.read_text()) if training else {}
    lines = [
        f"Accuracy on {shown.asked.format(count)}:",
        "",
        _table(right),
        "",
        "“question only”: every patch is dropped; “image only”: every word is masked. The model "
        "was trained with both",
        "absences, so these are its best guesses, not accidents of unfamiliar input.",
        "",
    ]
    if shown.prior is not None:
        asked, constant = shown.prior()
        lines += [
            "The question alone: the most frequent training answer to the exact question is right "
            f"in {asked:.3f},",
            f"the best constant answer of each family in {constant:.3f}.",
            "",
        ]
    write(folder, name, "visual-question-answering", [_ABOUT[name], "", *lines], record)


def write(folder: Path, name: str, task: str, body: Sequence[str], record: dict[str, Any]) -> None:
    """Writes a card and prints it.

    Args:
        folder: the checkpoint's.
        task: the hub's tag of what the model does.
        body: the lines of its text.
        record: what training left; {} for nothing.
    """
    lines = ["---", "license: mit", f"pipeline_tag: {task}", "---", f"# {name}", "", *body]
    if record:
        lines += [f"Training: {json.dumps(record)}", ""]
    lines.append("License: MIT.")
    text = "\n".join(lines).rstrip() + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


_ABOUT = {
    "everyday": """A small ViLT (hidden 192, 6 layers, 160 px, patch 16) trained on everyday,
generated pictures of things, seed 0 of the train split, by
`python -m vqa_explain.training.everyday`. In a quarter of the batches patches leave the sequence
and words are masked at rates from 0 to 1. Helping heads tell the layers in training where the
things are that words name.

These weights come from one run of 7,800 batches of 64 on one core. Its learning rate was to fall
over 14,000 batches at first, over 9,000 from batch 4,400 on, and over 7,800 from batch 6,000 on.
The command without options takes 14,000.

The drawings are OpenMoji's (https://openmoji.org, CC BY-SA 4.0); the weights hold none of them.""",
    "scenes": """A small ViLT (hidden 128, 6 layers, 96 px, patch 12) trained on generated scenes, seed 0 of the train
split, by `python -m vqa_explain.training.scenes`. In a quarter of the batches patches leave
the sequence and words are masked at rates from 0 to 1.

These weights come from one run of 9,000 batches of 64 that was stopped twice to add a helping head (whether two named
objects share color and shape, batch 2,750; how they compare, from where the answer is read, batch 4,250; an hour on
two cores) and from 4,000 further batches in which relations are asked in 8 of 20 questions:
`python -m vqa_explain.training.scenes --start-from data/scenes --steps 4000 --rate 5e-4 --relations 8`.
The first run left spatial relations at 0.765. The command without options has all heads from the start.""",
    "easy-vqa": """The scenes model, as it was before its last 4,000 batches, trained further on easy-VQA (Victor
Zhou, MIT license), all 38,575 training questions, seed 0, by `python -m vqa_explain.training.easy_vqa`, with patches
and words absent in a quarter of the batches.""",
}

if __name__ == "__main__":
    app()
