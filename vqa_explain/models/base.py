"""What methods may know of a model: features, leaves, scores, and scores of coalitions."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vqa_explain._precision import in_float64
from vqa_explain.cost import Requests
from vqa_explain.errors import InvalidInput, NonFiniteScore, unknown
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Present
from vqa_explain.models.attending import Positions
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.labels import read_labels
from vqa_explain.models.sharing import network_held
from vqa_explain.own_fills import Fill, own_fill
from vqa_explain.target import KINDS, REAL, Answer

Leaves = dict[str, Tensor]

WHOLE = "the model's answer to the whole example"  # in errors


class Model(Protocol):
    """A model that can be explained. Adapters implement this; methods see nothing else.

    Attributes:
        name: what `vqa_explain.load` would take to get it again, as far as that is known.
        family: the adapter, for lists.
        features: the inputs that it takes, in the order of its leaves. A model with `open_inputs`
            lists one of each kind that it takes.
        labels: the closed set of answers; `None` where any text may be an answer (see `OpenModel`).
        kind: what scores are, one of `KINDS`.
        device: where it runs.
        module: the network itself, for methods that hook its layers.
        capabilities: "gradients", "pixels" (leaves of pictures hold pixels, so that windows and
            layers of maps have a meaning), "drop" (absent patches can leave the sequence),
            "attention" (see `Attentive`) and "flow" (attention of one stream or of two, see
            `Streaming`), as far as they hold.

    An adapter may have these too, which are read where it does:
        given: what results depend on besides the network, such as its transform, by argument name:
            a resumed run compares it.
        known_inputs: input name → a text or row that the model can read, for trials; nothing of
            texts where any English question will do.
        video_length: how many frames a video has, of a model that takes videos and no pictures;
            `None` of others.
        open_inputs: whether it takes any number of inputs, and so checks by itself which an example
            has.
        says_pieces: whether a function of the user's divides the texts, and so may leave words out.
        unchecked: whether the self-check waits for the first example, since it could not be tried
            before.
        drawn_weights: names of weights that are random, since the checkpoint lacks them.
        bare_prompt: whether texts are asked as they are, with no chat template around them.
    """

    # Read only, so that an adapter may have narrower types of its own.
    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def features(self) -> tuple[Feature, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def module(self) -> nn.Module: ...
    @property
    def capabilities(self) -> frozenset[str]: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def encode(self, example: Example) -> Encoded:
        """Reads the inputs of an example.

        Raises:
            InvalidInput: the model cannot take one of them.
        """
        ...

    def leaves(self, encoded: Encoded) -> Leaves:
        """Input name → a float tensor, such as pixels (1, C, H', W') or word embeddings (1, T,
        D).
        """
        ...

    def baselines(self, encoded: Encoded, fills: dict[str, str], seed: int) -> Leaves:
        """The leaves with every player absent, after each input's fill; special tokens are kept."""
        ...

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        """Answer logits (B, K) for leaves of batch B, differentiable in each leaf."""
        ...

    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        """Answer logits (N, K) with only some players present.

        Args:
            encoded: the example.
            present: input name → which of its players are present in each of the N coalitions.
            fills: input name → fill.
            seed: for fills that draw noise.
        """
        ...

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> "Positions":
        """Where in a layer's sequence of this length the tokens and the grid's cells are.

        Args:
            encoded: the example.
            length: the number of states in the sequence.
            layer: the layer's path; `None` for the sequence that attention runs over.

        Raises:
            InvalidInput: a sequence of this length does not hold them.
        """
        ...

    def default_layer(self, encoded: Encoded) -> str:
        """Path in `module` of the layer that class activation maps read unless told otherwise."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A model that knows how much memory an example takes."""

    def widest(self, encoded: Encoded) -> int:
        """Bytes of the widest output of any layer, for one example."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A model that remembers within one game what it computed of inputs that coalitions share."""

    def for_game(self, encoded: Encoded) -> Encoded:
        """The same example with an empty memory."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A model whose network may take only a certain number of examples in one call.

    Attributes:
        at_once: that number; `None` for any.
    """

    @property
    def at_once(self) -> int | None: ...


@runtime_checkable
class Sampled(Protocol):
    """A model whose scores may be frequencies among sampled answers, with errors of their own.

    Attributes:
        samples: how many answers stand behind each score; `None` where scores are exact.
    """

    @property
    def samples(self) -> int | None: ...

    def score_covariance(self, scores: Tensor) -> Tensor:
        """(N, K, K) the covariance of the sampling errors of scores (N, K)."""
        ...

    def contents(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> list[str]:
        """What each of N coalitions is asked as; equal texts share one sampling error."""
        ...

    def always_alike(self, encoded: Encoded) -> bool:
        """Whether all samples of each question so far were alike, as if nothing was sampled."""
        ...


@runtime_checkable
class Rereading(Protocol):
    """A model that keeps what it knows of an example where a part of it is changed."""

    def read_again(self, encoded: Encoded, example: Example) -> Encoded:
        """What `Model.encode` gives of the changed example, with that knowledge."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A model behind an interface, each of whose scores is asked for, and may be paid for.

    Attributes:
        announces: whether it is to say what a piece of work costs before it is asked.
    """

    @property
    def announces(self) -> bool: ...

    def spent(self) -> Requests:
        """What was asked so far: of a rehearsal, what would be asked."""
        ...

    def rehearsal(self) -> Any:  # a model, and itself of this protocol
        """A model that takes the same inputs, and whose questions are counted and never asked."""
        ...

    def announced(self, requests: Requests, work: str) -> AbstractContextManager[None]:
        """Says what a piece of work costs; inside, it is said no more."""
        ...


class OpenModel(Model, Protocol):
    """A model whose answers are any texts: `labels` is `None`,
    and each example has its own candidates.
    """

    def generate(self, encoded: Encoded) -> tuple[str, ...]:
        """What the model answers by itself, best first."""
        ...

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        """The example with these candidates as its labels.

        Args:
            encoded: the example.
            texts: the candidates.
            token: score only this token of each candidate, given those before it; `None` for all of
                them. A candidate without it has score 0 (see `Candidates.check_token`).
            known: text → token numbers, for candidates that were written or explained before.
                Others have the tokens of what the model wrote itself where `generate` was called
                and it wrote that text, and else those that the tokenizer gives for the text alone.

        Raises:
            InvalidInput: a candidate has no tokens.
        """
        ...


def has_open_inputs(model: Model) -> bool:
    """Whether a model takes any number of inputs: see `open_inputs` of `Model`."""
    return bool(getattr(model, "open_inputs", False))


def sampled(model: Model) -> Sampled | None:
    """The model, where its scores have sampling errors; else `None`."""
    return model if isinstance(model, Sampled) and model.samples is not None else None


def described(model: Model) -> str:
    """A model in one line: its name, family and device, what it takes and what it answers."""
    takes = ", ".join(feature.name for feature in model.features)
    labels = model.labels
    if labels is None:
        gives = "any text"
    elif len(labels) == 1:
        gives = f"the one output {labels[0]!r}"
    else:
        some = ", ".join(map(repr, labels[:3])) + (", …" if len(labels) > 3 else "")
        gives = f"one of {len(labels)} answers ({some})"
    return f"<model {model.name!r}: {model.family} on {model.device}, {takes} → {gives}>"


def answers(model: Model, encoded: Encoded, top: int = 5) -> list[Answer]:
    """The most probable answers, best first; those of the highest values where the outputs are
    real numbers.
    """
    return best_answers(model.kind, encoded, answer_scores(model, encoded), top)


def answer_scores(model: Model, encoded: Encoded) -> Tensor:
    """(1, K) float64, the scores of the whole example.

    Raises:
        NonFiniteScore: one is NaN or infinite.
    """
    with network_held(model.module), torch.no_grad():
        scores = in_float64(model.scores(encoded, model.leaves(encoded)))
    check_finite(scores, WHOLE)
    return scores


def best_answers(kind: str, encoded: Encoded, scores: Tensor, top: int = 5) -> list[Answer]:
    """The answers of the highest scores (1, K), of a `kind` of `KINDS`, best first."""
    labels = encoded.labels
    # By the scores themselves, the first of equal ones first, as `argmax` has it: probabilities of
    # unlike scores may be equal by rounding.
    order = scores[0].argsort(descending=True, stable=True)[:top].tolist()
    if kind == REAL:
        return [Answer(labels[i], None, i, float(scores[0, i])) for i in order]
    logs = KINDS[kind](scores)
    # Answers of several tokens may be compared by their mean, which is the log-probability of no
    # text.
    whole = logs if encoded.candidates is None else encoded.candidates.whole(logs)
    return [Answer(labels[i], float(whole[0, i].exp()), i) for i in order]


def check_finite(scores: Tensor, what: str) -> None:
    """Raises `NonFiniteScore` when a score is NaN or infinite."""
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteScore(
            f"{what} is NaN or infinite; check the model's weights and number type"
        )


def check_fills(
    model: Model, fills: Mapping[str, str], features: Sequence[Feature] | None = None
) -> dict[str, str]:
    """Every input's fill: the asked one if its feature knows it, else its default.

    Args:
        model: the model.
        fills: input name → fill.
        features: those of the example's inputs; by default the model's own.

    Raises:
        InvalidInput: there is no such input, or it has no such fill.
    """
    features = model.features if features is None else features
    names = [feature.name for feature in features]
    for name in fills:
        if name not in names:
            raise unknown(f"input of model {model.name!r}", name, names)
    chosen: dict[str, str] = {}
    for feature in features:
        fill = fills.get(feature.name, feature.default_fill)
        is_usual = fill in feature.fills
        own = None if is_usual else own_fill(fill)
        if own is not None:
            chosen[feature.name] = _checked_own(own, feature)
            continue
        if not is_usual:
            raise unknown(f"{feature.name} fill of model {model.name!r}", fill, feature.fills)
        chosen[feature.name] = fill
    return chosen


def _checked_own(fill: Fill, feature: Feature) -> Fill:
    """A fill of the user's own, where the feature takes it.

    Raises:
        InvalidInput: it does not, or has a fill of that name.
    """
    if str(fill) in feature.fills:
        raise InvalidInput(
            f"{feature.name} has a fill {str(fill)!r} already; give yours another name: "
            "vx.Fill(function, name='my_fill')"
        )
    if not feature.takes_functions:
        raise InvalidInput(
            f"fill {str(fill)!r} is a function of your own, which {feature.name} does not take; "
            f"choose one of {', '.join(feature.fills)}"
        )
    return fill


def own_labels(module: nn.Module) -> tuple[str, ...]:
    """The answers that a transformers model's configuration names, in the order of its logits;
    () if none.
    """
    names: Any = getattr(getattr(module, "config", None), "id2label", None) or {}
    return read_labels(names) if names else ()
