"""`explain`: from a model, a picture and a question to an Explanation."""

import dataclasses
import platform
import time
from importlib.metadata import version
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation, RegionValue, WordValue, region_boxes, token_values
from vqa_explain.features.image import grid_regions
from vqa_explain.methods import create
from vqa_explain.methods.base import Attribution, Progress, Task, check_support
from vqa_explain.models.base import SCORES, Encoded, Model, Target, answers, find_answer

# What measured best on scenes for words and regions within 2 s on two cores: benchmarks/default_method.py, README.
DEFAULT_METHOD = "integrated_gradients"
DEFAULT_PARAMETERS = {"steps": 128, "tolerance": 0.05}


def explain(
    model: Model,
    image: Any,
    question: str | None = None,
    *,
    method: str | None = None,
    target: str | None = None,
    contrast: str | None = None,
    score: str = "logit",
    seed: int = 0,
    progress: Progress | None = None,
    **parameters: Any,
) -> Explanation:
    """Explains one answer of a model: what each word and each image region added to its score.

    Args:
        model: what `vqa_explain.load` gave.
        image: a path, PIL image or array, or an `Example` (then without a question).
        question: the question; leave it out for a classifier.
        method: a name from `vqa-explain methods`; by default the one that measured best.
        target: the answer to explain; by default the predicted one.
        contrast: another answer: explain why the target rather than this one.
        score: "logit", "log_probability" or "probability".
        seed: for methods that draw; the same seed gives the same values.
        progress: called with (done, in all) during long work.
        **parameters: the method's own, as `vqa-explain methods` lists them.

    Raises:
        InvalidInput: the image, question, a name or a parameter cannot be used.
        Unsupported: the model cannot do what the method needs.
        NonFiniteScore: the model answers NaN or infinity.
    """
    if not hasattr(model, "capabilities"):
        raise InvalidInput(f"explain needs a model from vqa_explain.load, not {type(model).__name__}; load it first")
    chosen = create(method, parameters) if method else create(DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters})
    check_support(chosen, model)
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    example = _example(model, image, question)
    named = {
        name: find_answer(model, a)
        for name, a in (("target", target), ("contrast", contrast))
        if a is not None and model.labels
    }
    encoded = model.encode(example)
    best = answers(model, encoded)
    for name, answer in (("target", target), ("contrast", contrast)):
        if answer is not None and name not in named:  # labels that only the first example told
            named[name] = find_answer(model, answer)
    goal = Target(named.get("target", best[0].index), named.get("contrast"), score)
    if goal.contrast == goal.index:
        raise InvalidInput(f"target and contrast are both {model.labels[goal.index]!r}; choose two different answers")
    task = Task(model, encoded, goal, seed, progress)
    began = time.perf_counter()
    found = chosen(task)
    task.cost.seconds = time.perf_counter() - began
    return _finish(task, chosen, found, best)


def _example(model: Model, image: Any, question: str | None) -> Example:
    if isinstance(image, Example):
        if question is not None:
            raise InvalidInput("an Example brings its own question; leave the question out")
        example = image
    else:
        example = Example(image=image, question=question)
    asks = any(feature.name == "text" for feature in model.features)
    if asks and example.question is None:
        raise InvalidInput(f"model {model.name!r} answers questions; give one")
    if not asks and example.question is not None:
        raise InvalidInput(f"model {model.name!r} classifies images and takes no question; leave it out")
    return example


def _finish(task: Task, method: Any, found: Attribution, best: list[Any]) -> Explanation:
    """Carries an attribution to the original picture and to words, and gathers what belongs to it."""
    encoded = task.encoded
    regions = found.regions or grid_regions((encoded.pixels.shape[2], encoded.pixels.shape[3]), encoded.grid)
    values = found.region_values
    if values is None:
        values = np.bincount(regions.labels.ravel(), found.image.ravel(), minlength=regions.count)
    labels = encoded.geometry.labels_to_original(regions.labels).astype(np.int32)
    boxes = region_boxes(labels, regions.count)
    errors = found.region_errors
    in_words = _word_values(encoded, found.tokens)
    word_errors = found.word_errors
    totals = {"image": float(np.abs(values).sum()), "text": float(np.abs(in_words).sum())}
    whole = sum(totals.values())
    image = encoded.geometry.to_original(found.image)
    if not np.isfinite(image).all() or not np.isfinite(in_words).all():
        raise Unsupported(f"method {method.name!r} gave values that are not finite; try another method")
    return Explanation(
        question=encoded.example.question,
        answers=tuple(best),
        target=task.model.labels[task.target.index],
        contrast=None if task.target.contrast is None else task.model.labels[task.target.contrast],
        score=task.target.score,
        words=tuple(
            WordValue(w.text, w.start, w.end, float(v), None if word_errors is None else float(word_errors[i]))
            for i, (w, v) in enumerate(zip(encoded.words, in_words, strict=True))
        ),
        tokens=token_values(encoded.tokens, found.tokens),
        image=image,
        regions=tuple(
            RegionValue(box, float(values[i]), None if errors is None else float(errors[i]))
            for i, box in enumerate(boxes)
        ),
        labels=labels,
        share={f.name: totals[f.name] / whole if whole else 0.0 for f in task.model.features},
        error=None if found.error is None else float(found.error),
        error_kind=found.error_kind,
        cost=task.cost,
        method=method.name,
        parameters=dataclasses.asdict(method),
        provenance=_provenance(task),
        picture=encoded.picture,
        by_region=found.regions is not None,
        interactions=found.interactions,
        interaction_errors=found.interaction_errors,
    )


def _word_values(encoded: Encoded, tokens: np.ndarray) -> np.ndarray:
    values = np.zeros(len(encoded.words))
    for token, value in zip(encoded.tokens, tokens, strict=True):
        if token.word >= 0:
            values[token.word] += value
    return values


def _provenance(task: Task) -> dict[str, Any]:
    versions = {name: version(name) for name in ("vqa_explain", "torch", "transformers")}
    return {
        "model": task.model.name,
        "family": task.model.family,
        "seed": task.seed,
        "example": task.encoded.example.id,
        "versions": {**versions, "python": platform.python_version()},
    }
