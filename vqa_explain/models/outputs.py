"""What a network's outputs are: logits of answers that exclude each other, of each by itself,
or real numbers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.target import FIT, REAL

# What users call them, and what `models.base.KINDS` does.
OUTPUTS = {"softmax": "logits", "sigmoid": FIT, "real": REAL}
# What transformers' configurations call them.
PROBLEM_TYPES = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "real",
}
# The last step of a network, by autograd's name for it, that has turned logits into probabilities
# already.
TURNS = {
    "SoftmaxBackward": "softmax",
    "SigmoidBackward": "sigmoid",
    "LogSigmoidBackward": "log-sigmoid",
}
TURNS["LogSoftmaxBackward"] = "log-softmax"
# Steps that move values and do not change them.
MOVES = (
    *(
        "View",
        "Unsafe",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Permute",
        "TBackward",
        "Clone",
        "Alias",
    ),
    *(
        "ToCopy",
        "Slice",
        "Select",
        "Index",
        "Stack",
        "Cat",
        "Expand",
        "Flip",
        "Split",
        "Unbind",
        "Contiguous",
    ),
)


def kind_of_outputs(outputs: str | None, config: Any, count: int | None, name: str) -> str:
    """The kind of a model's scores, one of `models.base.KINDS`.

    Args:
        outputs: "softmax", "sigmoid" or "real", as the user said; `None` takes what the
            configuration says.
        config: a transformers configuration, whose `problem_type` may say it, or `None`.
        count: how many outputs there are; `None` where that is not known yet.
        name: the model's.

    Raises:
        InvalidInput: `outputs` is none of these, or there is one output, of which a softmax is
            always 1.
    """
    if outputs is None:
        outputs = PROBLEM_TYPES.get(getattr(config, "problem_type", None) or "", "softmax")
    if not is_one_of(outputs, OUTPUTS):
        raise unknown("value of outputs:", outputs, OUTPUTS)
    kind = OUTPUTS[outputs]
    if count is not None:
        check_count(count, kind, name)
    return kind


def check_count(count: int, kind: str, name: str) -> None:
    """Refuses a softmax over a single output, which is always 1."""
    if count == 1 and kind == OUTPUTS["softmax"]:
        raise InvalidInput(
            f"model {name!r} has one output, or one label was given: say what it is with "
            'outputs="sigmoid" (the logit of yes or no) or outputs="real" (a number, as in '
            "regression), or give a label for each output"
        )


def in_graph(call: Callable[[Tensor], Any], pixels: Tensor) -> Any:
    """What `call` gives for pixels, in the graph of its forward pass where the network and
    memory allow one.
    """
    try:
        with torch.enable_grad():
            # No leaf, which may not be changed in place.
            return call(pixels.clone().requires_grad_(True).clone())
    except RuntimeError:
        with torch.no_grad():
            return call(pixels.clone())


def check_raw(scores: Tensor, kind: str, name: str) -> None:
    """Refuses scores (1, K) that are probabilities already, of which probabilities would be taken
    once more.

    Args:
        scores: in the graph of a forward pass, if the network has one.
        kind: what they are said to be.
        name: the model's.
    """
    if kind == REAL:
        return
    step = _last_step(scores)
    if step == "log-softmax" and kind == OUTPUTS["softmax"]:
        return  # a softmax of log-probabilities gives the probabilities
    seen = f"ends in a {step}" if step else "gives positive numbers that sum to 1"
    if step or _sums_to_one(scores):
        raise InvalidInput(
            f"model {name!r} {seen}, so its outputs are probabilities already: give the network "
            'without its last step, or outputs="real" to explain its numbers as they are'
        )


def _last_step(scores: Tensor) -> str | None:
    """The softmax or sigmoid that the scores come from, seen in the graph."""
    node: Any = scores.grad_fn
    while node is not None and type(node).__name__.startswith(MOVES):
        node = node.next_functions[0][0]
    kind = type(node).__name__
    return next((step for start, step in TURNS.items() if kind.startswith(start)), None)


def _sums_to_one(scores: Tensor) -> bool:
    """Whether they are several, and as positive and as close to a sum of 1 as a softmax is in
    their number type.
    """
    # Where a softmax gives 0 for what is merely unlikely.
    half = torch.finfo(scores.dtype).bits == 16
    lowest = float(scores.detach().min())
    if scores.shape[1] < 2 or lowest < 0 or (lowest == 0 and not half):
        return False
    spread = 4 * torch.finfo(scores.dtype).eps * scores.shape[1] ** 0.5
    result: bool = abs(float(in_float64(scores.detach()).sum()) - 1) < spread
    return result
