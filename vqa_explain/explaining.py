"""`explain`: from a model and the inputs of an example to an Explanation."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any, cast, overload

import torch

from vqa_explain._memory import must_fit
from vqa_explain._numbers import checked_seed
from vqa_explain._precision import in_float64
from vqa_explain._threads import quiet_linear_algebra
from vqa_explain.answering import asked_writing, writing
from vqa_explain.asking import asked_example, check_loaded
from vqa_explain.choosing import FillChoice, with_chosen_fills
from vqa_explain.cost import Cost, Requests
from vqa_explain.errors import (
    InvalidInput,
    NothingWritten,
    StillThinking,
    Unsupported,
    is_one_of,
    unknown,
)
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.base import Input, by_input
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.regions import SEGMENTS
from vqa_explain.features.table import TableFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.finishing import explained, first_pass, with_choice
from vqa_explain.game import Players, make_players, with_players
from vqa_explain.games.progress import Progress
from vqa_explain.methods import METHODS, create
from vqa_explain.methods.base import (
    Method,
    Task,
    asked_fills,
    check_support,
    fills_in,
)
from vqa_explain.models.base import (
    Asking,
    Model,
    OpenModel,
    answer_scores,
    best_answers,
    has_open_inputs,
)
from vqa_explain.models.encoded import Encoded, behind, candidates_of
from vqa_explain.models.inside import Unit, UnitModel, units_among
from vqa_explain.models.sentences import Wording
from vqa_explain.models.sharing import network_held
from vqa_explain.models.writing import Writing
from vqa_explain.sampling import (
    Same,
    Sampling,
    asked_sampling,
    check_alone,
    check_sampled,
    drawn,
    explain_class,
)
from vqa_explain.sentence import (
    THINKING,
    asks_for_words,
    check_history,
    check_words,
    explain_words,
    is_long,
)
from vqa_explain.sentence_contrast import explain_difference
from vqa_explain.several_fills import asked_alternatives, merged
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

log = logging.getLogger("vqa_explain")
# What measured best on scenes for words and regions within a second on two cores:
# benchmarks/default_method.py, README.
DEFAULT_METHOD = "shapley"
# Evaluations for each player.
QUALITIES = {"quick": "20n", "thorough": "100n"}
DEFAULT_PARAMETERS = {"budget": QUALITIES["quick"]}
DEFAULT_REGIONS = "segments"
LEAST_SEGMENTS = 4  # of each of many pictures

AskedTarget = str | int | Callable[..., Any] | Unit


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
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    same: Same | None = None,
    history: bool = False,
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
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    same: Same | None = None,
    history: bool = False,
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
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    same: Same | None = None,
    history: bool = False,
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
            comes first; a text that several answers have is refused. A `vx.Unit` is a unit inside
            the network, whose value is explained as an answer's score is. "sentence" explains
            every word of what a model writes, or of the one text in `answers`: see
            `Explanation.outputs`; "thinking" every word of what it thinks before. Of an answer of
            more than three tokens that the model wrote by itself, methods over
            coalitions tell the words in any case.
        contrast: another answer, likewise: explain why the target rather than this one. Beside
            "sentence" it is another sentence; `outputs` are then the words of both, aligned by
            their longest common subsequence, and what stands between, each as a difference.
        score: "logit", "log_probability" or "probability". By default the logit; without a method,
            the probability where the model chooses among answers of its own. Of a model whose
            answers are any texts, "logit" too is the log-probability; where outputs are real
            numbers it is the "value", and there is no other score.
        answers: such a model's candidates; by default what it answers by itself. Targets and
            contrast join them.
        target_token: explain only this token of such a model's answer, from 0, given those before
            it.
        max_new_tokens: how many tokens such a model may write by itself; by default what it was
            loaded with.
        stop: a text, or several, that ends what it writes; see `answer`.
        samples: of a method that has samples of its own, such as "gradient_shap", its parameter.
            Of others, how many answers are drawn at random, at least 2. Explained is then the
            probability of one class of them, of the text `target` or by default the most frequent:
            the exact sum over its answers that were drawn. A note says how often it came, and the
            error.
        temperature, same: of the samples; see `answer`.
        history: whether each word of a "sentence" is told what it owes to each word before it: see
            `Explanation.earlier`. Up to five words before it that is exact; else it is estimated
            from eight orders. Not beside `contrast`.
        regions: how the picture is divided: n for n × n cells, (rows, columns), "segments" (areas
            of like color), "slic:50", `Boxes`, `Masks`, or integer labels (H, W). By default the
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
        **parameters: the method's own, as `vqa-explain methods` lists them. Methods over coalitions
            take a list of fills besides, such as `fills=["blur", "mean", "drop"]`: values are then
            means over them, and `Explanation.bands` says where each lies under every fill.

    Raises:
        InvalidInput: an input, a name or a parameter cannot be used.
        Unsupported: the model cannot do what the method needs.
        NonFiniteScore: the model answers NaN or infinity.
        OutOfMemory: not even one example fits.
    """
    check_loaded(model, "explain")
    seed = checked_seed(seed)
    if _draws_itself(method):
        _check_no_sampled_answers(method, temperature, same)
        if samples is not None:
            parameters["samples"] = samples
        samples = None
    request = _Request(
        target, contrast, score, answers, target_token, max_new_tokens, stop, samples, temperature,
        same, history, regions, words, columns, players, seed, progress, on_interrupt,
    )  # fmt: skip
    if isinstance(parameters.get("fills"), list | tuple):
        example = asked_example(model, image, question)
        return _over_fills(model, example, method, quality, parameters, request)
    model, request = _of_units(model, request)
    check_divisions(model, regions, words)
    chosen = _chosen(method, parameters, quality)
    check_support(chosen, model)
    _check_fills(model, chosen)
    sampling = _checked_sampling(model, chosen, request)
    request = _with_score(model, request, usual=method is None)
    example = asked_example(model, image, question)
    writes = _checked_answers(model, request)
    if model.labels:  # before the picture is read; some models tell their labels only then
        request = replace(request, score=named_score(model, cast(str, request.score)))
        _targets(model, model.labels, request, None)
    if isinstance(model, Asking) and model.announces:
        asked = {**request.keywords(), "method": method, "quality": quality, **parameters}
        # These are no part of the price.
        told = {name: asked.pop(name) for name in ("progress", "on_interrupt")}
        with model.announced(estimate_cost(model, example, **asked), f"method {chosen.name!r}"):
            return explain(model, example, **told, **asked)
    follows = method is None and regions is None
    # Whatever the caller does with gradients: methods ask for them, or not, themselves.
    with network_held(model.module), torch.enable_grad(), must_fit(model), quiet_linear_algebra():
        encoded = model.encode(example)
        # What a network of one's own can do is measured with the example.
        check_support(chosen, model, encoded)
        encoded = with_players(encoded, players)
        divided = partial(_divided, encoded, request, follows)
        parts = divided(chosen)
        if sampling is not None:
            classes = drawn(model, encoded, writes, sampling)
            encoded = classes.encoded
        elif request.target == THINKING and request.by_word(model):
            encoded = with_thought(writing(model), encoded, writes)
        elif model.labels is None:
            encoded = with_candidates(
                cast(OpenModel, model), encoded, answers, request.targets(model), contrast, writes
            )
        chosen, choice = with_chosen_fills(chosen, model, encoded, seed)
        if choice is not None and follows:  # some fills need players of their own
            parts = divided(chosen)
        if sampling is not None:
            how = request.how()
            found = explain_class(model, classes, parts, chosen, cast(Any, target), how)
            return with_choice(found, choice, True)
        request = replace(request, score=named_score(model, cast(str, request.score)))
        if request.by_word(model) or _is_long(model, encoded, request):
            of_words = _words(cast(OpenModel, model), encoded, parts, chosen, request)
            return with_choice(of_words, choice, True)
        return _each_target(model, encoded, parts, chosen, request, choice)


@dataclass(frozen=True, eq=False)
class _Request:
    """What is asked of an example, as `explain` takes it."""

    target: Any
    contrast: str | int | None
    score: str | None
    answers: Sequence[str] | None
    target_token: int | None
    max_new_tokens: int | None
    stop: str | Sequence[str] | None
    samples: int | None
    temperature: float | None
    same: Same | None
    history: bool
    regions: Any
    words: Any
    columns: Any
    players: str | Sequence[str] | None
    seed: int
    progress: Progress | None
    on_interrupt: str

    def keywords(self) -> dict[str, Any]:
        """The arguments by their names."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}

    def how(self) -> dict[str, Any]:
        """What work of any kind is told."""
        return {
            "seed": self.seed,
            "progress": self.progress,
            "on_interrupt": self.on_interrupt,
        }

    def by_word(self, model: Model) -> bool:
        """Whether every word of what a model writes is explained."""
        return self.samples is None and asks_for_words(model, self.target)

    @property
    def is_list(self) -> bool:
        """Whether several targets were asked for, which gives a list of explanations."""
        return isinstance(self.target, list | tuple)

    def targets(self, model: Model) -> list[AskedTarget | None]:
        """Each target; `None` for what the model answers."""
        if self.is_list:
            return list(self.target)
        return [None if self.by_word(model) else self.target]


def _draws_itself(method: str | None) -> bool:
    """Whether `samples=` is a parameter of the method's own."""
    cls = METHODS.get(str(method))
    return cls is not None and any(f.name == "samples" for f in dataclasses.fields(cast(Any, cls)))


def _check_no_sampled_answers(method: str | None, temperature: Any, same: Any) -> None:
    """Refuses what belongs to sampled answers beside a method that has samples of its own.

    Raises:
        InvalidInput: such a thing was given.
    """
    for name, value in (("temperature", temperature), ("same", same)):
        if value is not None:
            raise InvalidInput(
                f"{name}= is of sampled answers, and samples= of method {method!r} are its own "
                "draws; explain sampled answers by another method, such as shapley"
            )


def _of_units(model: Model, request: _Request) -> tuple[Model, _Request]:
    """Where units are the targets, the model whose answers they are."""
    units = units_among(request.target)
    if not units:
        return model, request
    _check_of_units(request.contrast, request.target_token, request.max_new_tokens, request.stop)
    numbers = list(range(len(units)))
    target = numbers if request.is_list else numbers[0]
    found = UnitModel(model, units, request.answers)
    return found, replace(request, target=target, answers=None)


def _checked_sampling(model: Model, method: Method, request: _Request) -> Sampling | None:
    """How answers are drawn; `None` where none are."""
    check_history(request.history, request.target, request.contrast)
    sampling = asked_sampling(
        model, request.samples, request.temperature, request.same, request.seed
    )
    if sampling is not None:
        check_sampled(sampling, method, request.target, request.score)
        alone = ("contrast", "answers", "target_token")
        check_alone({name: getattr(request, name) for name in alone})
    return sampling


def _with_score(model: Model, request: _Request, usual: bool) -> _Request:
    """The request with its score; the default method has one of its own.

    Raises:
        InvalidInput: a name or a number cannot be used.
    """
    asked, score = request.targets(model), request.score
    if score is None:
        is_plain = not usual or any(callable(one) for one in asked)
        score = "logit" if is_plain else usual_score(model)
    if not is_one_of(score, (*SCORES, "value")):
        raise unknown("score", score, SCORES)
    if not is_one_of(request.on_interrupt, ("raise", "return")):
        raise unknown("value of on_interrupt:", request.on_interrupt, ("raise", "return"))
    token = request.target_token
    whole = isinstance(token, Integral) and not isinstance(token, bool)
    if token is not None and not whole:
        raise InvalidInput(f"target_token must be a whole number from 0, not {token!r}")
    if not asked:
        raise InvalidInput("the list of targets is empty; name at least one answer")
    return replace(request, score=score)


def _checked_answers(model: Model, request: _Request) -> Writing | None:
    """What is asked of what the model writes.

    Raises:
        InvalidInput: it chooses among answers, and something is asked that is of written ones.
    """
    answers, token = request.answers, request.target_token
    if model.labels is not None and (answers is not None or token is not None):
        raise InvalidInput(
            f"model {model.name!r} {_choice(model.labels)}; leave answers and target_token out"
        )
    writes = asked_writing(model, request.max_new_tokens, request.stop)
    if request.by_word(model):
        score = cast(str, request.score)
        check_words(model, request.target, answers, request.contrast, token, score)
    return writes


def _divided(encoded: Encoded, request: _Request, follows: bool, method: Method) -> Players:
    """The players; where nothing was asked for, regions follow the picture.

    Raises:
        InvalidInput: a division of what the example does not have was asked for.
    """
    asked = (
        ("regions", request.regions, ImageFeature.kind, "pictures"),
        ("words", request.words, TextFeature.kind, "texts"),
    )
    kinds = {one.kind for one in encoded.inputs}
    for name, division, kind, what in asked:
        if division is not None and kind not in kinds:
            names = ", ".join(one.name for one in encoded.inputs)
            raise InvalidInput(
                f"{name}= divides {what}, and the example has none but {names}; leave it out"
            )
    regions = _usual_regions(encoded.inputs, method) if follows else request.regions
    return make_players(encoded, divisions(encoded.inputs, regions, request.words, request.columns))


def _is_long(model: Model, encoded: Encoded, request: _Request) -> bool:
    """Whether words are told though nobody asked for them: see `is_long`."""
    asked = (request.target, request.answers, request.contrast, request.target_token)
    return all(one is None for one in asked) and is_long(model, encoded, cast(str, request.score))


def _words(
    model: OpenModel, encoded: Encoded, parts: Players, method: Method, request: _Request
) -> Explanation:
    """The words of an answer, or of what tells it from another sentence."""
    by_word, how = request.by_word(model), request.how()
    if by_word and isinstance(request.contrast, str):
        return explain_difference(model, encoded, request.contrast, parts, method, how)
    return explain_words(model, encoded, parts, method, how, by_word, request.history)


def _each_target(
    model: Model,
    encoded: Encoded,
    parts: Players,
    method: Method,
    request: _Request,
    choice: FillChoice | None,
) -> Any:
    """The explanation of the target, or of each."""
    token = request.target_token
    # One token's scores choose no answer.
    first = first_pass(method, model, encoded) if token is None else None
    scores = answer_scores(model, encoded) if first is None else in_float64(first.scores)
    best = best_answers(model.kind, encoded, scores.detach())
    plain = scores if first is None and token is None else None
    targets = _targets(model, encoded.labels, request, best[0])
    if token is not None:  # the answers are chosen, and have probabilities, as a whole
        encoded = at_token(cast(OpenModel, model), encoded, targets, token)
    task = Task(
        model, encoded, targets[0], parts, targets, first=first, plain=plain, **request.how()
    )
    found: list[Explanation] = []
    for goal in targets:
        one = replace(task, target=goal, cost=Cost())
        found.append(with_choice(explained(one, method, best), choice, not found))
        task.known_only |= one.interrupted
    return found if request.is_list else found[0]


def _targets(
    model: Model, labels: tuple[str, ...], request: _Request, best: Answer | None
) -> tuple[Target, ...]:
    score = cast(str, request.score)
    return targets_of(model.kind, labels, request.targets(model), request.contrast, score, best)


def _over_fills(
    model: Model,
    example: Example,
    method: str | None,
    quality: str | None,
    parameters: dict[str, Any],
    request: _Request,
) -> Any:
    """The explanation, or one for each target, over a list of fills: see `several_fills`."""
    given = parameters["fills"]
    own = {name: value for name, value in parameters.items() if name != "fills"}
    chosen = _chosen(method, own, quality)
    if not any(f.metadata.get("functions") for f in dataclasses.fields(cast(Any, chosen))):
        raise InvalidInput(
            f"method {chosen.name!r} takes no list of fills; methods over coalitions do, such as "
            "shapley, and integrated_gradients takes image_baseline=['blur', 'mean']"
        )
    with network_held(model.module), must_fit(model):
        encoded = with_players(model.encode(example), request.players)
    alternatives = asked_alternatives(given, encoded.inputs, fills_in(own, encoded.inputs))
    if method is None:
        targets = request.target if request.is_list else [request.target]
        is_function = any(callable(one) for one in targets)
        score = "logit" if is_function else usual_score(model)
        request = replace(request, score=request.score or score)
        own = {"budget": QUALITIES[quality or "quick"], **own}
    if method is None and request.regions is None:
        usual = _regions_for_all(encoded.inputs, chosen, alternatives)
        request = replace(request, regions=usual)
    found = []
    for number, fills in enumerate(alternatives):
        told = _share_of(request.progress, number, len(alternatives))
        settings = {**request.keywords(), **own, "fills": fills, "progress": told}
        found.append(explain(model, example, method=chosen.name, **settings))
    if request.is_list:
        return [merged(several, alternatives) for several in zip(*found, strict=True)]
    return merged(found, alternatives)


def _regions_for_all(
    inputs: Sequence[Input], method: Method, alternatives: Sequence[Mapping[str, str]]
) -> dict[str, str] | None:
    """How pictures are divided under every one of several fills, where nothing was asked for."""
    usual = [
        _usual_regions(inputs, replace(cast(Any, method), fills=fills)) for fills in alternatives
    ]
    shared = {name: one for name, one in usual[0].items() if all(name in own for own in usual)}
    return shared or None


def _share_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    """What is told of one of several pieces of work, as a part of them all."""
    if progress is None:
        return None
    return lambda done, whole: progress(number * whole + done, count * whole)


def _check_of_units(contrast: Any, token: Any, most: Any, stop: Any) -> None:
    """Refuses what belongs to answers beside targets that are units.

    Raises:
        InvalidInput: such a thing was given.
    """
    given = {"contrast": contrast, "target_token": token, "max_new_tokens": most}
    given["stop"] = stop
    for name, value in given.items():
        if value is not None:
            raise InvalidInput(
                f"the target is a unit inside the network, and {name}= is of answers; leave it out"
            )


def _chosen(method: str | None, parameters: dict[str, Any], quality: str | None) -> Method:
    """The method with its parameters.

    Raises:
        InvalidInput: an unknown name or quality, or a quality of a method that was named.
    """
    if quality is not None and not is_one_of(quality, QUALITIES):
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


def named_score(model: Model, asked: str) -> str:
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


def with_candidates(
    model: OpenModel,
    encoded: Encoded,
    texts: Sequence[str] | None,
    asked: list[Any],
    contrast: str | int | None,
    writes: Writing | None = None,
) -> Encoded:
    """The example with its candidates: those given, or the model's own, written as is asked, and
    the targets and contrast.

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
        written = (
            model.generate(encoded) if writes is None else writing(model).generate(encoded, writes)
        )
    except StillThinking:
        raise  # answers stand behind what was thought
    except NothingWritten:
        if not given:
            raise
        written = ()
    own = tuple(texts or ()) if given else written
    return model.with_answers(encoded, list(dict.fromkeys([*own, *named])))


def with_thought(model: Wording, encoded: Encoded, writes: Writing | None) -> Encoded:
    """The example with what the model thinks before it answers as its one candidate.

    Raises:
        InvalidInput: it thinks nothing.
    """
    try:
        model.generate(encoded, writes)
    except NothingWritten:  # what it thought is known nevertheless
        log.info("the model thinks, and writes no answer")
    return model.as_thought(encoded)


def at_token(model: OpenModel, encoded: Encoded, targets: Sequence[Target], token: int) -> Encoded:
    """The example with the same candidates, of which one token alone is scored, given those before
    it.

    Raises:
        InvalidInput: an answer that is explained has no such token, or it is the contrast's too.
    """
    whole = candidates_of(encoded)
    encoded = behind(model.with_answers(encoded, encoded.labels, token, whole.known), whole)
    one = candidates_of(encoded)
    for target in targets:
        explained = [i for i in (target.index, target.contrast) if i is not None]
        for answer in explained or range(len(one)):  # a function may read every score
            one.check_token(answer)
        if target.index is not None and target.contrast is not None:
            one.check_apart(target.index, target.contrast)
    return encoded


def targets_of(
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
