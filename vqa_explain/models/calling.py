"""Calls of networks that people bring: what they take, and where in their output the scores are.

A network of one's own may want another number type, one picture at a time, or a batch of a fixed
size; its scores may lie in a tuple or a dict. All of this is measured once, by calling it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain._precision import equal_tensors
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.models.network import open_layers
from vqa_explain.models.recognizing import needed

log = logging.getLogger("vqa_explain")

Call = Callable[[nn.Module, Tensor], Any]
# What a network of one's own may raise where its arguments do not suit it.
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
# Names that mean scores where an output has several tensors; "logits" is sure.
SURE, NAMED = "logits", ("scores", "output", "outputs", "out", "prediction", "predictions", "pred")
# Batch sizes that are tried where one picture alone fails, the usual ones first.
FIXED = (2, 4, 8, 16, 32, 64, 3, 5, 6, 7, 10, 12, 128)
DEPTH = 3  # containers within containers that are looked into

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Found:
    """A tensor within an output, and the keys that lead to it."""

    path: Path
    values: Tensor

    @property
    def shown(self) -> str:
        """The keys and the shape, for people."""
        return f"{_spelled(self.path)} {tuple(self.values.shape)}"


def _spelled(path: Path) -> str:
    return "".join(f"[{key!r}]" for key in path)


def _children(value: Any) -> list[tuple[Any, Any]]:
    """What a container holds, by key; tuples with names are known by their numbers too."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if isinstance(value, Tensor | str | int | float | type(None)):
        return []
    return list(getattr(value, "__dict__", {}).items())


def _child(value: Any, key: Any) -> Any:
    return (
        value[key]
        if isinstance(value, Mapping | list) or isinstance(key, int)
        else getattr(value, key)
    )


def tensors_in(output: Any, path: Path = ()) -> Iterator[Found]:
    """The tensors that an output holds."""
    if isinstance(output, Tensor):
        yield Found(path, output)
    elif len(path) < DEPTH:
        for key, value in _children(output):
            yield from tensors_in(value, (*path, key))


def find_scores(output: Any, rows: int, count: int | None, name: str) -> Path:
    """Where the scores (B, K) are in what a network gives.

    A tensor itself, also one of shape (B,), one number for each picture; else the one named
    "logits"; else the only tensor (B, K) of real numbers, with the right K where that is known; of
    several, the one named like an output.

    Args:
        output: what it gives.
        rows: B.
        count: K, the number of labels, or `None` where that is not known.
        name: the network, for errors.

    Raises:
        InvalidInput: there is no such tensor, or several.
    """
    if isinstance(output, Tensor):
        return ()
    found = list(tensors_in(output))
    sure = [one for one in found if one.path == (SURE,)]
    if sure:
        return sure[0].path
    flat = [one for one in found if _is_flat(one.values, rows, count)]
    suited = flat
    if count is not None:
        suited = [one for one in flat if one.values.numel() == rows * count]
    named = [one for one in suited if one.path and one.path[-1] in (SURE, *NAMED)]
    for choice in (suited, named, flat if count is not None and not suited else []):
        if len(choice) == 1:
            return choice[0].path
    listed = ", ".join(one.shown for one in found[:8]) or type(output).__name__
    several = "several could be its scores" if len(suited) > 1 else "none is (B, K)"
    labels = "" if count is None else f" for {count} labels"
    raise InvalidInput(
        f"model {name!r} gives {listed}, of which {several}{labels}; say which with call=, a "
        "function that calls the network and returns its scores"
    )


def _is_flat(values: Tensor, rows: int, count: int | None) -> bool:
    """Whether it holds real numbers (B, K), or (B,) where there is one label."""
    if not values.is_floating_point():
        return False
    if count == 1 and values.shape == (rows,):
        return True
    return values.ndim == 2 and len(values) == rows


def taken(output: Any, path: Path, name: str) -> Tensor:
    """The tensor to which the keys lead.

    Raises:
        InvalidInput: this output has none there.
    """
    for key in path:
        try:
            output = _child(output, key)
        except (LookupError, AttributeError, TypeError) as error:
            raise InvalidInput(
                f"model {name!r} gave its scores at {_spelled(path)} and gives nothing there now; "
                "return them with call="
            ) from error
    if not isinstance(output, Tensor):
        raise InvalidInput(
            f"model {name!r} gives {type(output).__name__}, not a tensor of scores (B, K); return "
            "them with call="
        )
    return output


def number_types(module: nn.Module) -> tuple[torch.dtype, ...]:
    """The types of real numbers of a network's weights, else of its buffers,
    the first one first.
    """
    weights = [p.dtype for p in module.parameters() if p.is_floating_point()]
    found = weights or [b.dtype for b in module.buffers() if b.is_floating_point()]
    # No network computes in eight bits throughout.
    wide = [dtype for dtype in found if torch.finfo(dtype).bits >= 16]
    return tuple(dict.fromkeys(wide)) or (torch.float32,)


class NetworkCall:
    """A network of one's own, called as it wants to be.

    Args:
        module: the network.
        function: calls it with tensors that have a row for each example, such as pixels (B, C, H,
            W), token numbers (B, T) or the numbers of a table (B, C).
        name: for errors.

    Attributes:
        number_type: that of real numbers, such as pixels.
        at_once: how many rows the network takes: `None` for any number, else exactly these.
    """

    def __init__(self, module: nn.Module, function: Callable[..., Any], name: str) -> None:
        self._module, self._function, self._name = module, function, name
        self.number_type = number_types(module)[0]
        self.at_once: int | None = None
        self._path: Path | None = None
        self._one_number = False  # whether it gives (B,), one number for each picture
        self._changes_input = False  # by operations in place, so that it must get copies

    def __call__(self, *given: Tensor) -> Tensor:
        """Scores (B, K)."""
        if self.at_once is None:
            return self.once(*given)
        parts = [
            self._part(*(one[i : i + self.at_once] for one in given))
            for i in range(0, len(given[0]), self.at_once)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _part(self, *given: Tensor) -> Tensor:
        """At most as many rows as the network takes,
        the last one repeated where there are fewer.
        """
        assert self.at_once is not None
        rows = len(given[0])
        if rows < self.at_once:
            given = tuple(
                torch.cat([one, one[-1:].expand(self.at_once - rows, *one.shape[1:])])
                for one in given
            )
        return self.once(*given)[:rows]

    def once(self, *given: Tensor) -> Tensor:
        """Scores (B, K) of one call of the network, whatever number of rows it takes."""
        own = tuple(one.clone() for one in given) if self._changes_input else given
        return self._scores(self._function(*own), len(given[0]))

    def _scores(self, output: Any, rows: int) -> Tensor:
        """Scores (B, K) in what the network returns for B rows."""
        found = taken(output, self._path or (), self._name)
        if self._one_number and found.numel() == rows:
            return found.reshape(rows, 1)
        return found

    def measure(self, count: int | None, *given: Tensor) -> None:
        """Finds out how the network is called, from what it is given of one example (1, …).

        Args:
            count: the number of labels, or `None`.
            given: the tensors.

        Raises:
            InvalidInput: it cannot be called, or its scores cannot be found.
        """
        errors: list[Exception] = []
        for rows in (1, *FIXED):
            for number_type in number_types(self._module):
                typed = [_of_type(one, number_type) for one in given]
                output = self._tried([one.expand(rows, *one.shape[1:]) for one in typed], errors)
                if output is None:
                    continue
                self._path = find_scores(output, rows, count, self._name)
                shape = taken(output, self._path, self._name).shape
                # A network that squeezes its output gives () for one example.
                self._one_number = count in (None, 1) and tuple(shape) in ((rows,), ())
                scores = self._scores(output, rows)
                self.number_type = number_type
                if scores.ndim == 2 and len(scores) == rows:
                    self._choose_rows(rows, scores, typed)
                if self.at_once not in (None, 1):
                    log.warning(
                        "model %r accepts only batches of %s examples, so explaining it is slower",
                        self._name,
                        self.at_once,
                    )
                return
            if rows == 1:
                self._check_channels(given)
        shapes = " and ".join(str(tuple(one.shape)) for one in given)
        reason = (str(errors[0]).strip().splitlines() or [type(errors[0]).__name__])[0]
        raise InvalidInput(
            f"model {self._name!r} cannot be called with {shapes}: {reason}; give call= if its "
            "arguments differ"
        ) from errors[0]

    def _tried(self, given: list[Tensor], errors: list[Exception]) -> Any:
        """What the network gives, or `None` where it fails."""
        copies = [one.clone() for one in given]
        try:
            with torch.no_grad():
                output = self._function(*copies)
            if output is None:
                raise InvalidInput(
                    f"model {self._name!r} returned nothing; return its scores (B, K) from call="
                )
            self._changes_input |= any(
                not equal_tensors(one, copy) for one, copy in zip(given, copies, strict=True)
            )
            return output
        except VQAExplainError:
            raise
        except FAILURES as error:
            if lacks_memory(error):
                raise
            errors.append(error)
            return None

    def _choose_rows(self, rows: int, scores: Tensor, given: Sequence[Tensor]) -> None:
        """Whether several examples in one call give what each gives by itself."""
        if rows > 1:
            self.at_once = rows
            return
        other = _another(given)
        single = self._tried(other, [])
        both = [torch.cat(pair) for pair in zip(given, other, strict=True)]
        try:
            together = self._tried(both, [])
        except (RuntimeError, MemoryError):  # two do not fit; one is tried again when that matters
            return
        if single is None or together is None or not self._agree(scores, single, together):
            self.at_once = 1
            log.warning(
                "model %r takes one example at a time, so explaining it is slower", self._name
            )

    def _agree(self, first: Tensor, second: Any, together: Any) -> bool:
        try:
            expected = torch.cat([first, self._scores(second, 1)])
            found = self._scores(together, 2)
        except (InvalidInput, RuntimeError):
            return False
        if found.shape != expected.shape:
            return False
        # Rounding differs with the size of the batch.
        near = torch.finfo(expected.dtype).eps ** 0.5 * float(
            expected.abs().nan_to_num(0, 0, 0).max()
        )
        return torch.allclose(found, expected, rtol=0, atol=near, equal_nan=True)

    def _check_channels(self, given: Sequence[Tensor]) -> None:
        """Refuses frames that have not the channels of the convolution that takes them."""
        reached: list[tuple[str, int, int]] = []

        def note(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
            def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
                wanted, got = int(layer.in_channels), inputs[0] if inputs else None  # type: ignore[arg-type]
                if isinstance(got, Tensor) and got.ndim == 4 and got.shape[1] != wanted:
                    reached.append((path, wanted, got.shape[1]))

            return hook

        handles = [
            layer.register_forward_pre_hook(note(path))
            for path, layer in open_layers(self._module)
            if isinstance(layer, nn.Conv2d)
        ]
        try:
            self._tried([_of_type(one, self.number_type) for one in given], [])
        finally:
            for handle in handles:
                handle.remove()
        if reached:
            path, wanted, got = reached[0]
            raise InvalidInput(
                f"the transform of model {self._name!r} gives pictures of {got} channels, and its "
                f"layer {path!r} takes {wanted}; use a transform that gives {wanted}"
            )


def _of_type(given: Tensor, number_type: torch.dtype) -> Tensor:
    """Real numbers in this type; token numbers as they are."""
    return given.to(number_type) if given.is_floating_point() else given


def _another(given: Sequence[Tensor]) -> list[Tensor]:
    """Another example of the same shapes: its real numbers differ, or where it has none,
    the order of its tokens.
    """
    real = any(one.is_floating_point() for one in given)
    return [_changed(one) if one.is_floating_point() or not real else one for one in given]


def _changed(given: Tensor) -> Tensor:
    if not given.is_floating_point():
        return given.flip(-1)
    if given.ndim == 4:
        return given.flip(-1) + given.std(correction=0) * _ripple(given)
    return given + torch.linspace(0.5, 1, given.shape[-1]).to(given)


def _ripple(pixels: Tensor) -> Tensor:
    """(1, 1, H, W) waves between −1 and 1, so that a plain picture becomes another one too."""
    rows = torch.arange(pixels.shape[-2], device=pixels.device, dtype=torch.float32)[:, None]
    columns = torch.arange(pixels.shape[-1], device=pixels.device, dtype=torch.float32)
    return torch.sin(0.7 * rows + 1.3 * columns)[None, None].to(pixels)


def has_gradients(module: nn.Module, scores: Callable[..., Tensor], leaves: list[Tensor]) -> bool:
    """Whether the scores can be differentiated in every leaf that they depend on.

    A leaf that the scores change with must have a gradient that is not zero everywhere, at the
    example or at another one. Quantized layers, steps and tables give none, or one that is zero.

    Args:
        module: the network.
        scores: leaves → (B, K).
        leaves: those of one example, (1, …) each.
    """
    if quantized_layer(module) is not None:
        return False
    points = [leaves, [_elsewhere(leaf) for leaf in leaves]]
    with torch.no_grad():
        whole = scores(*points[0])
    for number in range(len(leaves)):
        moved = [points[int(i == number)][i] for i in range(len(leaves))]
        with torch.no_grad():
            same = torch.equal(scores(*moved), whole)
        if not same and not any(_has_slope(scores, at, number) for at in (leaves, moved)):
            return False
    return True


def _elsewhere(leaf: Tensor) -> Tensor:
    """Another value of a leaf, of like size."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(leaf.shape, generator=generator).to(leaf)
    return leaf + (leaf.std(correction=0) + 0.1) * noise


def _has_slope(scores: Callable[..., Tensor], at: list[Tensor], number: int) -> bool:
    """Whether some score has a gradient in a leaf that is not zero everywhere."""
    given = [leaf.detach().clone() for leaf in at]
    with torch.enable_grad():
        leaf = given[number].requires_grad_(True)
        try:
            values = scores(*given)
            if not values.requires_grad:
                return False
            # Weights that differ, since probabilities sum to a constant.
            weights = torch.linspace(1, 2, values.shape[1], device=values.device).to(values)
            (slope,) = torch.autograd.grad((values * weights).sum(), leaf, allow_unused=True)
        except RuntimeError as error:
            return lacks_memory(error)  # then nothing is known; methods make batches that fit
    return slope is not None and bool((slope != 0).any())


def quantized_layer(module: nn.Module) -> str | None:
    """The path of a layer of torch.ao's quantized kinds, which have no derivative;
    `None` if there is none.
    """
    homes = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
    return next(
        (path for path, part in module.named_modules() if type(part).__module__.startswith(homes)),
        None,
    )


def without_gradients(capabilities: frozenset[str]) -> frozenset[str]:
    """What is left of a model's capabilities where its scores cannot be differentiated.

    What attention says of an answer is read by gradients too, or by the same graph.
    """
    return capabilities - {"gradients", "attention", "flow"}


def check_arguments(module: nn.Module, given: tuple[str, ...], name: str, call: Any) -> None:
    """Refuses a network that must be given more than it will be, unless the user says how it is
    called.

    Args:
        module: the network.
        given: what it will be given, for people.
        name: for errors.
        call: the user's function, or `None`.
    """
    more = needed(module)[len(given) :]
    if call is not None or not more:
        return
    plural = "arguments" if len(more) > 1 else "argument"
    raise InvalidInput(
        f"{name} needs the {plural} {', '.join(map(repr, more))} besides {' and '.join(given)}; "
        "give call=, a function that calls it with them and returns its scores"
    )
