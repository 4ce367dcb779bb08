"""`explain`: from a model, a picture and a question to an Explanation."""

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, cast, overload

import numpy as np

from vqa_explain import registry
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation, RegionValue, TokenValue, WordValue, region_boxes
from vqa_explain.features.image import BoxGeometry
from vqa_explain.features.regions import Regions
from vqa_explain.game import Cost, make_players
from vqa_explain.memory import must_fit
from vqa_explain.methods import create
from vqa_explain.methods.base import Attribution, Method, Progress, Task, check_support, over_regions, over_words
from vqa_explain.models.base import SCORES, Answer, Encoded, Model, OpenModel, Target, find_answer
from vqa_explain.models.base import answers as model_answers
from vqa_explain.threads import quiet_linear_algebra
from vqa_explain.units import unit_of

# What measured best on scenes for words and regions within 2 s on two cores: benchmarks/default_method.py, README.
DEFAULT_METHOD = "integrated_gradients"
DEFAULT_PARAMETERS = {"steps": 128, "tolerance": 0.05}

AskedTarget = str | int | Callable[..., Any]


@overload
def explain(
    model: Model, image: Any, question: str | None = None, *, target: AskedTarget | None = None, **options: Any
) -> Explanation: ...
@overload
def explain(
    model: Model, image: Any, question: str | None = None, *, target: Sequence[AskedTarget], **options: Any
) -> list[Explanation]: ...
def explain(
    model: Model,
    image: Any,
    question: str | None = None,
    *,
    method: str | None = None,
    target: Any = None,
    contrast: str | int | None = None,
    score: str = "logit",
    answers: Sequence[str] | None = None,
    target_token: int | None = None,
    regions: Any = None,
    words: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
    on_interrupt: str = "raise",
    **parameters: Any,
) -> Any:
    """Explains one answer of a model: what each word and each image region added to its score.

    Args:
        model: what `vqa_explain.load` gave.
        image: a path, PIL image or array, or an `Example` (then without a question).
        question: the question; leave it out for a classifier.
        method: a name from `vqa-explain methods`; by default the one that measured best.
        target: the answer to explain, by default the predicted one; or a function of the scores (B, K) → (B,); or a
            list of such, which gives a list of explanations, for methods over coalitions at the cost of one.
        contrast: another answer: explain why the target rather than this one.
        score: "logit", "log_probability" or "probability". Of a model whose answers are any texts, "logit" too is the
            log-probability.
        answers: such a model's candidates; by default what it answers by itself. Targets and contrast join them.
        target_token: explain only this token of such a model's answer, from 0, given those before it.
        regions: how the picture is divided: n for n × n cells, (rows, columns), "slic:50", `Boxes`, `Masks`, or
            integer labels (H, W); by default the model's own grid. Methods that value pixels are summed over it.
        words: how the question is divided: "words", "tokens", "ngrams:2", or a list of its phrases.
        seed: for methods that draw; the same seed gives the same values.
        progress: called with (done, in all) during long work.
        on_interrupt: "raise" when the user stops a long estimate, or "return" what it has, with its error.
        **parameters: the method's own, as `vqa-explain methods` lists them.

    Raises:
        InvalidInput: the image, question, a name or a parameter cannot be used.
        Unsupported: the model cannot do what the method needs.
        NonFiniteScore: the model answers NaN or infinity.
        OutOfMemory: not even one example fits.
    """
    if not hasattr(model, "capabilities"):
        raise InvalidInput(f"explain needs a model from vqa_explain.load, not {type(model).__name__}; load it first")
    chosen = create(method, parameters) if method else create(DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters})
    check_support(chosen, model)
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    if on_interrupt not in ("raise", "return"):
        raise unknown("value of on_interrupt:", on_interrupt, ("raise", "return"))
    asked = list(target) if isinstance(target, list | tuple) else [target]
    if not asked:
        raise InvalidInput("the list of targets is empty; name at least one answer")
    example = _example(model, image, question)
    if model.labels is not None and (answers is not None or target_token is not None):
        raise InvalidInput(
            f"model {model.name!r} chooses among {len(model.labels)} answers of its own; leave answers and "
            "target_token out"
        )
    if model.labels:  # before the picture is read; some models tell their labels only then
        _targets(model.kind, model.labels, asked, contrast, score, None)
    with must_fit(model), quiet_linear_algebra():
        encoded = model.encode(example)
        players = make_players(encoded, regions, words)
        if model.labels is None:
            encoded = with_candidates(cast(OpenModel, model), encoded, answers, asked, contrast, target_token)
            score = "log_probability" if score == "logit" else score
        best = model_answers(model, encoded)
        targets = _targets(model.kind, encoded.labels, asked, contrast, score, best[0])
        task = Task(model, encoded, targets[0], players, targets, seed, progress, on_interrupt)
        explained = [_explain(dataclasses.replace(task, target=goal, cost=Cost()), chosen, best) for goal in targets]
        return explained if isinstance(target, list | tuple) else explained[0]


def _explain(task: Task, method: Method, best: list[Answer]) -> Explanation:
    began = time.perf_counter()
    found = method(task)
    task.cost.seconds = time.perf_counter() - began
    return finish(task, method, found, best)


def with_candidates(
    model: OpenModel,
    encoded: Encoded,
    texts: Sequence[str] | None,
    asked: list[Any],
    contrast: str | int | None,
    token: int | None,
) -> Encoded:
    """The example with its candidates: those given, or the model's own, and the targets and contrast."""
    if isinstance(texts, str) or (texts is not None and not texts):
        raise InvalidInput("answers must be a list of at least one text, such as ['yes', 'no']")
    named = [one for one in [*asked, contrast] if isinstance(one, str)]
    own = model.generate(encoded) if texts is None and (None in asked or not named) else tuple(texts or ())
    candidates: dict[str, str] = {}
    for text in [*own, *named]:
        candidates.setdefault(str(text).strip().casefold(), text)
    return model.with_answers(encoded, list(candidates.values()), token)


def _targets(
    kind: str, labels: tuple[str, ...], asked: list[Any], contrast: str | int | None, score: str, best: Answer | None
) -> tuple[Target, ...]:
    """The targets asked for; where none is, the `best` answer."""
    other = None if contrast is None else _label_number(labels, contrast)
    targets = []
    for one in asked:
        if one is None:
            if best is None:
                continue
            index = best.index
        elif callable(one):
            if other is not None:
                raise InvalidInput("a target function brings its own contrast; leave contrast= out")
            targets.append(Target(None, None, score, one, kind))
            continue
        else:
            index = _label_number(labels, one)
        if index == other:
            raise InvalidInput(f"target and contrast are both {labels[index]!r}; choose two different answers")
        targets.append(Target(index, other, score, kind=kind))
    return tuple(targets)


def _label_number(labels: tuple[str, ...], asked: Any) -> int:
    """The label number that is asked for, by itself or by its text."""
    if isinstance(asked, int) and not isinstance(asked, bool):
        if 0 <= asked < len(labels):
            return asked
        raise InvalidInput(f"there is no answer number {asked}; the model has {len(labels)}, from 0")
    return find_answer(labels, cast(str, asked))


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


def finish(task: Task, method: Method, found: Attribution, best: list[Answer]) -> Explanation:
    """Carries an attribution to the original picture and to words, and gathers what belongs to it."""
    encoded, units, labels = task.encoded, task.players.units, task.encoded.labels
    regions = found.regions or task.players.regions
    values = over_regions(task, found.image) if found.region_values is None else found.region_values
    where = encoded.geometry.labels_to_original(regions.labels).astype(np.int32)
    errors, word_errors = found.region_errors, found.word_errors
    in_words = over_words(task, found.tokens)
    totals = {"image": float(np.abs(values).sum()), "text": float(np.abs(in_words).sum())}
    whole = sum(totals.values())
    image = encoded.geometry.to_original(found.image)
    if not np.isfinite(image).all() or not np.isfinite(in_words).all():
        raise Unsupported(f"method {method.name!r} gave values that are not finite; try another method")
    return Explanation(
        question=encoded.example.question,
        answers=tuple(best),
        target=task.target.text(labels),
        contrast=None if task.target.contrast is None else labels[task.target.contrast],
        score=task.target.score,
        words=tuple(
            WordValue(w.text, w.start, w.end, float(v), None if word_errors is None else float(word_errors[i]))
            for i, (w, v) in enumerate(zip(units.words, in_words, strict=True))
        ),
        tokens=tuple(
            TokenValue(token.text, int(word), token.special, float(value))
            for token, word, value in zip(encoded.tokens, units.owner, found.tokens, strict=True)
        ),
        image=image,
        regions=tuple(
            RegionValue(box, float(values[i]), None if errors is None else float(errors[i]))
            for i, box in enumerate(_boxes(encoded, where, regions))
        ),
        labels=where,
        share={f.name: totals[f.name] / whole if whole else 0.0 for f in task.model.features},
        error=None if found.error is None else float(found.error),
        error_kind=found.error_kind + (", stopped by the user" if task.interrupted else ""),
        cost=task.cost,
        method=method.name,
        parameters=registry.parameters_of(method),
        provenance=_provenance(task),
        picture=encoded.picture,
        by_region=found.regions is not None,
        interactions=found.interactions,
        interaction_errors=found.interaction_errors,
        unit=unit_of(method),
        target_index=task.target.index,
        contrast_index=task.target.contrast,
    )


def _boxes(encoded: Encoded, where: np.ndarray, regions: Regions) -> list[tuple[int, int, int, int]]:
    """Each region's bounding box in the picture; a detector's boxes are their own, since smaller ones may hide them."""
    if isinstance(encoded.geometry, BoxGeometry) and regions.count == len(encoded.geometry.boxes):
        return [(int(a), int(b), int(c), int(d)) for a, b, c, d in np.rint(encoded.geometry.boxes)]
    return region_boxes(where, regions.count)


def _provenance(task: Task) -> dict[str, Any]:
    return {
        "model": task.model.name,
        "family": task.model.family,
        "seed": task.seed,
        "example": task.encoded.example.id,
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:  # reading them takes longer than a small model takes to answer
    installed = {name: version(name) for name in ("vqa_explain", "torch", "transformers")}
    return {**installed, "python": platform.python_version()}
