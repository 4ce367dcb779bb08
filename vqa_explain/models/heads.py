"""The attention heads of a network's blocks, and where they can be seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.maps import first_tensor

# What libraries call the number of heads, the layer that makes queries, and the one that joins what
# the heads give.
COUNTS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "num_attn_heads")
QUERIES = ("query", "q_proj", "q_lin", "qkv", "q", "query_key_value", "c_attn", "qkv_proj", "Wqkv")
JOINS = ("o_proj", "out_proj", "out_lin", "proj", "c_proj", "dense", "o", "projection", "Wo")


@dataclass(frozen=True)
class Place:
    """Where states can be seen and changed: what a layer gives, or what it is given.

    Attributes:
        path: of the layer.
        given: whether its input is meant.
    """

    path: str
    given: bool = False


@contextmanager
def changed(module: nn.Module, place: Place, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the network goes on with `change` of the states at a place."""

    def before(_layer: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return (change(inputs[0]), *inputs[1:])

    def behind(_layer: nn.Module, _inputs: Any, output: Any) -> Any:
        found = change(first_tensor(output))
        return (found, *output[1:]) if isinstance(output, tuple) else found

    layer = module.get_submodule(place.path)
    handle = (
        layer.register_forward_pre_hook(before)
        if place.given
        else layer.register_forward_hook(behind)
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def seen(module: nn.Module, place: Place) -> Iterator[list[Any]]:
    """Inside, a list that receives the states at a place at each run of the layer."""
    found: list[Any] = []

    def keep(states: Tensor) -> Tensor:
        found.append(states)
        return states

    with changed(module, place, keep):
        yield found


@dataclass(frozen=True)
class HeadsOf:
    """Where the heads of one block can be seen: side by side in the last axis of states.

    Attributes:
        place: where these states are.
        count: how many heads there are.
    """

    place: Place
    count: int

    def part(self, head: int, states: Tensor) -> slice:
        """Where the last axis of the states holds a head."""
        wide = states.shape[-1] // self.count
        return slice(head * wide, (head + 1) * wide)


def heads_of_block(module: nn.Module, path: str) -> HeadsOf:
    """The attention heads of a block.

    Raises:
        Unsupported: it has none that can be told apart, or several attentions.
    """
    found = []
    for name, part in module.get_submodule(path).named_modules(prefix=path):
        children = dict(part.named_children())
        count = _count(part)
        if count is None or not any(query in children for query in QUERIES):
            continue
        # Of any class: that of GPT-2 is a convolution, and that of a quantized network its own.
        join = next((one for one in JOINS if one in children), None)
        place = Place(name) if join is None else Place(f"{name}.{join}", given=True)
        found.append(HeadsOf(place, count))
    if len(found) != 1:
        told = "no attention whose heads can be told apart" if not found else "several attentions"
        raise Unsupported(
            f"block {path!r} has {told}; vx.layer_values and vx.layers read whole blocks"
        )
    return found[0]


def _count(part: nn.Module) -> int | None:
    """How many heads an attention has; `None` where nothing says it."""
    if isinstance(part, nn.MultiheadAttention):  # its projection is computed without being called
        return None
    for home in (part, getattr(part, "config", None)):
        for name in COUNTS:
            value = getattr(home, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None
