"""How a network writes an answer by itself: what the user asks, over the checkpoint's own settings.

What is asked of nowhere comes from the checkpoint's generation configuration, as in a plain
`generate`: the tokens that end an answer, penalties, words that may not come, and stop strings. Only
sampling and beams do not, since explained is the answer that the network gives every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.models.candidates import NEW_TOKENS


@dataclass(frozen=True)
class Writing:
    """What a user asks of what a model writes.

    Attributes:
        most: how many tokens at most; `None` for what the checkpoint says.
        stop: the texts that end an answer; `None` for those of the checkpoint, () for none.
    """

    most: int | None = None
    stop: tuple[str, ...] | None = None

    @classmethod
    def asked(cls, max_new_tokens: Any = None, stop: Any = None) -> "Writing":
        """What is asked, checked.

        Raises:
            InvalidInput: `max_new_tokens` is no whole number from 1 on, or `stop` no texts.
        """
        whole = isinstance(max_new_tokens, int) and not isinstance(max_new_tokens, bool)
        if max_new_tokens is not None and (not whole or max_new_tokens < 1):
            raise InvalidInput(
                f"max_new_tokens must be a whole number from 1 on, not {max_new_tokens!r}"
            )
        return cls(max_new_tokens, _stops(stop))

    @property
    def says_nothing(self) -> bool:
        """Whether nothing is asked."""
        return self == Writing()

    def over(self, other: "Writing") -> "Writing":
        """This, and where it says nothing the other, such as what the model was loaded with."""
        return Writing(
            other.most if self.most is None else self.most,
            other.stop if self.stop is None else self.stop,
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
