"""The network itself: its device, its layers, how wide they are,
and freezing its weights for a while.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain._shown import shown
from vqa_explain.errors import InvalidInput


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, else the first of cuda, mps and cpu that is there.

    Raises:
        InvalidInput: torch knows no such device.
    """
    if device is not None:
        try:
            return torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise InvalidInput(
                f"device is one that torch knows, such as 'cpu' or 'cuda:0', not {shown(device)}"
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass
class Footprint:
    """Bytes of the outputs of a network's layers in one forward pass: of the widest,
    and of all together.
    """

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
def method_replaced(owner: object, name: str, instead: Callable[..., Any]) -> Iterator[None]:
    """Inside, `owner` has another method of this name; afterwards it is as it was,
    whatever happens.
    """
    own = vars(owner)
    had, before = name in own, own.get(name)
    setattr(owner, name, instead)
    try:
        yield
    finally:
        # A method of the class comes back when the owner's own is gone.
        delattr(owner, name)
        if had:
            setattr(owner, name, before)


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


def token_limit(module: Any, tokenizer: Any) -> int | None:
    """How many tokens the network takes; `None` where nothing says it.

    RoBERTa and its kin count places from behind their padding, so that a table of 514 takes 512
    tokens.
    """
    known = getattr(module.config, "max_position_embeddings", None)
    limits = [int(tokenizer.model_max_length), *([] if known is None else [int(known)])]
    for path, part in module.named_modules():
        if path.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            before = 0 if part.padding_idx is None else part.padding_idx + 1
            limits.append(part.num_embeddings - before)
    least = min(limits)
    return None if least > 10**9 else least  # transformers has 10^30 where it is not known
