"""Networks that write, as people hold them: scores are those of a plain call of what is held."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
import transformers as tf
from architectures.base import ARCHITECTURES, plain_steps
from architectures.trying import ANSWERS, PICTURE, encoded_with_answers, network
from torch import nn

import vqa_explain as vx
from vqa_explain.errors import VQAExplainError

# Run as a whole, with pictures that are followed; the last runs its decoder alone.
NAMES = ("florence2", "mllama", "idefics2", "qwen3_vl", "internvl", "qwen2_5_vl")


def with_lora(module: Any, _folder: Path) -> Any:
    """LoRA in every layer of attention, with weights that change the scores."""
    peft = pytest.importorskip("peft")
    layers = {n.split(".")[-1] for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    chosen = sorted(layers & {"q_proj", "v_proj", "qkv"})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        settings = peft.LoraConfig(r=4, target_modules=chosen, init_lora_weights=False)
        return peft.get_peft_model(module, settings).eval()


def compiled(module: Any, _folder: Path) -> Any:
    return torch.compile(module, backend="eager")


def compiled_in_place(module: Any, _folder: Path) -> Any:
    """All layers of attention and the network itself, as `module.compile()` leaves them."""
    for name, part in module.named_modules():
        if name.endswith("attn"):
            part.compile(backend="eager")
    return module


def subclassed(module: Any, _folder: Path) -> Any:
    kind = type(module)
    module.__class__ = type("Own" + kind.__name__, (kind,), {"forward": kind.forward})
    return module


def of_remote_code(module: Any, _folder: Path) -> Any:
    """Under a name of its own, from a module that transformers makes of a repository's code."""
    kind = type(module)
    facts = {"__module__": "transformers_modules.own.modeling_own"}
    module.__class__ = type("OwnModel", (kind,), facts)
    return module


def in_half(module: Any, _folder: Path) -> Any:
    return module.half()


def in_bfloat16(module: Any, _folder: Path) -> Any:
    return module.bfloat16()


def offloaded(module: Any, _folder: Path) -> Any:
    """Weights wait in memory, on the meta device in the network, until their layer runs."""
    accelerate = pytest.importorskip("accelerate")
    return accelerate.cpu_offload(module, execution_device=torch.device("cpu"))


def offloaded_to_disk(module: Any, folder: Path) -> Any:
    accelerate = pytest.importorskip("accelerate")
    return accelerate.disk_offload(module, str(folder), execution_device=torch.device("cpu"))


def quantized(number_type: torch.dtype, **settings: Any) -> Callable[[Any, Path], Any]:
    def hold(module: Any, folder: Path) -> Any:
        pytest.importorskip("bitsandbytes")
        module.save_pretrained(folder)
        asked = tf.BitsAndBytesConfig(**settings)
        return type(module).from_pretrained(
            folder, quantization_config=asked, device_map="cpu", dtype=number_type
        )

    return hold


def emptied(module: Any, _folder: Path) -> Any:
    return module.to("meta")


# Way of holding a network → what makes it, and how far scores may be off: batches of other sizes
# round otherwise.
KINDS: dict[str, tuple[Callable[[Any, Path], Any], float]] = {
    "LoRA": (with_lora, 1e-5),
    "compiled": (compiled, 1e-5),
    "compiled in place": (compiled_in_place, 1e-5),
    "subclass": (subclassed, 1e-5),
    "remote code": (of_remote_code, 1e-5),
    "float16": (in_half, 5e-3),
    "bfloat16": (in_bfloat16, 3e-2),
    "offloaded": (offloaded, 1e-5),
    "offloaded to disk": (offloaded_to_disk, 1e-5),
    "4 bits": (quantized(torch.bfloat16, load_in_4bit=True), 3e-2),
    "8 bits": (quantized(torch.float16, load_in_8bit=True), 3e-2),
    "meta": (emptied, 0.0),
}
REFUSED = {"meta": "on the meta device, which holds no numbers"}
QUANTIZED = ("4 bits", "8 bits")
# A buffer of Mllama's stays on the meta device.
FAIL_THEMSELVES = (("offloaded", "mllama"), ("offloaded to disk", "mllama"))
# Their layers are compiled in place.
TRACED_FOR_LONG = ("florence2", "mllama", "idefics2", "qwen3_vl")
FAST = ("LoRA", "offloaded", "bfloat16")
CASES = [
    pytest.param(
        kind, name, marks=[] if kind in FAST and name == "florence2" else [pytest.mark.slow]
    )
    for kind in KINDS
    for name in NAMES
    if kind != "compiled" or name not in TRACED_FOR_LONG
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_scores_are_those_of_a_plain_call_of_what_is_held(
    kind: str, name: str, tmp_path: Path
) -> None:
    one, (module, processor) = ARCHITECTURES[name], network(name)
    hold, near = KINDS[kind]
    held = hold(copy.deepcopy(module), tmp_path)
    if kind in REFUSED:
        with pytest.raises(VQAExplainError, match=REFUSED[kind]):
            vx.load(held, processor=processor, device="cpu")
        return
    number_type = held.dtype
    inputs = {
        key: value.to(number_type) if value.is_floating_point() else value
        for key, value in one.inputs(processor, PICTURE).items()
        if isinstance(value, torch.Tensor)
    }
    try:
        with torch.no_grad():
            theirs = [float(plain_steps(one, held, processor, inputs, a).sum()) for a in ANSWERS]
    except (AssertionError, RuntimeError) as error:
        if (kind, name) in FAIL_THEMSELVES:
            pytest.skip(f"transformers' own call of it fails: {error}")
        if kind not in QUANTIZED:
            raise
        pytest.skip(f"bitsandbytes fails on layers that are so narrow: {error}")
    try:
        model = vx.load(held, processor=processor, device="cpu")
    except VQAExplainError as error:
        # Activations in 8 bits depend on what else is in the batch.
        if kind in QUANTIZED and "differ" in str(error):
            return
        raise
    encoded = encoded_with_answers(model)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
    np.testing.assert_allclose(ours, theirs, atol=near * np.abs(theirs).max(), rtol=0)
    why = vx.explain(
        model,
        vx.Example(PICTURE, "What color is the circle?"),
        method="leave_one_out",
        regions=2,
        answers=ANSWERS,
        target="yes",
    )
    assert np.isfinite(why.image).all()
    with torch.no_grad():
        again = [float(plain_steps(one, held, processor, inputs, a).sum()) for a in ANSWERS]
    assert again == theirs  # the network is as it was
