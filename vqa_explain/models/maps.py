"""Layers as maps: which of them class activation maps can read, and how."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from vqa_explain._precision import equal_tensors
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.image import Picture
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.network import open_layers
from vqa_explain.models.places import Grid, States, cells_in_sequence, channel_order, halvings

# Layers that keep channels on the second axis by their definition.
CHANNELS_SECOND = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.InstanceNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
_measured: WeakKeyDictionary[Model, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


def first_tensor(output: Any) -> Any:
    """What a layer gives, or the first of several things."""
    return output[0] if isinstance(output, tuple) and output else output


def _kept(output: Any) -> tuple[Tensor, Any]:
    """The first tensor of an output, as a node of its own in the graph, and what goes on in place
    of the output.

    A layer may hand on a tensor that others use too. Their use is not the layer's, so the gradient
    of this node leaves it out. And what goes on may be changed in place, without a change of what
    is kept.
    """
    kept = first_tensor(output).clone()
    copied = kept.clone()
    return kept, (copied, *output[1:]) if isinstance(output, tuple) else copied


def check_layer(module: nn.Module, path: str) -> None:
    """Checks that a network has a layer that can be looked into.

    Raises:
        InvalidInput: there is no layer of this path; the message names the nearest.
        Unsupported: it is compiled, and takes no hooks.
    """
    names = [name for name, _ in open_layers(module) if name]
    if path not in names:
        if path in dict(module.named_modules()):
            raise Unsupported(
                f"layer {path!r} is compiled by TorchScript, which lets nobody look inside; load "
                "the network that it was compiled from"
            )
        near = get_close_matches(path, names, 1)
        last = f"the last is {names[-1]!r}" if names else "it has none"
        hint = f"did you mean {near[0]!r}?" if near else last
        raise InvalidInput(f"the model has no layer {path!r}; {hint}")


@contextmanager
def captured(module: nn.Module, path: str) -> Iterator[list[Any]]:
    """A list that receives the layer's output (the first, if it gives a tuple) at each forward
    pass.

    The network goes on with a copy, so that an operation in place behind the layer leaves it alone.
    """
    check_layer(module, path)
    caught: list[Any] = []

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not isinstance(first_tensor(output), Tensor):
            caught.append(first_tensor(output))
            return output
        kept, passed_on = _kept(output)
        caught.append(kept)
        return passed_on

    handle = module.get_submodule(path).register_forward_hook(hook)
    try:
        yield caught
    finally:
        handle.remove()


def next_layer_of_shape(model: Model, encoded: Encoded, path: str) -> str:
    """Path of the next layer that makes other states of the same shape from those of `path`; "" if
    none does. It is found once for each size of the pictures.

    The best answer's score depends on its states.
    """
    found: str = _once(model, encoded, ("next", path), lambda: _next_layer(model, encoded, path))
    return found


def _next_layer(model: Model, encoded: Encoded, path: str) -> str:
    states: list[Tensor] = []
    following: list[tuple[str, Any]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            given = first_tensor(output)
            # A layer that holds the other gives the same states once more, or those of its last
            # layer.
            if not isinstance(given, Tensor) or path.startswith(f"{name}."):
                return output
            if name == path:
                kept, passed_on = _kept(output)
                states[:] = [kept]
                return passed_on
            if not states or given.shape != states[0].shape or equal_tensors(given, states[0]):
                return output
            if not _leads_back(given.grad_fn, states[0].grad_fn):
                return output
            kept, passed_on = _kept(output)
            following.append((name, kept.grad_fn))
            return passed_on

        return hook

    with ExitStack() as hooks, torch.enable_grad():
        for name, part in open_layers(model.module):
            if name:
                hooks.callback(part.register_forward_hook(note(name)).remove)
        leaves = {name: x.requires_grad_(True) for name, x in model.leaves(encoded).items()}
        score = model.scores(encoded, leaves).amax()
    return next((name for name, node in following if _leads_back(score.grad_fn, node)), "")


def _leads_back(start: Any, goal: Any) -> bool:
    """Whether a graph leads from one node of the backward pass to another."""
    return goal is not None and any(node is goal for node in _nodes_behind(start, None))


def _nodes_behind(start: Any, closed: Any) -> Iterator[Any]:
    """Every node of the backward pass that is reached from one,
    by ways that avoid the closed one.
    """
    seen, waiting = {closed, None}, [start]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(following for following, _ in node.next_functions)


def layer_states(model: Model, encoded: Encoded, path: str) -> States:
    """What a layer gives for frames (B, C, H', W') in place of the example's."""

    def states(pixels: Tensor) -> Tensor:
        leaves = {
            name: pixels
            if name == encoded.image_name
            else leaf.expand(len(pixels), *leaf.shape[1:])
            for name, leaf in model.leaves(encoded).items()
        }
        with captured(model.module, path) as caught:
            model.scores(encoded, leaves)
        # A network that takes few pictures at once ran several times, perhaps with more rows than
        # were asked for.
        found: Tensor = caught[0] if len(caught[0]) >= len(pixels) else torch.cat(caught)
        return found[: len(pixels)]

    return states


def channels_first(model: Model, encoded: Encoded, path: str, maps: Tensor) -> Tensor:
    """A layer's maps (C, h, w), turned if the layer keeps channels last.

    Raises:
        InvalidInput: no two neighboring axes of them follow the picture.
    """
    order = _order(model, encoded, path, maps)
    if order is None:
        raise InvalidInput(
            f"layer {path!r} gives {tuple(maps.shape)}, and no two axes of it follow the picture; "
            "choose a layer of maps or of patches"
        )
    return maps if order == "first" else maps.movedim(-1, -3)


def _order(model: Model, encoded: Encoded, path: str, maps: Tensor) -> str | None:
    if isinstance(model.module.get_submodule(path), CHANNELS_SECOND):
        return "first"
    shape = tuple(maps.shape[-3:])

    def measure() -> str | None:
        return channel_order(layer_states(model, encoded, path), encoded.pixels, shape)

    result: str | None = _once(model, encoded, ("order", path, *shape), measure)
    return result


def sequence_positions(model: Model, encoded: Encoded, length: int, path: str) -> Positions:
    """Which states of a layer's sequence (B, N, D) are the cells of a grid of patches.

    Raises:
        InvalidInput: none are, as far as changing the frame shows.
    """
    found = _sequence(model, encoded, length, layer_states(model, encoded, path), path)
    if found is None:
        raise InvalidInput(
            f"layer {path!r} gives {length} states, of which none follow a grid of patches of the "
            "picture; choose another"
        )
    return found


def positions_by(
    model: Model, encoded: Encoded, length: int, states: States, what: str
) -> Positions:
    """The same for states that are not one layer's; `what` names them.

    Raises:
        InvalidInput: none are a grid, as far as changing the frame shows.
    """
    found = _sequence(model, encoded, length, states, what)
    if found is None:
        raise InvalidInput(
            f"{what} of model {model.name!r} has {length} states, of which none follow a grid of "
            "patches of the picture; use a method over pixels, such as integrated_gradients"
        )
    return found


def _sequence(
    model: Model, encoded: Encoded, length: int, states: States, path: str
) -> Positions | None:
    def measure() -> tuple[int, Grid] | None:
        return cells_in_sequence(states, encoded.pixels, length, _grids(model, encoded))

    found = _once(model, encoded, ("sequence", path, length), measure)
    if found is None:
        return None
    first, grid = found
    where = torch.arange(first, first + grid[0] * grid[1]).numpy()
    return Positions({encoded.image_name: where}, grid)


def _once(model: Model, encoded: Encoded, key: tuple[Any, ...], measure: Callable[[], Any]) -> Any:
    """What was measured of the network for pictures of these sizes, once."""
    # A user's adapter may have no hash, as dataclasses that compare have none: it is measured each
    # time.
    known = _measured.setdefault(model, {}) if isinstance(model, Hashable) else {}
    pictures = [one.content for one in encoded.inputs if isinstance(one.content, Picture)]
    key = (*key, *(tuple(picture.pixels.shape) for picture in pictures))
    if key in known:
        return known[key]
    found = measure()
    if found is not None:  # another picture may show it
        known[key] = found
    return found


def _grids(model: Model, encoded: Encoded) -> list[Grid]:
    """The sizes of the maps that convolutions give,
    and of those maps merged 2 × 2 again and again.
    """
    found: list[Grid] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            found.extend(halvings((output.shape[2], output.shape[3])))

    with ExitStack() as hooks:
        for _, part in open_layers(model.module):
            if isinstance(part, nn.Conv2d):
                hooks.callback(part.register_forward_hook(note).remove)
        with torch.no_grad():
            model.scores(encoded, model.leaves(encoded))
    return list(dict.fromkeys([*found, *halvings(encoded.grid)]))


def last_map(model: Model, encoded: Encoded) -> str:
    """Path of the last layer with maps, or a block's sequence of patches, that the answer reads all
    over. It is found once for each size of the picture.

    The last block of a vision transformer that reads its answer from one token does not count,
    since no other token of it matters. The block before it does. Nor does a layer inside a block,
    such as an attention's queries, since the block's input reaches the answer past it. It is taken
    only if every other layer is passed by too, as in a network of several branches.

    Raises:
        Unsupported: there is none.
    """
    found: str = _once(model, encoded, ("last",), lambda: _last_map(model, encoded))
    return found


def _last_map(model: Model, encoded: Encoded) -> str:
    found: dict[str, Tensor] = {}
    twice: set[str] = set()  # a layer that runs again, such as a shared activation, has no one map

    def note(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> Any:
            first = first_tensor(output)
            if not isinstance(first, Tensor) or not first.requires_grad:
                return output
            # An identity gives the map of the layer before it, which has the better name.
            if isinstance(module, nn.Dropout | nn.Softmax | nn.Identity):
                return output
            if first.ndim not in (3, 4):
                return output
            if found.pop(name, None) is not None:
                twice.add(name)
            found[name], passed_on = _kept(output)
            return passed_on

        return hook

    with ExitStack() as hooks:
        for name, part in open_layers(model.module):
            if name:
                hooks.callback(part.register_forward_hook(note(name)).remove)
        with torch.enable_grad():
            leaves = {name: x.requires_grad_(True) for name, x in model.leaves(encoded).items()}
            score = model.scores(encoded, leaves).amax()
            layers = list(found.values())
            slopes = torch.autograd.grad(score, layers, allow_unused=True) if layers else ()
    grids = set(_grids(model, encoded))
    branch = ""
    for (name, layer), slope in reversed(list(zip(found.items(), slopes, strict=True))):
        if slope is None or name in twice:
            continue
        passed_by = _passed_by(layer, score, leaves["image"])
        if passed_by and branch:
            continue
        if _readable(model, encoded, name, layer, slope, grids):
            if not passed_by:
                return name
            branch = name
    if branch:
        return branch
    raise Unsupported(
        f"model {model.name!r} has no layer with maps (B, C, h, w), which class activation maps "
        "need; use another method, such as integrated_gradients or occlusion"
    )


def _passed_by(layer: Tensor, score: Tensor, pixels: Tensor) -> bool:
    """Whether the score depends on the pixels by a way that does not lead through the layer."""
    reached = _nodes_behind(score.grad_fn, layer.grad_fn)
    return any(getattr(node, "variable", None) is pixels for node in reached)


def _is_block(module: nn.Module, path: str) -> bool:
    """Whether a layer is one of a list of layers, and has layers itself: no norm,
    and no part of a block.
    """
    home = module.get_submodule(path.rpartition(".")[0])
    listed = type(home) in (nn.Sequential, nn.ModuleList) or path.rpartition(".")[2].isdigit()
    return listed and any(True for _ in module.get_submodule(path).children())


def _readable(
    model: Model, encoded: Encoded, name: str, layer: Tensor, slope: Tensor, grids: set[Grid]
) -> bool:
    """Whether a layer is a map of the picture on more than half of which the score depends."""
    if len(layer) != (getattr(model, "at_once", None) or 1):
        return False
    if layer.ndim == 3:
        if not _is_block(model.module, name):
            return False
        where = _sequence(model, encoded, layer.shape[1], layer_states(model, encoded, name), name)
        if where is None:
            return False
        cells = where.of[encoded.image_name]
        used = slope[0].abs().sum(dim=1)[torch.from_numpy(cells)]
        return len(cells) > 1 and float((used > 0).float().mean()) > 0.5
    shapes = {tuple(layer.shape[2:]), tuple(layer.shape[1:3])}
    if not any(shape in grids and shape != (1, 1) for shape in shapes):
        return False
    order = _order(model, encoded, name, layer[0])
    if order is None:
        return False
    used = slope[0].abs().sum(dim=0 if order == "first" else 2)
    return used.numel() > 1 and float((used > 0).float().mean()) > 0.5
