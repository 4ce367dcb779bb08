"""Texts as models of two towers read them: what the processor puts around them, measured."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.text import Token
from vqa_explain.features.words import Word
from vqa_explain.models.wording import read_question

Rows = dict[str, Tensor]  # arguments of the network's forward, with one row per text or picture

TRIAL = "a photo of a cat"
IDS, MASK = "input_ids", "attention_mask"
# What their authors' configurations are called. SigLIP reads a text from the last of a fixed
# number of tokens and was trained to read its padding, so its authors pad texts by hand and call
# it without a mask. Nothing in its processor says so.
READS_PADDING = "siglip"


def reads_padding(module: Any) -> bool:
    """Whether a network is a SigLIP: see `READS_PADDING`."""
    kind = getattr(getattr(module, "config", None), "model_type", "")
    return str(kind).startswith(READS_PADDING)


@dataclass(frozen=True, eq=False)
class Layout:
    """What a processor makes of a text besides its tokens.

    Attributes:
        before: token numbers that stand before every text, such as the places of BLIP-2's queries.
        padded: the number of tokens that texts are padded to; `None` where they are not.
        masked: whether the network is told which tokens are padding.
        constants: further arguments with one number per token, always the same, such as token
            types.
        copies: further arguments that get the token numbers too, such as FLAVA's of a text with
            masked words, of which nothing is masked here.
    """

    before: tuple[int, ...] = ()
    padded: int | None = None
    masked: bool = True
    constants: dict[str, int] = field(default_factory=dict)
    copies: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """How a tokenizer is called to pad a text as the processor does."""
        if self.padded is None:
            return {}
        return {"padding": "max_length", "max_length": self.padded}

    def rows(self, ids: Tensor, mask: Tensor | None) -> Rows:
        """What the network is given for texts.

        Args:
            ids: (N, T) token numbers.
            mask: (N, T) which of them are attended to; `None` for all of them.
        """
        count = len(ids)
        first = torch.tensor([self.before], dtype=ids.dtype, device=ids.device).expand(count, -1)
        found = {IDS: torch.cat([first, ids], dim=1)}
        if self.masked and mask is None:
            mask = torch.ones_like(ids)
        if mask is not None:
            heard = torch.ones_like(first)
            found[MASK] = torch.cat([heard, mask.to(ids.dtype)], dim=1)
        for name, number in self.constants.items():
            found[name] = torch.full_like(found[IDS], number)
        return found | dict.fromkeys(self.copies, found[IDS])


def measure_layout(processor: Any, given: Rows, alone: Rows, module: Any, name: str) -> Layout:
    """The layout of texts, from what a processor gives for `TRIAL` and a picture.

    Args:
        processor: it.
        given: what it gives.
        alone: what its tokenizer gives for the text alone.
        module: the network.
        name: the model, for errors.

    Raises:
        Unsupported: the text's tokens are not among those that the processor gives.
    """
    row, own = given[IDS][0].tolist(), alone[IDS][0].tolist()
    starts = [i for i in range(len(row) - len(own) + 1) if row[i : i + len(own)] == own]
    if not starts:
        raise Unsupported(
            f"the processor of model {name!r} does not give the tokens of a text as its tokenizer "
            "does, so no adapter can tell its words apart; wrap the network in "
            "vqa_explain.CustomModel"
        )
    before, after = row[: starts[0]], row[starts[0] + len(own) :]
    padding = processor.tokenizer.pad_token_id
    on_the_left = bool(before) and set(before) == {padding}
    padded = None
    if on_the_left or (after and set(after) == {padding}):
        padded = len(row) if on_the_left else len(row) - len(before)
        before = [] if on_the_left else before
    elif after:
        raise Unsupported(
            f"the processor of model {name!r} puts tokens behind a text, which no adapter knows "
            "how to keep; wrap the network in vqa_explain.CustomModel"
        )
    masked = MASK in given and not reads_padding(module)
    if reads_padding(module) and padded is None:
        padded = module.config.text_config.max_position_embeddings
    copies = tuple(key for key in signature(module.forward).parameters if key == f"{IDS}_masked")
    return Layout(tuple(before), padded, masked, _constants(given, len(row), name), copies)


def _constants(given: Rows, length: int, name: str) -> dict[str, int]:
    """Further arguments with one number per token, by name."""
    found = {}
    for key, value in given.items():
        if key in (IDS, MASK) or tuple(value.shape) != (1, length) or value.is_floating_point():
            continue
        numbers = value.unique().tolist()
        if len(numbers) != 1:
            raise Unsupported(
                f"the processor of model {name!r} gives {key!r}, which differs from token to "
                "token, and no adapter knows what it says; wrap the network in "
                "vqa_explain.CustomModel"
            )
        found[key] = int(numbers[0])
    return found


@dataclass(frozen=True, eq=False)
class Read:
    """A text as the network reads it: its tokens, (1, T) numbers, and which are no padding."""

    ids: Tensor
    mask: Tensor
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


def read_text(tokenizer: Any, text: object, layout: Layout, limit: int | None, name: str) -> Read:
    """A text of a user's, padded as the processor pads it.

    Raises:
        InvalidInput: it is no text with words, or is longer than the network takes.
    """
    limits = [one for one in (limit, layout.padded) if one is not None]
    longest = min(limits, default=None)
    ids, tokens, words = read_question(tokenizer, text, longest, name, **layout.settings)
    bare, _, _ = read_question(tokenizer, text, longest, name)
    padding = ids.shape[1] - bare.shape[1]
    mask = torch.ones_like(ids)
    if padding and tokenizer.padding_side == "left":
        mask[:, :padding] = 0
    elif padding:
        mask[:, -padding:] = 0
    return Read(ids, mask, tokens, words)


def read_labels_of(tokenizer: Any, texts: Sequence[str], layout: Layout) -> tuple[Tensor, Tensor]:
    """Token numbers (K, T) of texts, padded to the longest or as the processor does,
    and which are no padding.
    """
    settings = layout.settings or {"padding": True}
    asked = {"return_tensors": "pt", "truncation": True, "return_attention_mask": True}
    found = tokenizer(list(texts), **asked, **settings)
    return found[IDS], found[MASK]


@contextmanager
def embeddings_asked(module: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Path → the numbers that each embedding layer of a network is asked for inside."""
    asked: dict[str, list[Tensor]] = {}

    def note(path: str) -> Any:
        def hook(_layer: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                asked.setdefault(path, []).append(inputs[0].detach().clone())

        return hook

    with ExitStack() as hooks:
        for path, part in module.named_modules():
            if isinstance(part, nn.Embedding):
                hooks.callback(part.register_forward_hook(note(path)).remove)
        yield asked


def word_embedding(asked: dict[str, list[Tensor]], ids: Tensor, name: str) -> str:
    """Path of the layer that was asked for a text's tokens (1, T), and for these alone.

    Raises:
        Unsupported: there is not just one.
    """
    found = [path for path, calls in asked.items() if all(torch.equal(call, ids) for call in calls)]
    if len(found) != 1:
        raise Unsupported(
            f"model {name!r} fails the check 'one embedding reads the words': {len(found)} of its "
            f"embedding layers ({', '.join(asked) or 'it has none'}) are asked for the tokens of a "
            "text; wrap the network in vqa_explain.CustomModel"
        )
    return found[0]


def longest_text(module: nn.Module, words: str, asked: dict[str, list[Tensor]]) -> int | None:
    """How many tokens the table of positions beside the layer `words` has rows for;
    `None` without a table.

    RoBERTa counts positions from behind the number of its padding token, so the rows before the
    first that is asked for do not count.
    """
    home = words.rpartition(".")[0]
    length = asked[words][0].shape[1]
    for path, calls in asked.items():
        table = module.get_submodule(path)
        if path == words or path.rpartition(".")[0] != home or not isinstance(table, nn.Embedding):
            continue
        row = calls[0].reshape(-1, calls[0].shape[-1])[0]
        rises = len(row) == length > 2 and bool((row[1:3] - row[:2] == 1).all())
        if rises:
            return table.num_embeddings - int(row[0])
    return None


def too_long(name: str, count: int, limit: int) -> InvalidInput:
    """The error of labels that the network cannot take."""
    return InvalidInput(
        f"a label has {count} tokens and model {name!r} takes {limit}; shorten the label"
    )
