"""Methods that read a transformer's attention: raw, rolled out, and weighted by its gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput
from vqa_explain.methods.base import Attribution, Task, from_states, register_method
from vqa_explain.methods.passes import Slopes, WholePass, attention_pass, streams_pass
from vqa_explain.models.attending import (
    Attention,
    SelfLayer,
    Stepwise,
    StreamingSteps,
    Streams,
)
from vqa_explain.models.base import Leaves, Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.registry import parameter

KIND = "none: attention does not add up to a score"
NEEDS = frozenset({"attention"})


Flow = Callable[[list[Tensor]], Tensor]


def whole_maps(maps: Sequence[Tensor], written: Sequence[Tensor]) -> list[Tensor]:
    """Maps (heads, N + A, N + A) of the prompt, which sees nothing behind it,
    and of the answer's A tokens so far.
    """
    if not written:
        return [one[0] for one in maps]
    found = []
    for prompt, behind in zip(maps, written, strict=True):
        more = behind.shape[-2]
        whole = prompt.shape[-1] + more
        # Layers with a sliding window keep the last positions only.
        behind = F.pad(behind[0], (whole - behind.shape[-1], 0))
        found.append(torch.cat([F.pad(prompt[0], (0, more)), behind], dim=-2))
    return found


def row_of(found: Attention, flow: Tensor) -> Tensor:
    """(N,) what the place where the answer is read has of each of the prompt's positions,
    of `flow` (N + A, N + A).
    """
    return in_float64(flow[list(found.readout), : found.length].mean(dim=0).detach())


def read_from(task: Task, found: Attention, row: Tensor) -> Attribution:
    """A row (N,) on the tokens and cells of each input."""
    values = row.numpy()
    where = task.model.positions(task.encoded, len(values))
    states = {name: values[positions] for name, positions in where.of.items()}
    return from_states(task, states, KIND + _covered(found), where.grid)


def _covered(found: Attention) -> str:
    """Which layers were read, where some of the network's have no attention."""
    if found.layers is None:
        return ""
    listed = ", ".join(map(str, found.layers))
    return (
        f"; of layers 0 to {found.depth - 1} only {listed} attend and are read, the others count "
        "as passing through"
    )


def _mean_flow(task: Task, flow_of: Flow) -> Attribution:
    """The row of the place where the answer is read; the mean over those of its tokens,
    where it is written.
    """
    rows = []
    for found, _ in task.answer_steps():
        with torch.no_grad():
            rows.append(row_of(found, flow_of(whole_maps(found.maps, found.written))))
    return read_from(task, found, torch.stack(rows).mean(dim=0))


class _InOnePass:
    """A method of attention: where the answer is read once, the pass that shows the attention gives
    the answers too.
    """

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass | None:
        if "attention" in model.capabilities:
            stepwise = isinstance(model, Stepwise)
            return None if stepwise else attention_pass(model, encoded, leaves)
        stepwise = isinstance(model, StreamingSteps)
        return None if stepwise else streams_pass(model, encoded, leaves)


@register_method(
    "attention",
    source="Bahdanau et al. 2015, arXiv:1409.0473, section 5.2.1",
    unit=units.ATTENTION,
    needs=NEEDS,
    error=KIND,
    cost="1 forward",
)
@dataclass(frozen=True)
class RawAttention(_InOnePass):
    """How much the answer's position looks at each token and patch in one layer, the mean over
    heads. No target.

    An answer of several tokens is read at several positions: values are the mean over them.
    """

    layer: int = parameter(
        -1, "which layer, from 0, or from the last with -1", low=-1000, high=1000
    )

    def __call__(self, task: Task) -> Attribution:
        rows = []
        for found, _ in task.answer_steps():
            place = self._place(found)
            with torch.no_grad():
                rows.append(row_of(found, whole_maps(found.maps, found.written)[place].mean(dim=0)))
        return read_from(task, found, torch.stack(rows).mean(dim=0))

    def _place(self, found: Attention) -> int:
        """Which of the maps is this layer's."""
        numbers = found.layers or tuple(range(len(found.maps)))
        if -len(numbers) <= self.layer < 0:
            return self.layer
        if self.layer in numbers:
            return numbers.index(self.layer)
        if found.layers is None:
            raise InvalidInput(
                f"layer {self.layer} does not exist: the model has layers 0 to {len(numbers) - 1}"
            )
        raise InvalidInput(
            f"layer {self.layer} has no attention: layers {', '.join(map(str, numbers))} have"
        )


def rollout(maps: list[Tensor], residual: float) -> Tensor:
    """(N, N) the product of the layers' ((1 − r)·A + r·I), A the mean over heads of (heads, N,
    N).
    """
    flow = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    for heads in maps:
        own = torch.eye(heads.shape[-1], dtype=heads.dtype, device=heads.device)
        flow = ((1 - residual) * heads.mean(dim=0) + residual * own) @ flow
    return flow


@register_method(
    "attention_rollout",
    source="Abnar & Zuidema 2020, arXiv:2005.00928, section 3",
    unit=units.ATTENTION,
    needs=NEEDS,
    error=KIND,
    cost="1 forward",
)
@dataclass(frozen=True)
class AttentionRollout(_InOnePass):
    """Attention followed through all layers, with the residual path counted as looking at oneself.
    No target.

    An answer of several tokens is read at several positions: values are the mean over them, each
    followed through the tokens before it. Layers without attention, which some decoders have, count
    as passing through and are named.
    """

    residual: float = parameter(0.5, "weight of the residual path", low=0.0, high=1.0)

    def __call__(self, task: Task) -> Attribution:
        return _mean_flow(task, lambda maps: rollout(maps, self.residual))


def relevance(maps: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """(N, N) R ← R + Ā R from R = I, Ā the mean over heads of the positive part of ∇A ⊙ A,
    layer by layer.
    """
    flow = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    for heads, gradient in zip(maps, gradients, strict=True):
        flow = flow + (gradient * heads).clamp(min=0).mean(dim=0) @ flow
    return flow


@dataclass
class TwoStreams:
    """Relevance in a network of two streams that attend to themselves and to each other, or one of
    which attends to the other, as a decoder does to its encoder.

    `maps[s, q]` (S, Q) is how relevant each position of stream q is to each of stream s: the
    identity at first, and nothing across (equation 5). Attention is given as its mean over heads of
    the positive part of ∇A ⊙ A.
    """

    maps: dict[tuple[str, str], Tensor]

    @classmethod
    def of_sizes(cls, sizes: dict[str, int]) -> "TwoStreams":
        """Before the first layer."""
        return cls({(s, q): torch.eye(a) if s == q else torch.zeros(a, b)
                    for s, a in sizes.items() for q, b in sizes.items()})  # fmt: skip

    def attend(self, stream: str, attention: Tensor) -> None:
        """A self-attention layer of one stream:
        R ← R + Ā R for both of its maps (equations 6 and 7).
        """
        for s, q in list(self.maps):
            if s == stream:
                self.maps[s, q] = self.maps[s, q] + attention @ self.maps[s, q]

    def attend_across(self, attention: dict[tuple[str, str], Tensor]) -> None:
        """A layer in which streams attend to each other, `attention[s, q]` (S, Q) from s to q, all
        at once.

        R_sq ← R_sq + R̄_ssᵀ Ā R̄_qq and R_ss ← R_ss + Ā R_qs (equations 10 and 11), from the maps
        before the layer.
        """
        old = dict(self.maps)
        for (s, q), weights in attention.items():
            self.maps[s, q] = old[s, q] + _normalized(old[s, s]).T @ weights @ _normalized(
                old[q, q]
            )
            self.maps[s, s] = old[s, s] + weights @ old[q, s]


def _normalized(flow: Tensor) -> Tensor:
    """What self-attention added, its rows summing to 1,
    and the identity again (equations 8 and 9).
    """
    own = torch.eye(len(flow), dtype=flow.dtype, device=flow.device)
    added = flow - own
    rows = added.sum(dim=-1, keepdim=True)
    return torch.where(rows > 0, added / rows.clamp(min=1e-30), added) + own


@register_method(
    "relevance",
    source="Chefer, Gur & Wolf 2021, arXiv:2103.15679, equations 5 to 11",
    unit=units.RELEVANCE,
    needs={"flow", "gradients"},
    error=KIND,
    cost="1 forward, 1 backward for each token of the answer",
)
@dataclass(frozen=True)
class Relevance(_InOnePass):
    """Attention that raises the target's score, carried through all layers with the residual path.
    Never negative.

    A decoder's row of its encoder is read where an encoder and a decoder write the answer.

    Of an answer of several tokens, each token's log-probability is explained given those before it,
    and values are the sum over tokens: with `target_token` it is one of these terms. Layers without
    attention, which some decoders have, count as passing through and are named.
    """

    def __call__(self, task: Task) -> Attribution:
        if "attention" not in task.model.capabilities:
            return self._of_streams(task)
        rows = []
        for found, differentiate in task.answer_steps():
            # The last layer's map of the prompt has no part in a token behind it.
            slopes = [
                torch.zeros_like(one) if slope is None else slope
                for one, slope in zip(found.every_map, differentiate(), strict=True)
            ]
            prompt, written = slopes[: len(found.maps)], slopes[len(found.maps) :]
            with torch.no_grad():
                flow = relevance(whole_maps(found.maps, found.written), whole_maps(prompt, written))
            rows.append(row_of(found, flow))
        return read_from(task, found, torch.stack(rows).sum(dim=0))

    def _of_streams(self, task: Task) -> Attribution:
        rows: list[dict[str, np.ndarray]] = []
        for found, differentiate in task.answer_streams():
            flow = _flow_of_streams(found, differentiate())
            stream, place = found.readout
            rows.append({q: in_float64(flow.maps[stream, q][place]).numpy() for q in found.sizes})
        if found.whole is None:  # then the answer is read once
            return from_states(task, rows[0], KIND)
        values = np.sum([row[found.whole] for row in rows], axis=0)
        where = task.model.positions(task.encoded, len(values))
        states = {name: values[positions] for name, positions in where.of.items()}
        return from_states(task, states, KIND, where.grid)


def _flow_of_streams(found: Streams, slopes: Slopes) -> TwoStreams:
    """Relevance of each position of two streams to each, by the slopes of all their maps."""
    # A layer that the answer does not depend on, as the image's last, has no slope and moves
    # nothing.
    weighted = iter([_positive(m, g) for m, g in zip(found.every_map, slopes, strict=True)])
    flow = TwoStreams.of_sizes(found.sizes)
    for layer in found.layers:
        if isinstance(layer, SelfLayer):
            flow.attend(layer.stream, next(weighted))
        else:
            flow.attend_across({key: next(weighted) for key in layer.maps})
    return flow


def _positive(attention: Tensor, slope: Tensor | None) -> Tensor:
    """The mean over heads of the positive part of ∇A ⊙ A, of (1, heads, N, M)."""
    attention = attention[0].detach()
    return (
        torch.zeros_like(attention[0])
        if slope is None
        else (slope[0] * attention).clamp(min=0).mean(dim=0)
    )
