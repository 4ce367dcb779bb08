"""The plain call of a model of two towers: how pictures and texts make scores, measured."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain._precision import in_float64
from vqa_explain.errors import Unsupported
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.checking import ROUNDING
from vqa_explain.models.network import method_replaced
from vqa_explain.models.towers.texts import Rows
from vqa_explain.models.weights import contents, places

# What outputs call their scores: a number per picture and text, or for each pair "they match".
TABLES = ("logits_per_image", "contrastive_logits_per_image")
MATCHES = ("itm_score", "logits")
# Whose pairs have two scores, the first for "they do not match", as their documentation says.
SECOND_MATCHES = ("BlipForImageTextRetrieval", "BridgeTowerForImageAndTextRetrieval")


def repeated(rows: Mapping[str, Tensor], count: int) -> Rows:
    """One row, repeated."""
    return {name: value.expand(count, *value.shape[1:]) for name, value in rows.items()}


class TowerNetwork:
    """Scores of pictures and texts by the network's own forward.

    Args:
        module: the network.
        name: the model, for errors.

    Attributes:
        crosses: whether one call scores every picture with every text. Otherwise it scores the
            first picture with the first text, the second with the second and so on.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self.crosses = True

    def measure(self, texts: Rows, pictures: Rows) -> None:
        """Finds out how the network pairs what it is given.

        Args:
            texts, pictures: of one text and one picture.

        Raises:
            Unsupported: its plain call gives no scores, or not those of several pairs.
        """
        try:
            alone = self._call(texts, pictures)
        except FAILURES as error:
            if lacks_memory(error):
                raise
            raise Unsupported(
                f"model {self._name!r} fails on what its processor makes of a picture and a text: "
                f"{type(error).__name__} {error}; give the processor that it was trained with"
            ) from error
        if tuple(alone.shape) != (1, 1):
            raise self._no_pairs(alone)
        self.crosses = self._gives(repeated(texts, 3), repeated(pictures, 2), (2, 3))
        if not self.crosses and not self._gives(repeated(texts, 2), repeated(pictures, 2), (2, 2)):
            raise self._no_pairs(alone)

    def _no_pairs(self, scores: Tensor) -> Unsupported:
        return Unsupported(
            f"model {self._name!r} fails the check 'pairs are scored': it gives "
            f"{tuple(scores.shape)} for one picture and one text, or cannot take two of each; wrap "
            "the network in vqa_explain.CustomModel"
        )

    def _gives(self, texts: Rows, pictures: Rows, shape: tuple[int, int]) -> bool:
        """Whether these make a table of this shape."""
        try:
            return tuple(self._call(texts, pictures).shape) == shape
        except FAILURES as error:
            if lacks_memory(error):
                raise
            return False

    def _call(self, texts: Rows, pictures: Rows) -> Tensor:
        return self.read(self._module(**texts, **pictures))

    def read(self, output: Any) -> Tensor:
        """(P, T) the scores in an output. Of pairs, those of the diagonal are meant.

        Raises:
            Unsupported: there are none.
        """
        for key in TABLES:
            if isinstance(found := getattr(output, key, None), Tensor):
                return found
        for key in MATCHES:
            found = getattr(output, key, None)
            if not isinstance(found, Tensor) or found.ndim != 2:
                continue
            if found.shape[1] == 2:
                self._check_second_matches()
                return (found[:, 1] - found[:, 0]).diag_embed()
            if found.shape[1] == 1:
                return found[:, 0].diag_embed()
        given = ", ".join(output.keys()) if hasattr(output, "keys") else type(output).__name__
        raise Unsupported(
            f"model {self._name!r} says of no text how well it fits a picture: its plain call "
            f"gives {given}, and none of {', '.join((*TABLES, *MATCHES))}; give one with such a head"
        )

    def _check_second_matches(self) -> None:
        """Refuses two scores of a pair where nothing says which of them is for a match."""
        if type(self._module).__name__ not in SECOND_MATCHES:
            raise Unsupported(
                f"model {self._name!r} gives two scores for a picture and a text, and nothing says "
                "which of them is for a match; wrap the network in vqa_explain.CustomModel"
            )

    def pairs(self, texts: Rows, pictures: Rows) -> Tensor:
        """(B,) the scores of B pictures with one text each."""
        return self._call(texts, pictures).diagonal()

    def table(self, texts: Rows, pictures: Rows) -> Tensor:
        """(P, T) the scores of every picture with every text, of a network that `crosses`."""
        return self._call(texts, pictures)


class KeptTexts:
    """Scores (B, K) of pictures for the same K texts, whose tower runs once for all pictures.

    The tower is found by trying: the outermost part of the network around the words' embedding
    that runs once, and whose output does for another picture too. It runs again when its weights
    change: changes that PyTorch counts are seen in every call, and those of a tensor's `.data` by
    `follow_weights`.

    Args:
        network: the plain call.
        module: the network.
        words: path of the embedding.
        texts: K rows.
        pictures: one row, for trials.
    """

    def __init__(
        self, network: TowerNetwork, module: nn.Module, words: str, texts: Rows, pictures: Rows
    ) -> None:
        self._network, self._texts = network, texts
        self._tower: nn.Module | None = None
        steps = words.split(".")
        paths = [".".join(steps[:length]) for length in range(1, len(steps))]
        for path in paths:
            if self._serves(module.get_submodule(path), pictures):
                break

    @torch.no_grad()
    def _serves(self, tower: nn.Module, pictures: Rows) -> bool:
        """Whether what this part gave for one picture does for another."""
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def note(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            calls.append((args, dict(named)))

        handle = tower.register_forward_pre_hook(note, with_kwargs=True)
        try:
            self._network.table(self._texts, pictures)
        finally:
            handle.remove()
        if len(calls) != 1:
            return False
        others = {
            name: value.flip(1) if value.is_floating_point() else value
            for name, value in pictures.items()
        }
        expected = self._network.table(self._texts, others)
        self._tower, self._call = tower, calls[0]
        self._read()
        found = self(others)
        allowed = ROUNDING.get(found.dtype, 1e-8) * max(
            1.0, float(in_float64(expected).abs().max())
        )
        if bool((in_float64(found) - in_float64(expected)).abs().max() <= allowed):
            return True
        self._tower = None
        return False

    def _read(self) -> None:
        assert self._tower is not None
        args, named = self._call
        with torch.no_grad():
            self._kept = self._tower(*args, **named)
        self._places, self._contents = places(self._tower), contents(self._tower)

    def follow_weights(self) -> None:
        """Runs the tower again if any number that its output depends on has changed."""
        if self._tower is not None and self._contents != contents(self._tower):
            self._read()

    def __call__(self, pictures: Rows) -> Tensor:
        if self._tower is None:
            return self._network.table(self._texts, pictures)
        if self._places != places(self._tower):
            self._read()
        with method_replaced(self._tower, "forward", self._copied()):
            return self._network.table(self._texts, pictures)

    def _copied(self) -> Callable[..., Any]:
        """A forward that gives what was kept, as a copy: networks put more into an output."""
        kept = self._kept
        if isinstance(kept, Tensor):
            return lambda *_, **__: kept.clone()
        return lambda *_, **__: copy.copy(kept)
