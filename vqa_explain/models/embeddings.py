"""The embedding layers of a network of one's own: which of their calls is for which text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.wording import words_replaced


def find_embedding(module: nn.Module, path: str | None, name: str) -> nn.Module:
    """The layer at a path, or the one `nn.Embedding` of a network.

    Raises:
        InvalidInput: there is none at the path, or no path and not just one.
    """
    found = [path for path, part in module.named_modules() if isinstance(part, nn.Embedding)]
    if path is None and len(found) != 1:
        raise InvalidInput(
            f"model {name!r} has {len(found)} embedding layers ({', '.join(found) or 'none'}); "
            "name that of its words with embedding="
        )
    try:
        result: nn.Module = module.get_submodule(path if path is not None else found[0])
        return result
    except AttributeError as error:
        raise InvalidInput(
            f"model {name!r} has no layer {path!r}; its embeddings: {found}"
        ) from error


@dataclass(frozen=True, eq=False)
class _LayerCall:
    """One call of an embedding layer.

    Attributes:
        asked: the token numbers that it was asked for; `None` where that is no tensor.
        shape: of what it gave.
    """

    asked: Tensor | None
    shape: tuple[int, ...]


class Embeddings:
    """The embedding layer of each text, several of which may be one.

    Args:
        layers: of each text.
        name: of the model, for errors.
    """

    def __init__(self, layers: Sequence[nn.Module], name: str) -> None:
        self._name = name
        # Layer → its texts' numbers, in the order in which the network asks for them.
        self._texts: dict[nn.Module, list[int]] = {}
        for number, layer in enumerate(layers):
            self._texts.setdefault(layer, []).append(number)

    @contextmanager
    def replaced(self, words: Sequence[Tensor]) -> Iterator[None]:
        """The layers give these embeddings (B, T, D) of each text inside,
        whatever they are asked for.
        """
        with ExitStack() as stack:
            for layer, texts in self._texts.items():
                stack.enter_context(words_replaced(layer, *(words[number] for number in texts)))
            yield

    @torch.no_grad()
    def measure(
        self, call: Callable[..., Any], given: Sequence[Tensor], places: Sequence[int], rows: int
    ) -> None:
        """Finds out which call of a layer is for which text, from one example.

        Args:
            call: calls the network with one tensor for each input.
            given: these tensors.
            places: where the token numbers (1, T) of each text are among them.
            rows: how many rows the layer gets for one example.

        Raises:
            Unsupported: a layer is not called once for each of its texts.
        """
        before = self._calls(call, given)
        for layer, texts in self._texts.items():
            lengths = [given[places[number]].shape[1] for number in texts]
            shapes = [one.shape for one in before[layer]]
            fitting = all(len(shape) == 3 and shape[0] == rows for shape in shapes)
            if not fitting or sorted(shape[1] for shape in shapes) != sorted(lengths):
                raise Unsupported(self._of_shapes(shapes, len(texts)))
            if len(texts) > 1:
                self._texts[layer] = self._in_order(call, given, places, layer, before[layer])

    def _of_shapes(self, shapes: Sequence[tuple[int, ...]], count: int) -> str:
        asked = "the question" if count == 1 else f"each of its {count} texts"
        return (
            f"the embedding of model {self._name!r} gave {list(shapes)}, not one (B, T, D) for "
            f"{asked}; name the right one with embedding="
        )

    def _in_order(
        self,
        call: Callable[..., Any],
        given: Sequence[Tensor],
        places: Sequence[int],
        layer: nn.Module,
        before: Sequence[_LayerCall],
    ) -> list[int]:
        """The numbers of a layer's texts in the order of its calls,
        each found by changing that text alone.
        """
        owner: dict[int, int] = {}
        for number in self._texts[layer]:
            place = places[number]
            changed = [*given[:place], self._other(given[place], layer), *given[place + 1 :]]
            try:
                after = self._calls(call, changed)[layer]
            except FAILURES as error:
                if lacks_memory(error):
                    raise
                after = []
            moved = _moved(before, after)
            if len(moved) != 1 or moved[0] in owner:
                raise Unsupported(
                    f"model {self._name!r} calls one embedding for several texts, and which call "
                    "is for which text cannot be seen by changing them; give each text a layer of "
                    "its own with embedding="
                )
            owner[moved[0]] = number
        return [owner[turn] for turn in sorted(owner)]

    def _other(self, ids: Tensor, layer: nn.Module) -> Tensor:
        """Other token numbers, that the layer has."""
        count = int(getattr(layer, "num_embeddings", int(ids.max()) + 1))
        return (ids + 1) % max(2, count)

    def _calls(
        self, call: Callable[..., Any], given: Sequence[Tensor]
    ) -> dict[nn.Module, list[_LayerCall]]:
        """The calls of each layer in one call of the network."""
        found: dict[nn.Module, list[_LayerCall]] = {layer: [] for layer in self._texts}

        def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            asked = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
            kept = None if asked is None else asked.detach().clone()
            found[layer].append(_LayerCall(kept, tuple(getattr(output, "shape", ()))))

        with ExitStack() as stack:
            for layer in self._texts:
                stack.callback(layer.register_forward_hook(note).remove)
            call(*given)
        return found


def _moved(before: Sequence[_LayerCall], after: Sequence[_LayerCall]) -> list[int]:
    """The numbers of the calls that are asked for other token numbers;
    () where there are more or fewer calls.
    """
    if len(before) != len(after):
        return []
    pairs = enumerate(zip(before, after, strict=True))
    return [number for number, (one, other) in pairs if not _same(one.asked, other.asked)]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)
