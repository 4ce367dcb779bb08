"""Whether an architecture works: what is loaded, what it scores, which methods run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import page_checkpoints
import torch
from checkpoints import randomized

import vqa_explain as vx
from architectures.base import ARCHITECTURES, IN_VIDEO, QUESTION, film, plain_steps
from vqa_explain.errors import VQAExplainError

ANSWERS = ("yes", "red circle", "blue")
PICTURE = np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)
METHODS: dict[str, dict[str, Any]] = {
    "saliency": {},
    "integrated_gradients": {"steps": 2},
    "leave_one_out": {"regions": 4},
}
NEAR = 1e-5  # of the largest score


@dataclass(frozen=True)
class Verdict:
    """What became of an architecture.

    Attributes:
        verdict: "works"; "refuses": this package says that it cannot explain it; "fails": the
            network's plain call fails in transformers itself; or "not tried".
        because: why, where it does not work.
    """

    verdict: str
    because: str = ""


@cache
def network(name: str) -> tuple[Any, Any]:
    """The module and the processor of a checkpoint, made once."""
    return ARCHITECTURES[name].made()


@cache
def loaded(name: str) -> Any:
    """The model of a checkpoint, which has passed its self-check."""
    module, processor = network(name)
    return vx.load(module, processor=processor, device="cpu")


def example_of(model: Any, picture: Any = PICTURE, question: str = QUESTION) -> vx.Example:
    """The picture with the question, where the model reads one."""
    if len(model.features) == 1:
        return vx.Example(picture)
    if getattr(model, "video_length", None) is not None:
        return vx.Example.of({"video": film(picture), "question": question})
    return vx.Example(picture, question)


def frame_of(encoded: Any) -> str:
    """What the picture is called in an example of `example_of`."""
    names = [one.name for one in encoded.pictures]
    found: str = names[0] if len(names) == 1 else names[IN_VIDEO]
    return found


def encoded_with_answers(
    model: Any, picture: Any = PICTURE, question: str = QUESTION, answers: Any = ANSWERS
) -> Any:
    """The encoded example with candidates."""
    return model.with_answers(model.encode(example_of(model, picture, question)), answers)


def plain_scores(
    name: str, picture: Any = PICTURE, question: str = QUESTION, **more: Any
) -> np.ndarray:
    """(K,) the log-probabilities of the answers, by plain calls of the network."""
    one = ARCHITECTURES[name]
    module, processor = network(name)
    inputs = one.inputs(processor, picture, question)
    with torch.no_grad():
        steps = [plain_steps(one, module, processor, inputs, text, **more) for text in ANSWERS]
    return np.array([float(each.double().sum()) for each in steps])


def verdict_of(name: str) -> Verdict:
    """What becomes of one checkpoint, from its plain call to the methods.

    "wrong" is an error of this package; the tests of the table allow none.
    """
    try:
        write_plainly(name)
        wanted = plain_scores(name)
    except Exception as error:  # whatever transformers raises is the verdict
        return Verdict("fails", f"in transformers itself: {one_line(error)}")
    try:
        model = loaded(name)
        encoded = encoded_with_answers(model)
        with torch.no_grad():
            ours = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
        gap = np.abs(ours - wanted).max()
        if not gap <= NEAR * np.abs(wanted).max():
            return Verdict("wrong", f"its scores differ from the plain call by {gap:.2g}")
        refused = explain_all(model, answers=ANSWERS, target="red circle")
    except VQAExplainError as error:
        return Verdict("refuses", one_line(error))
    return Verdict("works", refused)


def verdict_of_choice(make: Callable[[], tuple[Any, Any]]) -> Verdict:
    """The same of a model that chooses among answers of its own, or says whether a text fits."""
    try:
        module, processor = randomized(make)
        refused = explain_all(vx.load(module, processor=processor, device="cpu"))
    except VQAExplainError as error:
        return Verdict("refuses", one_line(error))
    return Verdict("works", refused)


def verdict_of_page(make: Callable[[], tuple[Any, Any]]) -> Verdict:
    """The same of a model that answers questions about pages."""
    try:
        module, processor = randomized(make)
        model = vx.load(module, processor=processor, device="cpu")
        example = page_checkpoints.example_of(model, PICTURE)
        refused = explain_all(model, example, answers=("red", "circle is"), target="red")
    except VQAExplainError as error:
        return Verdict("refuses", one_line(error))
    return Verdict("works", refused)


def explain_all(model: Any, example: vx.Example | None = None, **asked: Any) -> str:
    """Runs `METHODS`; says why those over gradients are refused, as of networks with code books.

    Raises:
        VQAExplainError: leaving players out is refused too.
    """
    refused = ""
    tried = example_of(model) if example is None else example
    for method, settings in METHODS.items():
        try:
            vx.explain(model, tried, method=method, **asked, **settings)
        except VQAExplainError as error:
            if method == "leave_one_out":
                raise
            refused = one_line(error)
    return refused


def write_plainly(name: str) -> None:
    """Lets the network write three tokens, called plainly."""
    module, processor = network(name)
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    module.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; the kind of one from outside."""
    text = " ".join(str(error).split())
    return text if isinstance(error, VQAExplainError) else f"{type(error).__name__}: {text}"
