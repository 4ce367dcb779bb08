"""`explain`: from a model and the inputs of an example to an Explanation."""

import dataclasses
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from numbers import Integral
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor

from vqa_explain import registry
from vqa_explain._memory import must_fit
from vqa_explain._threads import quiet_linear_algebra
from vqa_explain.cost import Cost, Requests
from vqa_explain.errors import InvalidInput, NothingWritten, Unsupported, unknown
from vqa_explain.examples import Example, check_readable
from vqa_explain.explanation import Explanation, Written, everything_but
from vqa_explain.features.base import Found, Input, by_input
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.parts import Part
from vqa_explain.features.regions import SEGMENTS
from vqa_explain.features.table import TableFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.game import Players, make_players, with_players
from vqa_explain.games.progress import Progress
from vqa_explain.methods import create
from vqa_explain.methods.base import (
    Attribution,
    Method,
    Task,
    asked_fills,
    check_support,
    for_players,
)
from vqa_explain.models.base import (
    Asking,
    Model,
    OpenModel,
    check_finite,
    has_open_inputs,
    sampled,
)
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.matching import check_inputs
from vqa_explain.models.sharing import network_held
from vqa_explain.target import (
    CHOICE,
    FIT,
    LOGS,
    PLAIN,
    REAL,
    SCORES,
    Answer,
    Target,
    find_answer,
    matching_answers,
)
from vqa_explain.units import unit_of

# What measured best on scenes for words and regions within a second on two cores:
# benchmarks/default_method.py, README.
DEFAULT_METHOD = "shapley"
# Evaluations for each player.
QUALITIES = {"quick": "20n", "thorough": "100n"}
DEFAULT_PARAMETERS = {"budget": QUALITIES["quick"]}
DEFAULT_REGIONS = "segments"
LEAST_SEGMENTS = 4  # of each of many pictures

AskedTarget = str | int | Callable[..., Any]


@overload
def explain(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    method: str | None = None,
    target: AskedTarget | None = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    target_token: int | None = None,
    regions: Any = None,
    words: Any = None,
    columns: Any = None,
    players: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    on_interrupt: str = "raise",
    quality: str | None = None,
    **parameters: Any,
) -> Explanation: ...
@overload
def explain(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    method: str | None = None,
    target: Sequence[AskedTarget],
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    target_token: int | None = None,
    regions: Any = None,
    words: Any = None,
    columns: Any = None,
    players: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    on_interrupt: str = "raise",
    quality: str | None = None,
    **parameters: Any,
) -> list[Explanation]: ...
def explain(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    method: str | None = None,
    target: Any = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    target_token: int | None = None,
    regions: Any = None,
    words: Any = None,
    columns: Any = None,
    players: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    on_interrupt: str = "raise",
    quality: str | None = None,
    **parameters: Any,
) -> Any:
    """Explains one answer of a model: what each part of its inputs added to its score, such as a
    word or a region.

    Args:
        model: what `vqa_explain.load` gave.
        image: a path, PIL image or array, or an `Example` (then without a question), which takes
            inputs of any number and kind: see `Example.of`. Leave it out for a model of texts
            alone.
        question: the question, or the text of a text classifier; leave it out for an image
            classifier.
        method: a name from `vqa-explain methods`. By default what measured best: "shapley" over
            words and areas of like color, of the answer's probability.
        target: the answer to explain, by its text or its label number (from 0), by default the
            predicted one; or a function of the scores (B, K) → (B,); or a list of such, which gives
            a list of explanations, for methods over coalitions at the cost of one. An exact text
            comes first; a text that several answers have is refused.
        contrast: another answer, likewise: explain why the target rather than this one.
        score: "logit", "log_probability" or "probability". By default the logit; without a method,
            the probability where the model chooses among answers of its own. Of a model whose
            answers are any texts, "logit" too is the log-probability; where outputs are real
            numbers it is the "value", and there is no other score.
        answers: such a model's candidates; by default what it answers by itself. Targets and
            contrast join them.
        target_token: explain only this token of such a model's answer, from 0, given those before
            it.
        regions: how the picture is divided: n for n × n cells, (rows, columns), "segments" (areas of
            like color), "slic:50", `Boxes`, `Masks`, or integer labels (H, W). By default the
            model's own grid; without a method, "segments". `Blocks` makes players that span frames
            of a video. Methods that value pixels are summed over it.
        words: how the question is divided: "words", "tokens", "ngrams:2", or a list of its phrases.
        columns: how a table is divided: a list of columns, or of lists of columns that are one
            player. Each of these three takes {input: division} too, where inputs are divided in
            different ways; an input is named by its name, its video or its kind.
        players: the inputs whose parts are players, by name, by video or by kind; the others are
            fixed. By default all, but for a chat the last user's turn.
        seed: for methods that draw; the same seed gives the same values.
        progress: called with (done, in all) during long work.
        on_interrupt: "raise" when the user stops a long estimate, or "return" what it has, with its
            error.
        quality: how much the default method computes: "quick" (20 evaluations for each player), as
            where it is left out, or "thorough" (100).
        **parameters: the method's own, as `vqa-explain methods` lists them.

    Raises:
        InvalidInput: an input, a name or a parameter cannot be used.
        Unsupported: the model cannot do what the method needs.
        NonFiniteScore: the model answers NaN or infinity.
        OutOfMemory: not even one example fits.
    """
    check_loaded(model, "explain")
    check_divisions(model, regions, words)
    chosen = _chosen(method, parameters, quality)
    check_support(chosen, model)
    _check_fills(model, chosen)
    asked = list(target) if isinstance(target, list | tuple) else [target]
    if score is None:
        own = method is not None or any(callable(one) for one in asked)
        score = "logit" if own else usual_score(model)
    if score not in (*SCORES, "value"):
        raise unknown("score", score, SCORES)
    if on_interrupt not in ("raise", "return"):
        raise unknown("value of on_interrupt:", on_interrupt, ("raise", "return"))
    whole = isinstance(target_token, Integral) and not isinstance(target_token, bool)
    if target_token is not None and not whole:
        raise InvalidInput(f"target_token must be a whole number from 0, not {target_token!r}")
    if not asked:
        raise InvalidInput("the list of targets is empty; name at least one answer")
    example = asked_example(model, image, question)
    if model.labels is not None and (answers is not None or target_token is not None):
        raise InvalidInput(
            f"model {model.name!r} {_choice(model.labels)}; leave answers and target_token out"
        )
    if model.labels:  # before the picture is read; some models tell their labels only then
        score = _score(model, score)
        _targets(model.kind, model.labels, asked, contrast, score, None)
    if isinstance(model, Asking) and model.announces:
        how = {"target": target, "contrast": contrast, "regions": regions, "words": words}
        more = {"columns": columns, "players": players, "seed": seed, "score": score}
        asked_for = {**how, **more, "method": method, "quality": quality, **parameters}
        with model.announced(estimate_cost(model, example, **asked_for), f"method {chosen.name!r}"):
            return explain(
                model, example, progress=progress, on_interrupt=on_interrupt, **asked_for
            )
    # Whatever the caller does with gradients: methods ask for them, or not, themselves.
    with network_held(model.module), torch.enable_grad(), must_fit(model), quiet_linear_algebra():
        encoded = model.encode(example)
        # What a network of one's own can do is measured with the example.
        check_support(chosen, model, encoded)
        encoded = with_players(encoded, players)
        if method is None and regions is None:
            regions = _usual_regions(encoded.inputs, chosen)
        parts = make_players(encoded, divisions(encoded.inputs, regions, words, columns))
        if model.labels is None:
            encoded = with_candidates(cast(OpenModel, model), encoded, answers, asked, contrast)
        score = _score(model, score)
        best = model_answers(model, encoded)
        targets = _targets(model.kind, encoded.labels, asked, contrast, score, best[0])
        if target_token is not None:  # the answers are chosen, and have probabilities, as a whole
            encoded = at_token(cast(OpenModel, model), encoded, targets, target_token)
        task = Task(model, encoded, targets[0], parts, targets, seed, progress, on_interrupt)
        explained = [
            _explain(dataclasses.replace(task, target=goal, cost=Cost()), chosen, best)
            for goal in targets
        ]
        return explained if isinstance(target, list | tuple) else explained[0]


def _chosen(method: str | None, parameters: dict[str, Any], quality: str | None) -> Method:
    """The method with its parameters.

    Raises:
        InvalidInput: an unknown name or quality, or a quality of a method that was named.
    """
    if quality is not None and quality not in QUALITIES:
        raise unknown("quality", quality, QUALITIES)
    if method is not None and quality is not None:
        raise InvalidInput(
            f"quality= is of the default method; for {method!r} give its parameters, such as budget="
        )
    if method is not None:
        return create(method, parameters)
    return create(DEFAULT_METHOD, {"budget": QUALITIES[quality or "quick"], **parameters})


def _choice(labels: Sequence[str]) -> str:
    """What a model with labels does, in words."""
    if len(labels) == 1:
        return f"gives the one output {labels[0]!r}"
    return f"chooses among {len(labels)} answers of its own"


def usual_score(model: Model) -> str:
    """The score of the default method: the probability where a model chooses among its answers."""
    return "probability" if model.kind in (CHOICE, FIT) else "logit"


def usual_division(model: Model) -> str | None:
    """How pictures of any example are divided for the default method; `None` for the model's own
    grid.
    """
    pictures = [one for one in model.features if one.kind == ImageFeature.kind]
    follows = pictures and not any(one.shortens(one.default_fill) for one in pictures)
    return DEFAULT_REGIONS if follows else None


def _usual_regions(inputs: Sequence[Input], method: Method) -> dict[str, str]:
    """How pictures are divided where nothing was asked for: into areas of like color, unless absent
    regions are whole patches.
    """
    asked = asked_fills(method, inputs)
    pictures = [one for one in inputs if one.kind == ImageFeature.kind and not one.fixed]
    each = max(LEAST_SEGMENTS, SEGMENTS // max(1, len(pictures)))
    return {
        one.name: f"{DEFAULT_REGIONS}:{each}"
        for one in pictures
        if not one.feature.shortens(asked.get(one.name, one.feature.default_fill))
    }


def estimate_cost(
    model: Model, image: Any = None, question: str | None = None, **how: Any
) -> Requests:
    """What `explain` will ask of a model behind an interface, before anything is asked.

    The explanation is made of answers drawn at random, and its questions are counted. Their number
    is exact, but for a method that ends early at a `tolerance`, where it is the most that there can
    be. Tokens are estimates: of texts by their length, of pictures by tiles of 512 pixels.

    Args:
        model: a `vqa_explain.ApiModel`, or what `load("openai:…")` gave.
        image, question: as `explain` takes them.
        **how: the other arguments of `explain`, such as method= and budget=.

    Raises:
        Unsupported: the model runs here, and is asked nothing.
    """
    if not isinstance(model, Asking):
        raise Unsupported(
            f"model {getattr(model, 'name', model)!r} runs here, so nothing is asked and nothing "
            "has a price; `vqa-explain methods` says what each method costs"
        )
    twin = model.rehearsal()
    explain(twin, image, question, **how)
    found: Requests = twin.spent()
    return found


def _check_kinds(model: Model, asked: Iterable[tuple[str, str]]) -> None:
    """Checks that a model takes inputs of the kinds that something was asked of.

    A model that takes any inputs may have an example without a picture between others, and what was
    asked of pictures is then asked of none.

    Args:
        asked: a kind of input, and what was asked of it.

    Raises:
        InvalidInput: it takes no input of such a kind.
    """
    if has_open_inputs(model):
        return
    kinds = {one.kind for one in model.features}
    for kind, what in asked:
        if kind not in kinds:
            raise InvalidInput(
                f"{what}, and model {model.name!r} takes only "
                f"{' and '.join(one.name for one in model.features)}; leave it out"
            )


def _check_fills(model: Model, method: Method) -> None:
    """Checks that a model takes what a method is asked to fill.

    Raises:
        InvalidInput: it takes no input of that kind.
    """
    asked = []
    for parameter in dataclasses.fields(cast(Any, method)):
        kind, _, role = parameter.name.rpartition("_")
        changed = getattr(method, parameter.name) != parameter.default
        if changed and kind and role in ("fill", "baseline"):
            asked.append((kind, f"{parameter.name}= is of another kind of input"))
    _check_kinds(model, asked)


def check_divisions(model: Model, regions: Any = None, words: Any = None) -> None:
    """Checks that a model takes what is to be divided.

    Raises:
        InvalidInput: it takes no picture, or no text.
    """
    asked = [] if regions is None else [(ImageFeature.kind, "regions= divides pictures")]
    asked += [] if words is None else [(TextFeature.kind, "words= divides texts")]
    _check_kinds(model, asked)


def divisions(
    inputs: Sequence[Input], regions: Any = None, words: Any = None, columns: Any = None
) -> dict[str, Any]:
    """Input name → how it is divided, of what `explain` is asked for each kind.

    Raises:
        InvalidInput: a mapping names no input, or columns are divided where there is no table.
    """
    if columns is not None and not any(one.kind == TableFeature.kind for one in inputs):
        raise InvalidInput(
            "columns= divides a table, and the inputs are "
            f"{', '.join(one.name for one in inputs)}; leave it out"
        )
    asked = (
        (ImageFeature.kind, "regions", regions),
        (TextFeature.kind, "words", words),
        (TableFeature.kind, "columns", columns),
    )
    found: dict[str, Any] = {}
    for kind, parameter, division in asked:
        own = [one for one in inputs if one.kind == kind]
        if isinstance(division, Mapping):
            found |= by_input(division, own, f"{parameter}=")
        elif division is not None:
            found |= dict.fromkeys([one.name for one in own], division)
    return found


def text_or_number(model: Model, answer: str | None) -> str | int | None:
    """An answer typed by a person: a label number where it is written as one and no label is
    spelled so.

    Of a model whose answers are any texts, a number is a text too.
    """
    if answer is None or model.labels is None or not (answer.isascii() and answer.isdigit()):
        return answer
    return answer if matching_answers(model.labels, answer) else int(answer)


def _score(model: Model, asked: str) -> str:
    """What the points are of, as this model calls it."""
    if model.kind == REAL:
        if asked not in PLAIN:
            raise InvalidInput(
                f"model {model.name!r} gives real numbers, which have no "
                f"{asked.replace('_', ' ')}; leave score= out"
            )
        return "value"
    if asked == "value":
        raise InvalidInput(
            f"model {model.name!r} gives no plain values; score= is one of {', '.join(SCORES)}"
        )
    return "log_probability" if model.kind == LOGS and asked == "logit" else asked


def _explain(task: Task, method: Method, best: list[Answer]) -> Explanation:
    began, method = time.perf_counter(), for_players(method, len(task.players))
    found = method(task)
    task.cost.seconds = time.perf_counter() - began
    explained = finish(task, method, found, best)
    # Whoever stops wants no more work.
    absent = None if task.interrupted else _scores_without_inputs(task, method)
    if absent is None:
        return explained
    if len(task.encoded.labels) < 2:  # the only candidate is always the answer
        return explained
    if task.model.kind == FIT:  # each answer by itself, so that none is the model's one answer
        return _with_notes(explained, _note_of_one(task, absent))
    left = int(absent[0].argmax())
    text = task.encoded.labels[left]
    stays = _note_of_staying(task, f"answers “{text}”") if left == best[0].index else ""
    return dataclasses.replace(
        _with_notes(explained, stays), answer_without_inputs=text, without_inputs_index=left
    )


def _with_notes(explanation: Explanation, note: str) -> Explanation:
    return dataclasses.replace(explanation, notes=explanation.notes + ((note,) if note else ()))


@torch.no_grad()
def _note_of_one(task: Task, absent: Tensor) -> str:
    """That the explained answer stays likely with everything absent, of scores (1, K) there;
    "" where it does not.
    """
    number = task.target.index
    if number is None or task.target.contrast is not None:
        return ""
    with_inputs = task.model.scores(task.encoded, task.model.leaves(task.encoded))
    likely = min(float(scores[0, number]) for scores in (absent, with_inputs)) > 0
    text = task.encoded.labels[number]
    return _note_of_staying(task, f"gives “{text}” more than 50%") if likely else ""


def _note_of_staying(task: Task, what: str) -> str:
    """That the model still does something with every player absent, and why that may be."""
    fixed = [one.name for one in task.encoded.inputs if one.fixed]
    needs = "no more than what is fixed" if fixed else "no input"
    return (
        f"the model still {what} with {everything_but(fixed)} absent: the fill shows too much, or "
        f"the answer needs {needs}"
    )


@torch.no_grad()
def _scores_without_inputs(task: Task, method: Method) -> Tensor | None:
    """Scores (1, K) with everything absent, under the method's fill or baseline if it has one.

    Raises:
        NonFiniteScore: the model answers NaN or infinity to that.
    """
    model, encoded = task.model, task.encoded
    one_token = encoded.candidates is not None and encoded.candidates.token is not None
    if model.kind == REAL or one_token:  # then scores do not choose an answer
        return None
    game = next(iter(task.games.values()), None)
    if game is not None:
        nobody = torch.zeros(1, len(game), dtype=torch.bool, device=model.device)
        return _finite(game.logits(nobody))
    named = registry.parameters_of(method)
    if not any(name.endswith(("_fill", "_baseline")) for name in named):
        return None  # it replaces nothing
    asked = asked_fills(method, encoded.inputs)
    known = {one.name: one.feature.fills for one in encoded.inputs}
    if any(fill not in known[name] for name, fill in asked.items()):
        return None  # several fills, or any
    return _finite(model.scores(encoded, task.baselines(asked)))


def _finite(scores: Tensor) -> Tensor:
    check_finite(scores, "the model's answer with everything absent")
    return scores


def with_candidates(
    model: OpenModel,
    encoded: Encoded,
    texts: Sequence[str] | None,
    asked: list[Any],
    contrast: str | int | None,
) -> Encoded:
    """The example with its candidates: those given, or the model's own, and the targets and
    contrast.

    Texts that differ in case or blanks are different answers, with tokens of their own. A text that
    the model writes itself has the tokens that it writes: a tokenizer may give others for the text
    alone.
    """
    if isinstance(texts, str) or (texts is not None and not texts):
        raise InvalidInput("answers must be a list of at least one text, such as ['yes', 'no']")
    strange = next((text for text in texts or () if not isinstance(text, str)), None)
    if strange is not None:
        raise InvalidInput(
            f"an answer must be text, not {type(strange).__name__}; answers are such as ['yes', "
            "'no']"
        )
    named = [one for one in [*asked, contrast] if isinstance(one, str)]
    all_named = bool(named) and all(isinstance(one, str) for one in asked)
    given = texts is not None or all_named
    # Even where candidates are given: `with_answers` then knows the tokens of those that the model
    # writes itself.
    try:
        written = model.generate(encoded)
    except NothingWritten:
        if not given:
            raise
        written = ()
    own = tuple(texts or ()) if given else written
    return model.with_answers(encoded, list(dict.fromkeys([*own, *named])))


def at_token(model: OpenModel, encoded: Encoded, targets: Sequence[Target], token: int) -> Encoded:
    """The example with the same candidates, of which one token alone is scored, given those before
    it.

    Raises:
        InvalidInput: an answer that is explained has no such token, or it is the contrast's too.
    """
    whole = candidates_of(encoded)
    encoded = model.with_answers(encoded, encoded.labels, token, whole.known)
    one = candidates_of(encoded)
    for target in targets:
        explained = [i for i in (target.index, target.contrast) if i is not None]
        for answer in explained or range(len(one)):  # a function may read every score
            one.check_token(answer)
        if target.index is not None and target.contrast is not None:
            one.check_apart(target.index, target.contrast)
    return encoded


def _targets(
    kind: str,
    labels: tuple[str, ...],
    asked: list[Any],
    contrast: str | int | None,
    score: str,
    best: Answer | None,
) -> tuple[Target, ...]:
    """The targets asked for; where none is, the `best` answer."""
    other = None if contrast is None else find_answer(labels, contrast)
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
            index = find_answer(labels, one)
        if index == other:
            raise InvalidInput(
                f"target and contrast are both {labels[index]!r}, number {index}; choose two "
                "different answers"
            )
        targets.append(Target(index, other, score, kind=kind))
    return tuple(targets)


def check_loaded(model: Any, what: str) -> None:
    """Raises an `InvalidInput` where `what` is given something else than a loaded model."""
    if not hasattr(model, "capabilities"):
        raise InvalidInput(
            f"{what} needs a model from vqa_explain.load, not {type(model).__name__}; load it first"
        )


def asked_example(model: Model, image: Any, question: str | None) -> Example:
    """The example that was asked about, whose inputs are the model's.

    Raises:
        InvalidInput: it could not be read, or an input is missing, too many, or of another kind.
    """
    if isinstance(image, Example):
        if question is not None:
            raise InvalidInput("an Example brings its own question; leave the question out")
        example = image
    elif isinstance(image, Mapping):
        raise InvalidInput(
            "inputs by name are an example; write explain(model, Example.of({name: value, …}))"
        )
    else:
        pictures = [one for one in model.features if one.kind == ImageFeature.kind]
        if isinstance(image, str) and not pictures and not has_open_inputs(model):
            raise InvalidInput(
                f"model {model.name!r} takes no picture; write the text as question={image[:40]!r}"
            )
        example = Example(image=image, question=question)
    check_readable(example)
    check_inputs(model, example)
    return example


def finish(task: Task, method: Method, found: Attribution, best: list[Answer]) -> Explanation:
    """Carries an attribution to what people see of each input, and gathers what belongs to it.

    Raises:
        Unsupported: a value is not finite.
    """
    encoded, labels = task.encoded, task.encoded.labels
    found = _of_every_input(task, method, found)
    players = found.players or task.players
    values = found.player_values
    if values is None:
        values = players.sums(found.values)
    if not all(np.isfinite(one).all() for one in (*found.values.values(), values)):
        raise Unsupported(
            f"method {method.name!r} gave values that are not finite; try another method"
        )
    parts: list[Part] = []
    notes: list[str] = []
    for one in encoded.inputs:
        mine = _found_of(one, players, found, values)
        part = one.feature.carry(one.content, mine)
        parts.append(part)
        notes += one.feature.notes(one.content, mine, part)
    return Explanation(
        answers=tuple(best),
        target=task.target.text(labels),
        contrast=None if task.target.contrast is None else labels[task.target.contrast],
        score=task.target.score,
        parts=tuple(parts),
        share=_shares(parts),
        error=None if found.error is None else float(found.error),
        error_kind=found.error_kind + (", stopped by the user" if task.interrupted else ""),
        cost=task.cost,
        method=method.name,
        parameters=registry.parameters_of(method),
        provenance=_provenance(task),
        by_player=found.players is not None,
        joint=found.joint,
        notes=(
            *notes,
            *_notes_of_fixed(encoded.inputs),
            *_notes_of_weights(task.model),
            *_notes_of_samples(task, found.counts_sampling),
        ),
        unit=unit_of(method),
        target_index=task.target.index,
        contrast_index=task.target.contrast,
        target_function=task.target.function is not None,
        written=_written_of(encoded),
    )


def _of_every_input(task: Task, method: Method, found: Attribution) -> Attribution:
    """The attribution with values of every input: 0 of those that the method says nothing of.

    Raises:
        InvalidInput: the method gave values of something else, or of another shape.
    """
    values = dict(found.values)
    shapes = {one.name: one.shape for one in task.encoded.inputs}
    for name, one in values.items():
        if name not in shapes:
            raise unknown(f"input in the values of method {method.name!r}", str(name), shapes)
        if np.shape(one) != shapes[name]:
            raise InvalidInput(
                f"method {method.name!r} gave values of shape {np.shape(one)} for input {name!r}, "
                f"which has elements {shapes[name]}; give one value for each"
            )
    empty = {name: np.zeros(shape) for name, shape in shapes.items()}
    return dataclasses.replace(found, values=empty | values)


def _found_of(one: Input, players: Players, found: Attribution, values: np.ndarray) -> Found:
    """What a method found of one input, of the values (P,) of all players."""
    errors = found.player_errors
    return Found(
        one.name,
        found.values[one.name],
        players.of[one.name].division,
        players.in_input(one.name, values),
        None if errors is None else players.in_input(one.name, errors),
        one.fixed,
    )


def _shares(parts: Sequence[Part]) -> dict[str, float]:
    """Input name → its share of the absolute values of all players."""
    totals = {part.name: float(np.abs(part.values).sum()) for part in parts if not part.fixed}
    whole = sum(totals.values())
    return {name: size / whole if whole else 0.0 for name, size in totals.items()}


def _notes_of_fixed(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Which inputs were left as they are."""
    fixed = [one.name for one in inputs if one.fixed]
    if not fixed:
        return ()
    return (
        f"fixed, so without values: {', '.join(fixed)}; players= says which inputs have values",
    )


def _written_of(encoded: Encoded) -> Written | None:
    """The tokens of the candidates; `None` of a model that chooses among answers of its own."""
    found = encoded.candidates
    if found is None:
        return None
    pieces = dict(zip(found.texts, found.pieces, strict=True))
    return Written(found.known, pieces, found.token, found.lengths)


def _notes_of_weights(model: Model) -> tuple[str, ...]:
    """That some weights were drawn at random, as `allow_missing` permits."""
    drawn = getattr(model, "drawn_weights", ())
    if not drawn:
        return ()
    more = f" and {len(drawn) - 3} more" if len(drawn) > 3 else ""
    return (
        "weights of the model are random, since its checkpoint lacks them: "
        f"{', '.join(drawn[:3])}{more}",
    )


def _notes_of_samples(task: Task, counted: bool) -> tuple[str, ...]:
    """That scores are frequencies in samples, whether the errors count it, and whether the samples
    are any.
    """
    model = sampled(task.model)
    if model is None:
        return ()
    where = (
        "their sampling errors are counted in the standard errors"
        if counted
        else "their sampling errors are not counted in this method's errors; use shapley, banzhaf "
        "or leave_one_out for that"
    )
    notes = (f"scores are frequencies among {model.samples} sampled answers, and {where}",)
    if not model.always_alike(task.encoded):
        return notes
    return (
        *notes,
        "all sampled answers to each question were alike: either the model is sure of each, or the "
        "endpoint does not sample, and then scores and errors say nothing",
    )


def _provenance(task: Task) -> dict[str, Any]:
    return {
        "model": task.model.name,
        "family": task.model.family,
        "seed": task.seed,
        "example": task.encoded.example.id,
        "target_index": task.target.index,
        "contrast_index": task.target.contrast,
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:  # reading them takes longer than a small model takes to answer
    installed = {name: version(name) for name in ("vqa_explain", "torch", "transformers")}
    return {**installed, "python": platform.python_version()}
