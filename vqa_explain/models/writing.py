"""How a network writes an answer by itself: what the user asks, over the checkpoint's own settings.

What is asked of nowhere comes from the checkpoint's generation configuration, as in a plain
`generate`: the tokens that end an answer, penalties, words that may not come, and stop strings. Only
sampling and beams do not, since explained is the answer that the network gives every time. Answers
that are sampled follow the network's own probabilities: of the checkpoint's settings, only those
count for them that end an answer.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqa_explain._numbers import checked_whole
from vqa_explain.errors import InvalidInput
from vqa_explain.models.candidates import NEW_TOKENS

# Settings of a generation configuration that change with what probability a token is drawn. Without
# them, what is drawn follows the network's own probabilities. The temperature is not here, since it
# is always asked for.
CHANGES_PROBABILITIES = (
    "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "begin_suppress_tokens",
    "forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids", "sequence_bias",
    "exponential_decay_length_penalty", "min_length", "min_new_tokens", "renormalize_logits",
    "remove_invalid_values", "guidance_scale", "watermarking_config", "penalty_alpha",
    "dola_layers", "diversity_penalty", "constraints", "force_words_ids", "token_healing",
    "prompt_lookup_num_tokens", "use_mtp",
)  # fmt: skip


@dataclass(frozen=True)
class Writing:
    """What a user asks of what a model writes.

    Attributes:
        most: how many tokens at most; `None` for what the checkpoint says.
        stop: the texts that end an answer; `None` for those of the checkpoint, () for none.
        temperature: what logits are divided by where answers are sampled; `None` for what is said
            there.
    """

    most: int | None = None
    stop: tuple[str, ...] | None = None
    temperature: float | None = None

    @classmethod
    def asked(
        cls, max_new_tokens: Any = None, stop: Any = None, temperature: Any = None
    ) -> "Writing":
        """What is asked, checked.

        Raises:
            InvalidInput: `max_new_tokens` is no whole number from 1 on, `stop` no texts, or
                `temperature` no number above 0.
        """
        if max_new_tokens is not None:
            max_new_tokens = checked_whole("max_new_tokens", max_new_tokens, 1)
        return cls(max_new_tokens, _stops(stop), _temperature(temperature))

    @property
    def says_nothing(self) -> bool:
        """Whether nothing is asked."""
        return self == Writing()

    def over(self, other: "Writing") -> "Writing":
        """This, and where it says nothing the other, such as what the model was loaded with."""
        return Writing(
            other.most if self.most is None else self.most,
            other.stop if self.stop is None else self.stop,
            other.temperature if self.temperature is None else self.temperature,
        )

    def settings(
        self, module: Any, tokenizer: Any, name: str, taken: int, room: int | None
    ) -> dict[str, Any]:
        """What `generate` is given for it.

        Args:
            module: the network.
            tokenizer: what reads stop strings.
            name: the model, for errors.
            taken: how many tokens stand before the answer where the network counts its length.
            room: how many tokens it takes behind them; `None` where that is not known.

        Raises:
            InvalidInput: the checkpoint's own `max_length` leaves no room for an answer.
        """
        found: dict[str, Any] = {"max_new_tokens": self._longest(module, name, taken, room)}
        own = own_setting(module, "stop_strings")
        if self.stop is not None:
            found["stop_strings"] = list(self.stop) or None
        if self.stop or own:
            found["tokenizer"] = tokenizer
        return found

    def _longest(self, module: Any, name: str, taken: int, room: int | None) -> int:
        longest = self.most or own_setting(module, "max_new_tokens")
        whole = own_setting(module, "max_length")
        if longest is None and whole is not None:
            if whole <= taken:
                raise InvalidInput(
                    f"the generation configuration of model {name!r} ends everything at max_length "
                    f"{whole}, and {taken} tokens stand before the answer; give max_new_tokens="
                )
            longest = whole - taken
        longest = longest or NEW_TOKENS
        return int(longest if room is None else max(1, min(longest, room)))


@dataclass(frozen=True)
class Draws:
    """How answers are drawn at random.

    Attributes:
        samples: how many.
        temperature: what logits are divided by, above 0.
        seed: of the draws.
    """

    samples: int
    temperature: float
    seed: int = 0


def best_of(beams: int) -> dict[str, Any]:
    """How `generate` is asked for what the network writes every time: greedily, or by beams."""
    return {
        "do_sample": False,
        "num_beams": beams,
        "num_return_sequences": beams,
        "return_dict_in_generate": False,
    }


def drawn_by(temperature: float, count: int) -> dict[str, Any]:
    """How `generate` is asked for samples, of all words by their probabilities at a temperature.

    The checkpoint's own truncation, penalties and forbidden or forced tokens do not count there:
    answers drawn with them would come more or less often than their probabilities say.
    """
    from transformers import GenerationConfig

    known = GenerationConfig()
    return {
        **{name: None for name in CHANGES_PROBABILITIES if hasattr(known, name)},
        "do_sample": True,
        "temperature": float(temperature),
        "top_k": 0,
        "top_p": 1.0,
        "num_beams": 1,
        "num_return_sequences": count,
        "return_dict_in_generate": False,
    }


def sampled(
    write: Callable[[dict[str, Any]], Tensor],
    module: Any,
    tokenizer: Any,
    draws: Draws,
) -> list[tuple[int, ...]]:
    """The tokens of answers drawn at random, each up to the one that ends it.

    The caller's random state stays as it is.

    Args:
        write: how `generate` is asked → the tokens (N, A).
        module: the network.
        tokenizer: what wrote its tokens.
        draws: how many, and how.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(draws.seed)
        rows = write(drawn_by(draws.temperature, draws.samples))
    return _without_filling(rows, module, tokenizer)


def _without_filling(rows: Tensor, module: Any, tokenizer: Any) -> list[tuple[int, ...]]:
    """The tokens of each sample up to the one that ends it, of rows (N, A) of equal length."""
    own = own_setting(module, "eos_token_id")
    ends = set(own if isinstance(own, list | tuple) else [own])
    ends |= {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    pads = {own_setting(module, "pad_token_id"), tokenizer.pad_token_id}
    found = []
    for row in rows.tolist():
        behind = next((n + 1 for n, token in enumerate(row) if token in ends), len(row))
        while behind > 1 and row[behind - 1] in pads and row[behind - 1] not in ends:
            behind -= 1
        found.append(tuple(row[:behind]))
    return found


def own_setting(module: Any, name: str) -> Any:
    """What the checkpoint's generation configuration says; `None` for nothing.

    Networks that leave the writing to a part of theirs have it there.
    """
    found = (getattr(one, name, None) for one in _configurations(module))
    return next((value for value in found if value is not None), None)


def _configurations(module: Any) -> Iterator[Any]:
    """The generation configurations that `generate` reads, of the writing part first."""
    from transformers import GenerationMixin

    parts = [module]
    if getattr(type(module), "generate", None) is not GenerationMixin.generate:
        parts = [*(one for one in module.children() if hasattr(one, "generate")), module]
    for part in parts:
        found = getattr(part, "generation_config", None)
        if found is not None:
            yield found


def _temperature(asked: Any) -> float | None:
    """What logits are divided by.

    Raises:
        InvalidInput: it is no number above 0.
    """
    if asked is None:
        return None
    number = isinstance(asked, int | float) and not isinstance(asked, bool)
    if not number or not 0 < asked < math.inf:
        raise InvalidInput(f"temperature must be a number above 0, not {asked!r}")
    return float(asked)


def _stops(asked: Any) -> tuple[str, ...] | None:
    """The texts that end an answer.

    Raises:
        InvalidInput: they are no texts, or one is empty.
    """
    if asked is None:
        return None
    given = (asked,) if isinstance(asked, str) else asked
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise InvalidInput(f"stop must be a text or a list of texts, such as ['.'], not {asked!r}")
    if not all(given):
        raise InvalidInput("stop has an empty text, which would end every answer; leave it out")
    return tuple(given)
