"""Which adapter serves which architecture: the one table of families."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from typing import Any

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.models.base import Model
from vqa_explain.models.calling import FAILURES, Call


@dataclass(frozen=True)
class Options:
    """What the user said of a model besides the model: see `load`."""

    name: str
    device: Any
    processor: Any = None
    transform: Any = None
    labels: Any = None
    boxes: Any = None
    outputs: str | None = None
    call: Call | None = None
    allow_missing: bool | tuple[str, ...] = ()
    generation: dict[str, Any] = field(default_factory=dict)
    check: bool = True


Adapter = Callable[..., Model]  # the adapter's class
Maker = Callable[
    [Any, Any, Any, Options], Model
]  # of the adapter's class, a module and its processor


@dataclass(frozen=True)
class Family:
    """Models that one adapter serves.

    Attributes:
        about: what they are, for people.
        architectures: transformers' classes, by name or by the name's end after "*"; () if it
            serves no checkpoints.
        home: the adapter's class, as module:name within `models`.
        make: makes the model of that class, a module, its processor and the options.
        auto: the class in transformers whose `from_pretrained` gives the module; `None` for the
            architecture itself.
        processor: the class that gives the processor, likewise; `None` for none.
        has_tokenizer: whether that processor is one of pictures and texts, with a tokenizer.
        refuses: methods that its networks cannot carry whatever the adapter can do, and `note`, for
            people, what holds for some of them only.
    """

    about: str
    architectures: tuple[str, ...]
    home: str
    make: Maker
    auto: str | None = None
    processor: str | None = "AutoProcessor"
    has_tokenizer: bool = False
    refuses: tuple[str, ...] = ()
    note: str = ""

    @property
    def module(self) -> str:
        """The full name of the adapter's module."""
        return f"vqa_explain.models.{self.home.partition(':')[0]}"

    @property
    def adapter(self) -> Any:
        """The adapter's class, imported when it is first needed."""
        return getattr(import_module(self.module), self.home.partition(":")[2])

    @property
    def capabilities(self) -> frozenset[str]:
        """What the adapter can do: see `models.base.Model`."""
        return frozenset(self.adapter.capabilities)

    def wrap(self, module: Any, processor: Any, options: Options) -> Model:
        """The model of a module.

        Raises:
            InvalidInput: this is no processor of such a model.
        """
        self._check_processor(processor, options.name)
        try:
            return self.make(self.adapter, module, processor, options)
        except FAILURES as error:
            # A processor of another model may fail anywhere.
            if isinstance(error, VQAExplainError) or lacks_memory(error):
                raise
            raise InvalidInput(
                f"model {options.name!r} cannot be set up with {type(processor).__name__}: "
                f"{type(error).__name__} {str(error)[:200]}; give the processor that it was "
                "trained with"
            ) from error

    def _check_processor(self, processor: Any, name: str) -> None:
        if isinstance(processor, str | PathLike):
            raise InvalidInput(
                f"the processor of {name} is an object, not the text {str(processor)!r}; give "
                f"transformers.{self.processor}.from_pretrained({str(processor)!r})"
            )
        if self.has_tokenizer and not hasattr(processor, "tokenizer"):
            raise InvalidInput(
                f"the processor of model {name!r}, a {type(processor).__name__}, does not read "
                f"both pictures and texts; give what transformers' {self.processor} reads for it"
            )

    def serves(self, architecture: str) -> bool:
        """Whether this is one of its classes."""
        return any(
            architecture == a or (a[0] == "*" and architecture.endswith(a[1:]))
            for a in self.architectures
        )


def refuse_outputs(options: Options) -> None:
    """Refuses `outputs=` of a model that knows what its scores are."""
    if options.outputs is not None:
        raise InvalidInput(
            f"model {options.name!r} says itself what its scores are; leave "
            f"outputs={options.outputs!r} out"
        )


def _vilt(adapter: Adapter, module: Any, processor: Any, options: Options) -> Model:
    return adapter(module, processor, options.name, options.device, options.outputs)


def _writing(adapter: Adapter, module: Any, processor: Any, options: Options) -> Model:
    refuse_outputs(options)
    return adapter(module, processor, options.name, options.device, **options.generation)


def _document(adapter: Adapter, module: Any, processor: Any, options: Options) -> Model:
    refuse_outputs(options)
    return adapter(module, processor, options.name, options.device)


def _of_boxes(adapter: Adapter, module: Any, tokenizer: Any, options: Options) -> Model:
    name, device, outputs = options.name, options.device, options.outputs
    return adapter(module, tokenizer, options.boxes, options.labels, name, device, outputs)


def _text_classifier(adapter: Adapter, module: Any, tokenizer: Any, options: Options) -> Model:
    return adapter(module, tokenizer, options.labels, options.name, options.device, options.outputs)


def _towers(adapter: Adapter, module: Any, processor: Any, options: Options) -> Model:
    if options.labels is None:
        refuse_outputs(options)
    name, device = options.name, options.device
    return adapter(module, processor, name, device, options.labels, options.outputs)


def _classifier(adapter: Adapter, module: Any, processor: Any, options: Options) -> Model:
    transform = options.transform if options.transform is not None else processor
    return adapter(
        module,
        transform,
        options.labels,
        options.name,
        options.device,
        options.outputs,
        options.call,
    )


# No transformer here has ReLUs, and attention multiplies activations, which the rescale rule does
# not know.
TRANSFORMERS = (
    "guided_backprop",
    "deconvolution",
    "guided_grad_cam",
    "deep_lift",
    "deep_lift_shap",
    "layer_deep_lift",
    "layer_deep_lift_shap",
    "lrp",
    "layer_lrp",
)


# Methods that read a map of a layer.
MAPS = (
    *("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam", "eigen_cam"),
    *("eigen_grad_cam", "ablation_cam", "score_cam"),
    *("layer_activation", "layer_gradient_x_activation", "layer_conductance"),
    *("internal_influence", "layer_integrated_gradients", "layer_ablation", "neuron_conductance"),
    "layer_gradient_shap",
)


PERCEIVERS = tuple(
    f"PerceiverForImageClassification{kind}" for kind in ("Learned", "Fourier", "ConvProcessing")
)

# transformers' zero-shot classifiers of pictures, models that say whether a text matches a picture,
# and those that the adapter refuses in its own words: of videos, and without a score.
TOWERS = (
    *("AlignModel", "AltCLIPModel", "BlipModel", "CLIPModel", "CLIPSegModel", "ChineseCLIPModel"),
    *("GroupViTModel", "MetaClip2Model", "Siglip2Model", "SiglipModel", "Tipsv2Model"),
    "*ForImageTextRetrieval",
    "*ForImageAndTextRetrieval",
    *("FlavaForPreTraining", "FlavaModel", "VideoPrismClipModel", "XCLIPModel"),
)


# Models that write, with a picture before them, under names that do not say so.
WRITERS = (
    "FuyuForCausalLM",
    "GitForCausalLM",
    "IdeficsForVisionText2Text",
    "Mistral4ForCausalLM",
    "NemotronH_Omni_Reasoning_V3",
    "Phi4MultimodalForCausalLM",
    "VisionEncoderDecoderModel",
)


FAMILIES = {
    "vilt": Family(
        "ViLT: answers from a closed set",
        ("ViltForQuestionAnswering",),
        "vilt:ViltModel",
        _vilt,
        has_tokenizer=True,
        refuses=TRANSFORMERS,
    ),
    "blip": Family(
        "BLIP: writes its answer",
        ("BlipForQuestionAnswering",),
        "blip:BlipModel",
        _writing,
        has_tokenizer=True,
        refuses=TRANSFORMERS,
    ),
    "lxmert": Family(
        "LXMERT: regions are the boxes of a detector that you give",
        ("LxmertForQuestionAnswering",),
        "lxmert:LxmertModel",
        _of_boxes,
        processor="AutoTokenizer",
        refuses=TRANSFORMERS,
    ),
    "visual bert": Family(
        "VisualBERT: regions are the boxes of a detector that you give",
        ("VisualBertForQuestionAnswering",),
        "visual_bert:VisualBertModel",
        _of_boxes,
        processor="AutoTokenizer",
        refuses=TRANSFORMERS,
    ),
    "document": Family(
        "LayoutLM and its like: answers are spans of a page whose words and boxes you give",
        ("*ForQuestionAnswering",),
        "documents:DocumentModel",
        _document,
        refuses=(*TRANSFORMERS, *MAPS),
        note="pixels and regions where the network sees the picture of the page, as LayoutLMv3 "
        "does",
    ),
    "page writer": Family(
        "UDOP: writes its answer about a page whose words and boxes you give",
        ("UdopForConditionalGeneration",),
        "page_writer:PageWriter",
        _writing,
        refuses=(*TRANSFORMERS, *MAPS),
        note="pixels and regions of the picture of the page",
    ),
    "clip": Family(
        "CLIP, SigLIP and models like them, of a tower for pictures and one for texts: does this "
        "text fit, or zero-shot classification with labels=",
        TOWERS,
        "towers.adapter:TowerModel",
        _towers,
        has_tokenizer=True,
        refuses=TRANSFORMERS,
        note="with labels= it is a classifier; GroupViT has no methods of gradients, FLAVA no maps",
    ),
    "generative": Family(
        "LLaVA, Qwen-VL, InternVL, Gemma 3 and 4, Llama 3.2 Vision, Idefics, SmolVLM, BLIP-2, "
        "Florence-2 and their like: write their answer",
        ("*ForConditionalGeneration", *WRITERS),
        "generative.adapter:GenerativeModel",
        _writing,
        has_tokenizer=True,
        auto="AutoModelForImageTextToText",
        refuses=TRANSFORMERS,
        note="those that cut pictures into tiles (LLaVA-OneVision, Idefics3, SmolVLM) refuse drop, "
        "attention and maps; where only some layers of the decoder attend (Qwen3.5), "
        "attention, rollout and relevance read and name those",
    ),
    "classifier": Family(
        "image classifiers of torchvision, timm and transformers, or any nn.Module",
        ("*ForImageClassification", "*ForImageClassificationWithTeacher", *PERCEIVERS),
        "classifier:ClassifierModel",
        _classifier,
        refuses=("interactions",),
        note="ViT and DeiT also have attention; guided rules need ReLUs, deep_lift a network "
        "without attention",
        auto="AutoModelForImageClassification",
        processor="AutoImageProcessor",
    ),
    "text classifier": Family(
        "text classifiers of transformers: BERT, RoBERTa, DistilBERT, DeBERTa, GPT-2 and their "
        "like",
        ("*ForSequenceClassification",),
        "text_classifier:TextClassifierModel",
        _text_classifier,
        auto="AutoModelForSequenceClassification",
        processor="AutoTokenizer",
        refuses=(*TRANSFORMERS, "interactions"),
        note="attention, rollout and relevance read networks of one stream that answer from one "
        "token, as BERT does",
    ),
    "custom": Family(
        "your own network over pictures, texts and tables: vqa_explain.CustomModel",
        (),
        "custom:CustomModel",
        lambda adapter, module, *_: module,
        note="guided rules need ReLUs, deep_lift a network without attention, and methods over "
        "pixels a picture",
    ),
    "api": Family(
        "a model that you can only ask: vqa_explain.ApiModel, or a chat-completion endpoint by "
        "load('openai:MODEL', answers=[…])",
        (),
        "api.adapter:ApiModel",
        lambda adapter, module, *_: module,
        note="every coalition is a request; coalitions that look alike are asked once",
    ),
}
