"""Networks as their authors wrote them, taken out of what training and speed wrap around them."""

import copy
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput

log = logging.getLogger("vqa_explain")

# Wrappers that only pass calls on, by the module that defines them, and where they keep the
# network.
# They are looked up only where that module is loaded already: an object of theirs cannot exist
# else.
PASS_ON = (
    ("torch.nn.parallel.data_parallel", "DataParallel", "module"),
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
    ("torch.optim.swa_utils", "AveragedModel", "module"),
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
)
SHARDED = (
    ("torch.distributed.fsdp", "FullyShardedDataParallel"),
    ("torch.distributed.fsdp", "FSDPModule"),
)
PEFT = (("peft", "PeftModel"), ("peft", "PeftMixedModel"))
# PEFT kinds that also run code outside the injected layers.
WITH_CODE = ("XLORA", "POLY")


def _is(module: nn.Module, home: str, name: str) -> bool:
    kind = getattr(sys.modules.get(home), name, None)
    return kind is not None and isinstance(module, kind)


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside `torch.compile`, `DataParallel`, PEFT and their like, with the same
    weights.

    Adapters of PEFT stay active: their layers lie inside the network.

    Raises:
        InvalidInput: the network without its wrapper would give other scores.
    """
    while True:
        inner = _inner(module)
        if inner is None:
            return module
        module = inner


def _inner(module: nn.Module) -> nn.Module | None:
    """What one wrapper holds; `None` for a network that is none."""
    if any(_is(module, home, name) for home, name in SHARDED):
        raise InvalidInput(
            f"the weights of this {type(module).__name__} are spread over processes; gather them "
            "and give the network itself"
        )
    if any(_is(module, home, name) for home, name in PEFT):
        return _without_peft(module)
    for home, name, place in PASS_ON:
        if _is(module, home, name):
            inner: nn.Module = getattr(module, place)
            return inner
    return None


def _without_peft(module: Any) -> nn.Module:
    kinds = {
        str(getattr(c.peft_type, "value", c.peft_type)): c for c in module.peft_config.values()
    }
    learned = next(
        (kind for kind, config in kinds.items() if getattr(config, "is_prompt_learning", False)),
        None,
    )
    coded = next((kind for kind in kinds if kind in WITH_CODE), None)
    waiting = next(
        (k for k, c in kinds.items() if getattr(c, "alora_invocation_tokens", None)), None
    )
    found = learned or coded or waiting
    if found is not None:
        raise InvalidInput(
            f"the {found} adapter of this {type(module).__name__} acts outside the network's "
            "layers, which no adapter here follows; merge it with merge_and_unload(), or use one "
            "that changes layers, such as LoRA"
        )
    inner: nn.Module = module.get_base_model()
    return inner


@contextmanager
def uncompiled(network: nn.Module) -> Iterator[None]:
    """Inside, layers that `torch.compile` compiled in place run as they are written.

    Compiled code does not look whether hooks were put on its layers since, so that it would ignore
    them. The network gets its compiled code back afterwards.
    """
    changed: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for part in all_parts(network):
            own = part.__dict__
            for name, plain in _compiled(part, own):
                changed.append((own, name, own[name]))
                own[name] = plain
        yield
    finally:
        for own, name, before in reversed(changed):
            own[name] = before


def all_parts(network: nn.Module) -> list[nn.Module]:
    """All modules of a network, once each."""
    found, waiting = dict[int, nn.Module](), [network]
    while waiting:  # `network.modules()`, which makes each one's name, takes five times as long
        part = waiting.pop()
        if id(part) not in found:
            found[id(part)] = part
            waiting += [inner for inner in part._modules.values() if inner is not None]
    return list(found.values())


def _compiled(part: nn.Module, own: dict[str, Any]) -> list[tuple[str, Any]]:
    """The attributes of a module that hold compiled code, and what they would be without."""
    found = []
    if own.get("_compiled_call_impl") is not None:
        found.append(("_compiled_call_impl", None))
    forward = own.get("forward")
    if forward is None:
        return found
    if _is(part, "torch._dynamo.eval_frame", "OptimizedModule"):
        # The module within keeps its own hooks, so it is called and not its forward.
        return [*found, ("forward", part._modules["_orig_mod"])]
    plain = getattr(forward, "_torchdynamo_orig_callable", None)
    if plain is not None:
        found.append(("forward", plain))
    return found


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Inside, the caller's `torch.inference_mode` is off:
    nothing that is made under it can be differentiated.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    # Leaving the mode alone would turn gradients on.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        yield


def placed(module: Any, device: torch.device, name: str) -> Any:
    """The network on a device, such that gradients flow through it.

    One that accelerate or a quantizer has put in place stays there.

    Raises:
        InvalidInput: its weights are on the meta device, which holds none, or cannot be moved.
    """
    if is_dispatched(module):
        return module
    tensors = list(chain(module.parameters(), module.buffers()))
    if any(tensor.device.type == "meta" for tensor in tensors):
        raise InvalidInput(
            f"the weights of {name} are on the meta device, which holds no numbers; load them "
            "first, for example with load_state_dict(…, assign=True)"
        )
    if not all(tensor.device == device for tensor in tensors):
        module = _moved(module, device, name)
    return _with_gradients(module, name)


def _moved(module: nn.Module, device: torch.device, name: str) -> nn.Module:
    try:
        return module.to(device)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        if lacks_memory(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise InvalidInput(
            f"{name} cannot be moved to {device}: {reason}; give another device="
        ) from error


def _with_gradients(module: nn.Module, name: str) -> nn.Module:
    """The network, or a copy if its weights were made under `torch.inference_mode`.

    Nothing can be differentiated through such weights, nor can they be trained: a copy loses
    nothing.
    """
    if not any(tensor.is_inference() for tensor in chain(module.parameters(), module.buffers())):
        return module
    log.warning(
        "the weights of %s were made under torch.inference_mode; a copy of them is explained", name
    )
    with torch.inference_mode(False):
        return copy.deepcopy(module)


def is_dispatched(module: nn.Module) -> bool:
    """Whether accelerate moves its layers' weights to where they compute,
    or they must not be moved.
    """
    if getattr(module, "hf_device_map", None) or getattr(module, "hf_quantizer", None) is not None:
        return True
    return any("_hf_hook" in part.__dict__ for part in all_parts(module))


def home_of(module: nn.Module, device: torch.device) -> torch.device:
    """Where a network that is dispatched takes its input; for others the `device` asked for."""
    if not is_dispatched(module):
        return device
    for part in all_parts(module):
        where = getattr(part.__dict__.get("_hf_hook"), "execution_device", None)
        if where is not None:
            return torch.device(where)
    return next(
        (tensor.device for tensor in module.parameters() if tensor.device.type != "meta"), device
    )
