"""A convolutional network on a CPU, whose convolutions do what follows them: normalize, add,
activate.

Each of these is a way of a whole layer's output through memory, and memory is what such a network
waits for. oneDNN does them where the convolution writes its output. The network runs as it is, by
its own code: `follow` notes, of one run, which operation's output goes where, and `Followed`
answers the operations of later runs by it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


def available() -> bool:
    """Whether this build of torch has oneDNN's calls."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    )


def hooked(module: nn.Module) -> bool:
    """Whether any layer carries hooks, which are to see what it would give by itself."""
    waiting = [module]
    while waiting:  # `module.modules()`, which makes each one's name, takes five times as long
        layer = waiting.pop()
        if layer._forward_hooks or layer._forward_pre_hooks:
            return True
        waiting += [part for part in layer._modules.values() if part is not None]
    return False


class Strayed(RuntimeError):
    """The network took another path than in the run that was followed."""


@dataclass(frozen=True)
class Activation:
    """An activation by oneDNN's name and numbers."""

    name: str = "none"
    numbers: tuple[float, ...] = ()


def _bounded(
    _x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Activation:
    return Activation("hardtanh", (min_val, max_val))


def _always(name: str, *numbers: float) -> Callable[..., Activation]:
    return lambda *_, **__: Activation(name, numbers)


RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
ACTIVATIONS: dict[Any, Callable[..., Activation]] = {
    **dict.fromkeys(RELUS, _always("relu")),
    F.relu6: _always("hardtanh", 0.0, 6.0),
    F.hardtanh: _bounded,
    F.silu: _always("swish"),
    F.hardswish: _always("hardswish"),
}
SUMS = (torch.add, Tensor.add, Tensor.add_, Tensor.__iadd__)
KNOWN = {F.conv2d, F.batch_norm, F.pad, *ACTIVATIONS, *SUMS}
# What reads a tensor's form and not its values.
FORMS = {"__get__", "dim", "size", "stride", "numel", "is_contiguous", "is_floating_point"}


@dataclass
class _Operation:
    """One call of a function of `KNOWN`: which calls made its tensors,
    and which take its output.
    """

    func: Any
    # Of the tensors only the network's own; what the run made would be kept alive.
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    sources: list[int | None]
    settled: bool  # all tensors but the first are the network's own
    shape: torch.Size
    dtype: torch.dtype
    uses: list[int] = field(default_factory=list)
    foreign: bool = False  # a function that is not known takes the output too


class _Notes(TorchFunctionMode):
    """Notes what a run of a network with these weights does."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.operations: list[_Operation] = []
        self._weights = {id(tensor) for tensor in weights}
        # Tensor → the number of the operation that gave its values.
        self._made = WeakTensorKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        taken = [self._made.get(t) for t in _tensors((args, kwargs))]
        known = func in KNOWN and args and isinstance(args[0], Tensor)
        output = func(*args, **kwargs)
        if known:
            number = len(self.operations)
            own, options = (
                tuple(map(self._own, args)),
                {name: self._own(given) for name, given in kwargs.items()},
            )
            settled = all(id(tensor) in self._weights for tensor in _tensors((args[1:], kwargs)))
            self.operations.append(
                _Operation(func, own, options, taken, settled, output.shape, output.dtype)
            )
            for source in taken:
                if source is not None:
                    self.operations[source].uses.append(number)
            self._made[output] = number
        elif getattr(func, "__name__", "") not in FORMS or isinstance(output, Tensor):
            for source in taken:
                if source is not None:
                    self.operations[source].foreign = True
        return output

    def _own(self, given: Any) -> Any:
        """An argument as it can be kept: None for a tensor that is not the network's own."""
        return None if isinstance(given, Tensor) and id(given) not in self._weights else given


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, Mapping):
        return _tensors(list(values.values()))
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


@dataclass
class _Convolution:
    """activation(convolution(x) + bias [+ another tensor, which is overwritten])."""

    weight: Tensor
    bias: Tensor | None
    geometry: tuple[list[int], list[int], list[int], int]  # padding, stride, dilation, groups
    activation: Activation = Activation()
    other: int | None = None  # the operation whose output is added

    def __call__(self, x: Tensor, other: Tensor | None) -> Tensor:
        library, name, numbers = (
            torch.ops.mkldnn,
            self.activation.name,
            list(self.activation.numbers),
        )
        weight = self.weight
        if not weight.is_mkldnn:  # laid out once as the library wants it
            self.weight = weight = library._reorder_convolution_weight(
                weight, *self.geometry, list(x.shape)
            )
        given = (x, weight, self.bias, *self.geometry)
        if other is None:
            result: Tensor = library._convolution_pointwise(*given, name, numbers, "")
            return result
        act = None if name == "none" else name
        added: Tensor = library._convolution_pointwise_.binary(
            other, *given, "add", 1.0, act, numbers, ""
        )
        return added


@dataclass
class Plan:
    """What the known operations of a run do, by their number."""

    operations: list[_Operation] = field(default_factory=list)
    convolutions: dict[int, _Convolution] = field(default_factory=dict)
    # Operation done before → which argument is its output already.
    done: dict[int, int] = field(default_factory=dict)
    added: set[int] = field(default_factory=set)  # operations whose output a convolution adds


def follow(module: nn.Module, run: Callable[[Tensor], Tensor], pixels: Tensor) -> Plan:
    """Runs once, and says which convolutions can do what follows them; none does if
    `plan.convolutions` is empty.

    Args:
        module: the network, whose parameters and buffers are what a plan may take as given.
        run: calls it.
        pixels: (B, 3, H, W); the plan is for pictures of this size.
    """
    notes = _Notes([*module.parameters(), *module.buffers()])
    with torch.no_grad(), notes:
        run(pixels)
    plan = Plan(notes.operations)
    for number, operation in enumerate(plan.operations):
        if operation.func is not F.conv2d or not operation.settled:
            continue
        if operation.dtype != torch.float32 or len(operation.shape) != 4:
            continue
        if made := _convolution(*operation.args, **operation.options):
            _take_padding(plan, number, made)
            _extend(plan, number, made)
            plan.convolutions[number] = made
    if not plan.done:
        plan.convolutions.clear()
    return plan


def _take_padding(plan: Plan, number: int, made: _Convolution) -> None:
    """Gives a convolution the zeros that were laid round its input alone."""
    operations = plan.operations
    source = operations[number].sources[0]
    if source is None or operations[source].func is not F.pad or operations[source].foreign:
        return
    zeros = _zeros(*operations[source].args, **operations[source].options)
    if zeros is None or operations[source].uses != [number]:
        return
    (left, right), (top, bottom) = zeros
    padding, dilation = made.geometry[0], made.geometry[2]
    if right < left or bottom < top or (dilation != [1, 1] and (left != right or top != bottom)):
        return
    # Zeros are laid on both sides alike; what is too many on the first side is undone by zeros
    # before the kernel.
    made.weight = F.pad(made.weight, (right - left, 0, bottom - top, 0))
    padding[0] += bottom
    padding[1] += right
    plan.done[source] = 0


def _zeros(
    _x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Zeros left and right, above and below, of the arguments of `F.pad`;
    None for another kind of padding.
    """
    if mode != "constant" or value or len(pad) != 4 or min(pad) < 0:
        return None
    return (pad[0], pad[1]), (pad[2], pad[3])


def _extend(plan: Plan, number: int, made: _Convolution) -> None:
    """Gives a convolution what follows it, as far as nothing else takes what is between."""
    operations, last = plan.operations, number

    def follower(*funcs: Any) -> int | None:
        uses = operations[last].uses
        alone = len(uses) == 1 and not operations[last].foreign
        return uses[0] if alone and operations[uses[0]].func in funcs else None

    after = follower(F.batch_norm)
    if (
        after is not None
        and operations[after].settled
        and (scale := _normalization(*operations[after].args, **operations[after].options))
    ):
        made.weight, made.bias = (
            w.detach() for w in fuse_conv_bn_weights(made.weight, made.bias, *scale)
        )
        plan.done[after], last = 0, after
    after = follower(*SUMS)
    if after is not None and (other := _addend(operations, number, last, after)) is not None:
        place = operations[after].sources.index(last)
        made.other, last = other, after
        plan.done[after] = place
        plan.added.add(other)
        after = follower(*RELUS)  # no other can follow a sum
    else:
        after = follower(*ACTIVATIONS)
    if after is not None:
        followed = operations[after]
        made.activation = ACTIVATIONS[followed.func](*followed.args, **followed.options)
        plan.done[after] = 0


def _addend(operations: list[_Operation], number: int, last: int, total: int) -> int | None:
    """The operation whose output is added to that of `last` and can be overwritten at
    convolution `number`.
    """
    found = operations[total]
    if len(found.args) != 2 or found.options or len(found.sources) != 2:
        return None
    other = found.sources[1 - found.sources.index(last)]
    if other is None or other >= number or operations[other].foreign:
        return None
    idle = all(use < number or use == total for use in operations[other].uses)
    return other if idle and operations[other].shape == operations[last].shape else None


def _convolution(
    _x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Convolution | None:
    """The arguments of `F.conv2d`; None for what oneDNN's call does not take."""
    if isinstance(padding, str):
        return None
    padding, stride, dilation = (
        [v, v] if isinstance(v, int) else list(v) for v in (padding, stride, dilation)
    )
    given = None if bias is None else bias.detach()
    return _Convolution(weight.detach(), given, (padding, stride, dilation, groups))


def _normalization(
    _x: Any,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...] | None:
    """The arguments of `F.batch_norm`; None where it looks at the batch."""
    return None if training or mean is None else (mean, variance, eps, weight, bias)


class Followed(TorchFunctionMode):
    """Inside, operations are done as the plan has it. For one run.

    Raises:
        Strayed: the network does something else than when it was followed.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan, self._at, self._kept = plan, 0, dict[int, Tensor]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in KNOWN:
            return func(*args, **kwargs)
        plan, number = self._plan, self._at
        self._at += 1
        if number >= len(plan.operations) or not _as_noted(
            plan.operations[number], func, args, kwargs
        ):
            raise Strayed(f"operation {number} is {func}")
        if number in plan.done:
            output = args[plan.done[number]]
        elif made := plan.convolutions.get(number):
            output = made(args[0], None if made.other is None else self._kept.pop(made.other))
        else:
            output = func(*args, **kwargs)
        if number in plan.added:
            self._kept[number] = output
        return output

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call] # torch's
        if kind is None and self._at < len(self._plan.operations):
            raise Strayed(f"only {self._at} operations of {len(self._plan.operations)}")


def _as_noted(
    noted: _Operation, func: Any, args: tuple[Any, ...], options: Mapping[str, Any]
) -> bool:
    """Whether a call is the same function with the same weights and numbers as when the network
    was followed.
    """
    if func != noted.func or len(args) != len(noted.args) or options.keys() != noted.options.keys():
        return False
    pairs = [
        *zip(args, noted.args, strict=True),
        *((options[name], noted.options[name]) for name in options),
    ]
    return all(
        given is was or (was is None if isinstance(given, Tensor) else given == was)
        for given, was in pairs
    )
