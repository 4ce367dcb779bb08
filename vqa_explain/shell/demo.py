"""The demonstration: real answers of the shipped models, explained, as files and a page."""

from pathlib import Path

from vqa_explain.datasets.easy_vqa import EasyVQA
from vqa_explain.datasets.scenes import FAMILIES, Scenes
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.games.progress import Progress
from vqa_explain.models.base import answers
from vqa_explain.models.loading import load
from vqa_explain.viewer.export import page

EASY = 3  # questions of easy-VQA, one of each kind


def _chosen() -> list[Example]:
    """The first test scene of each family with at least three objects,
    so that there is something to confuse.
    """
    return [
        next(
            e
            for e in Scenes("test", 1000, families=(family,))
            if e.masks is not None and len(e.masks) >= 3
        )
        for family in FAMILIES
    ]


def run_demo(out: Path, progress: Progress | None = None) -> list[Explanation]:
    """Explains an example of every scenes family, of easy-VQA, and one answer against its
    runner-up.

    Writes `index.html` and one `.vqax` file each into the folder `out`.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"the folder {str(out)!r} cannot be made: {error.strerror}; choose another"
        ) from error
    scenes, easy = load("scenes"), load("easy-vqa")
    asked = _chosen()
    easy_examples = {e.family: e for e in reversed([EasyVQA("test")[i] for i in range(200)])}
    total = len(asked) + 1 + EASY
    explained: list[Explanation] = []

    def add(explanation: Explanation) -> None:
        explained.append(explanation)
        if progress:
            progress(len(explained), total)

    for example in asked:
        add(explain(scenes, example))
    runner_up = answers(scenes, scenes.encode(asked[0]))[1].text
    add(explain(scenes, asked[0], contrast=runner_up))
    for example in list(easy_examples.values())[:EASY]:
        add(explain(easy, example))
    for number, explanation in enumerate(explained):
        explanation.save(out / f"{number:02d}.vqax")
    write_atomically(out / "index.html", page(explained).encode())
    return explained
