"""What methods may know of a model: features, leaves, scores, and scores of coalitions."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature
from vqa_explain.features.geometry import Geometry
from vqa_explain.features.regions import Regions
from vqa_explain.features.text import Token
from vqa_explain.features.words import Word
from vqa_explain.models.candidates import Candidates
from vqa_explain.models.labels import read_labels
from vqa_explain.models.sharing import network_held
from vqa_explain.precision import in_float64

Leaves = dict[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """One answer and what the model gives it.

    Attributes:
        text: its label.
        probability: the model's probability for it; `None` where the outputs are real numbers and no probabilities.
        index: its label number, which tells answers of the same text apart.
        value: the output itself, where there is no probability.
    """

    text: str
    probability: float | None
    index: int
    value: float | None = None

    @property
    def shown(self) -> str:
        """The probability in percent, or the value, for people."""
        return f"{self.value:.4g}" if self.probability is None else f"{self.probability:.1%}"


@dataclass(frozen=True, eq=False)
class Encoded:
    """One example, read once for one model.

    Attributes:
        example: what was encoded.
        picture: (H, W, 3) uint8, the original picture.
        pixels: (1, 3, H', W') what the model sees.
        geometry: where the frame lies in the picture.
        grid: (rows, columns) of the model's own division of the frame.
        ids: (1, T) token numbers; empty for a classifier.
        tokens, words: the question as the model and as people read it.
        labels: the K answers that the model scores for this example, in order.
        state: what else the adapter needs of the example.
        refusals: capability → why the model lacks it for this example, where that was measured.
        candidates: the answers with their tokens, of a model whose answers are any texts.
    """

    example: Example
    picture: np.ndarray
    pixels: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    ids: Tensor = field(default_factory=lambda: torch.zeros(1, 0, dtype=torch.long))
    tokens: tuple[Token, ...] = ()
    words: tuple[Word, ...] = ()
    labels: tuple[str, ...] = ()
    state: Any = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    candidates: Candidates | None = None


class Model(Protocol):
    """A model that can be explained. Adapters implement this; methods see nothing else.

    Attributes:
        name: what `vqa_explain.load` would take to get it again, as far as that is known.
        family: the adapter, for lists.
        features: its modalities, in the order of its leaves.
        labels: the closed set of answers; `None` where any text may be an answer (see `OpenModel`).
        kind: what scores are, one of `KINDS`.
        device: where it runs.
        module: the network itself, for methods that hook its layers.
        capabilities: "gradients", "pixels" (the image leaf holds pixels, so that windows and layers of maps have a
            meaning), "drop" (absent patches can leave the sequence), "attention" (see `Attentive`) and "flow"
            (attention of one stream or of two, see `Streaming`), as far as they hold.

    An adapter may have these too, which are read where it does:
        given: what results depend on besides the network, such as its transform, by argument name: a resumed run
            compares it.
        known_question: a question that the model can read, for trials; `None` where any English one will do.
        says_pieces: whether a function of the user's divides the question, and so may leave words out.
        unchecked: whether the self-check waits for the first example, since it could not be tried before.
        drawn_weights: names of weights that are random, since the checkpoint lacks them.
    """

    name: str
    family: str
    features: tuple[Feature, ...]
    kind: str
    device: torch.device
    module: nn.Module
    capabilities: frozenset[str]

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def encode(self, example: Example) -> Encoded:
        """Reads the picture and the question. Raises `InvalidInput` for what the model cannot take."""
        ...

    def leaves(self, encoded: Encoded) -> Leaves:
        """One float tensor per feature: pixels (1, 3, H', W'), word embeddings (1, T, D)."""
        ...

    def baselines(self, encoded: Encoded, fills: dict[str, str], seed: int) -> Leaves:
        """The leaves with every player absent, after each feature's fill; special tokens are kept."""
        ...

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        """Answer logits (B, K) for leaves of batch B, differentiable in each leaf."""
        ...

    def coalition_scores(
        self,
        encoded: Encoded,
        regions: Regions,
        shown: Tensor,
        said: Tensor,
        fills: dict[str, str],
        seed: int,
    ) -> Tensor:
        """Answer logits (N, K) with only some players present.

        Args:
            encoded: the example.
            regions: the division of the frame into R regions.
            shown: (N, R) bool, the regions present.
            said: (N, T) bool, the tokens present, special ones always (T = 0 for a classifier).
            fills: feature name → fill.
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


@dataclass(frozen=True)
class Positions:
    """Positions in a layer's sequence (B, N, D): of each token (T,), and of each cell of `grid` in raster order.

    `grid` is (rows, columns), or `None` for the example's own.
    """

    text: np.ndarray
    image: np.ndarray
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Attention:
    """The attention of a single-stream encoder for one example, in the graph of its answer.

    Attributes:
        scores: (1, K) answer logits.
        maps: each layer's probabilities (1, heads, N, N), from row to column.
        readout: the positions from whose states the answer is read, equally.
        written: each layer's probabilities (1, heads, A, N + A) from the A tokens of the answer that are written
            already and stand behind the N positions; () where nothing is. Then `readout` is the last of them.
        layers: the numbers of the network's layers that the maps are of, and `depth`, how many it has; `None` for all.
        prompt: how many of the maps' positions are not the answer's; `None` for all.
    """

    scores: Tensor
    maps: tuple[Tensor, ...]
    readout: tuple[int, ...]
    written: tuple[Tensor, ...] = ()
    layers: tuple[int, ...] | None = None
    depth: int = 0
    prompt: int | None = None

    @property
    def length(self) -> int:
        """The positions of the prompt, which come first."""
        return self.maps[0].shape[-1] if self.prompt is None else self.prompt


@dataclass(frozen=True)
class SelfLayer:
    """A layer in which a stream attends to itself, with probabilities (1, heads, N, N)."""

    stream: str
    map: Tensor


@dataclass(frozen=True)
class CrossLayer:
    """A layer in which streams attend to each other at once: `maps[s, q]` (1, heads, S, Q) from s to q."""

    maps: dict[tuple[str, str], Tensor]


@dataclass(frozen=True)
class Streams:
    """The attention of an encoder of two streams, "text" and "image", for one example, in the graph of its answer.

    Attributes:
        scores: (1, K).
        sizes: the length of each stream; the image's is the grid in raster order.
        layers: in the order in which they act.
        readout: the stream and position from whose state the answer is read.
    """

    scores: Tensor
    sizes: dict[str, int]
    layers: tuple[SelfLayer | CrossLayer, ...]
    readout: tuple[str, int]


class Streaming(Model, Protocol):
    """A model with the capability "flow" and without "attention"."""

    def streams(self, encoded: Encoded) -> Streams:
        """One forward pass whose attention can be seen and differentiated through."""
        ...


class Attentive(Model, Protocol):
    """A model with the capability "attention"."""

    def attention(self, encoded: Encoded) -> Attention:
        """One forward pass whose attention can be seen and differentiated through."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A model with the capability "attention" that writes its answer token by token.

    Column k of `Attention.scores` is what the token at this place adds to the score of answer k; 0 for answers that
    begin otherwise.
    """

    def answer_steps(self, encoded: Encoded, columns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The tokens that stand before each scored token of these answers; those that begin alike share theirs."""
        ...

    def prompt_length(self, encoded: Encoded) -> int:
        """How many positions come before the answer in the sequence."""
        ...

    def attention(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Attention:
        """One forward pass up to where the token behind `before` is chosen."""
        ...


@runtime_checkable
class Sized(Protocol):
    """A model that knows how much memory an example takes."""

    def widest(self, encoded: Encoded) -> int:
        """Bytes of the widest output of any layer, for one example."""
        ...


@runtime_checkable
class Limited(Protocol):
    """A model whose network may take only a certain number of examples in one call.

    Attributes:
        at_once: that number; `None` for any.
    """

    @property
    def at_once(self) -> int | None: ...


class OpenModel(Model, Protocol):
    """A model whose answers are any texts: `labels` is `None`, and each example has its own candidates."""

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
            token: score only this token of each candidate, given those before it; `None` for all of them. A
                candidate without it has score 0 (see `Candidates.check_token`).
            known: text → token numbers, for candidates that were written or explained before. Others have the
                tokens of what the model wrote itself where `generate` was called and it wrote that text,
                and else those that the tokenizer gives for the text alone.

        Raises:
            InvalidInput: a candidate has no tokens.
        """
        ...


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
    """The most probable answers, best first; those of the highest values where the outputs are real numbers."""
    with network_held(model.module), torch.no_grad():
        logits = in_float64(model.scores(encoded, model.leaves(encoded)))
    check_finite(logits, "the model's answer to the whole example")
    return best_answers(model.kind, encoded, logits, top)


def best_answers(kind: str, encoded: Encoded, scores: Tensor, top: int) -> list[Answer]:
    """The answers of the highest scores (1, K), of a `kind` of `KINDS`, best first."""
    labels = encoded.labels
    if kind == REAL:
        best = scores[0].topk(min(top, len(labels)))
        values = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [Answer(labels[i], None, i, value) for value, i in values]
    logs = KINDS[kind](scores)
    order = logs[0].topk(min(top, len(labels))).indices.tolist()
    # Answers of several tokens may be compared by their mean, which is the log-probability of no text.
    whole = logs if encoded.candidates is None else encoded.candidates.whole(logs)
    return [Answer(labels[i], float(whole[0, i].exp()), i) for i in order]


def candidates_of(encoded: Encoded) -> Candidates:
    """The candidates of an example that has them (see `OpenModel.with_answers`)."""
    assert encoded.candidates is not None, "with_answers comes first"
    return encoded.candidates


def check_finite(scores: Tensor, what: str) -> None:
    """Raises `NonFiniteScore` when a score is NaN or infinite."""
    from vqa_explain.errors import NonFiniteScore

    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteScore(
            f"{what} is NaN or infinite; check the model's weights and number type"
        )


SCORES = ("logit", "log_probability", "probability")
PLAIN = ("logit", "value")  # scores that are the network's outputs as they are
REAL = "real"
FIT = "fit"


def _no_probabilities(_scores: Tensor) -> Tensor:
    raise Unsupported(
        "this model's outputs are real numbers, which have no probabilities; leave score= out"
    )


# What a model's scores (B, K) are, and the log-probabilities (B, K) that they stand for.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda scores: scores.log_softmax(-1),  # of answers that exclude each other
    "log_probabilities": lambda scores: scores,  # of answers among all texts
    FIT: F.logsigmoid,  # of each answer by itself
    REAL: _no_probabilities,  # of a regression
}


@dataclass(frozen=True)
class Target:
    """The scalar that is explained: one answer's score, that less another's, or any function of the scores.

    Attributes:
        index: the answer's label number; `None` with a function.
        contrast: the label number of the answer it is compared with, or `None`.
        score: "logit", "log_probability" or "probability"; "value" where the outputs are real numbers.
        function: scores (B, K) → (B,), differentiable for gradient methods.
        kind: what the model's scores are, one of `KINDS`.
    """

    index: int | None
    contrast: int | None = None
    score: str = "logit"
    function: Callable[[Tensor], Tensor] | None = None
    kind: str = "logits"

    def __call__(self, logits: Tensor) -> Tensor:
        """Scores (B,) of what the model gives (B, K)."""
        if self.score not in PLAIN:
            logits = KINDS[self.kind](logits)
            logits = logits.exp() if self.score == "probability" else logits
        if self.function is not None:
            return self._called(logits)
        value = logits[:, self.index]
        return value if self.contrast is None else value - logits[:, self.contrast]

    def _called(self, scores: Tensor) -> Tensor:
        assert self.function is not None
        value = self.function(scores)
        if not isinstance(value, Tensor) or value.shape != scores.shape[:1]:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidInput(
                f"the target function must turn scores (B, K) into a tensor (B,): {tuple(scores.shape)} became {got}"
            )
        return value

    def text(self, labels: tuple[str, ...]) -> str:
        """The answer, or the function's name."""
        if self.function is not None:
            return getattr(self.function, "__name__", type(self.function).__name__)
        assert self.index is not None
        return labels[self.index]


def find_answer(labels: Sequence[str], answer: str | int) -> int:
    """The label number of an answer.

    Args:
        labels: the K answers.
        answer: its text or its label number, from 0. The exact text comes first; if no label has it, case and blanks
            do not matter.

    Raises:
        InvalidInput: there is no such answer, or several have this text.
    """
    if not isinstance(answer, str):
        return _numbered(labels, answer)
    found = matching_answers(labels, answer)
    if not found:
        raise unknown("answer", answer, labels)
    if len(found) > 1:
        listed = ", ".join(f"{labels[i]!r} is number {i}" for i in found[:12])
        raise InvalidInput(
            f"the answer {answer!r} could be several: {listed}; give the number, such as {found[0]}"
        )
    return found[0]


def _numbered(labels: Sequence[str], answer: Any) -> int:
    if isinstance(answer, bool | np.bool_) or not hasattr(answer, "__index__"):
        raise InvalidInput(
            f"an answer is its text or its label number, not {type(answer).__name__}"
        )
    try:
        number = operator.index(answer)
    except TypeError as error:  # arrays have the method too
        raise InvalidInput(
            f"an answer is its text or its label number, not {type(answer).__name__}"
        ) from error
    if not 0 <= number < len(labels):
        raise InvalidInput(
            f"there is no answer number {number}; the answers are numbered 0 to {len(labels) - 1}"
        )
    return number


def matching_answers(labels: Sequence[str], text: str) -> tuple[int, ...]:
    """The label numbers of a text: where it is exactly a label, of those; else without regard to case and blanks."""
    exact = tuple(index for index, label in enumerate(labels) if label == text)
    if exact:
        return exact
    wanted = folded(text)
    return tuple(index for index, label in enumerate(labels) if folded(label) == wanted)


def folded(text: str) -> str:
    """A text as answers are compared: without regard to case and to how many blanks there are."""
    return " ".join(text.split()).casefold()


def check_fills(model: Model, fills: dict[str, str]) -> dict[str, str]:
    """Every feature's fill: the asked one if the feature knows it, else its default."""
    names = [feature.name for feature in model.features]
    for name in fills:
        if name not in names:
            raise unknown(f"feature of model {model.name!r}", name, names)
    chosen = {}
    for feature in model.features:
        fill = fills.get(feature.name, feature.default_fill)
        if fill not in feature.fills:
            raise unknown(f"{feature.name} fill of model {model.name!r}", fill, feature.fills)
        chosen[feature.name] = fill
    return chosen


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, else the first of cuda, mps and cpu that is there."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def own_labels(module: nn.Module) -> tuple[str, ...]:
    """The answers that a transformers model's configuration names, in the order of its logits; () if none."""
    names: Any = getattr(getattr(module, "config", None), "id2label", None) or {}
    return read_labels(names) if names else ()


@dataclass
class Footprint:
    """Bytes of the outputs of a network's layers in one forward pass: of the widest, and of all together."""

    widest: int = 1
    total: int = 1


def open_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The network and its layers by path, less those of TorchScript, which take no hooks."""
    return [
        (path, layer)
        for path, layer in module.named_modules()
        if not isinstance(layer, torch.jit.ScriptModule)
    ]


@contextmanager
def footprint(module: nn.Module) -> Iterator[Footprint]:
    """Fills in the footprint of what runs inside."""
    found = Footprint()

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            size = output.numel() * output.element_size()
            found.widest, found.total = max(found.widest, size), found.total + size

    handles = [layer.register_forward_hook(note) for _, layer in open_layers(module)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def parameters_frozen(module: nn.Module) -> Iterator[None]:
    """Gradients flow to the leaves only, so that a backward pass does not pay for the weights."""
    if not torch.is_grad_enabled():
        yield
        return
    wanted = [p for p in module.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)
