"""The notebooks run, the tables are those of the code,
and the documentation builds without a warning.
"""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chats import with_roles
from PIL import Image

import vqa_explain as vx

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_there_are_six_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_from_a_clean_kernel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the tests share the processor
    book = module(ROOT / "notebooks" / "run.py").executed(path)
    assert all(
        output.output_type != "error" for cell in book.cells for output in cell.get("outputs", [])
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_with_its_outputs_and_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert "**You will learn**" in "".join(cells[0]["source"])
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] == number for number, cell in enumerate(code, 1))
    assert sum(bool(cell["outputs"]) for cell in code) >= len(code) / 2
    assert len(text) < 4_000_000  # photographs in their true colors
    assert str(ROOT) not in text


@pytest.mark.slow
def test_tables_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "docs/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(tmp_path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference.html").read_text(encoding="utf-8")
    assert "Explains one answer of a model" in page
    for target in re.findall(
        r'(?:href|src)="([^"#:]+)["#]', (tmp_path / "index.html").read_text(encoding="utf-8")
    ):
        assert (tmp_path / target.split("?")[0]).exists(), target


def test_the_guide_to_your_own_inputs_says_its_values() -> None:
    text = (ROOT / "docs" / "your_own_inputs.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    said: dict[str, Any] = {}
    exec(block, said)
    assert said["why"].parts[0].values == pytest.approx([2 * (4 - 10 / 3), 0, 3], abs=1e-5)


QWEN = (
    'vx.load("Qwen/Qwen2-VL-2B-Instruct")'  # whose weights are not here: a tiny one stands for it
)


QWEN_OF_WORDS = 'vx.load("Qwen/Qwen2-VL-2B-Instruct", max_new_tokens=100)'
ANSWERED = 'answers=["a red mug"], regions=2, target='


@pytest.mark.slow
def test_the_readmes_chats_run_on_a_tiny_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: Callable[[str], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = (b for b in blocks if QWEN in b)
    (words,) = (b for b in blocks if QWEN_OF_WORDS in b)
    rng = np.random.default_rng(0)
    for name, size in (("old", (40, 56)), ("new", (56, 60)), ("a", (48, 48))):
        picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(picture).save(f"{name}.png")
    frames = rng.integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    qwen = with_roles(vx.load(folders("qwen2_vl"), device="cpu"), "qwen2_vl")
    said = {"vx": vx, "frames": frames, "qwen": qwen}
    quick = block.replace(f"qwen = {QWEN}\n", "").replace("regions=vx.", "budget=200, regions=vx.")
    exec(quick, said)
    assert [part.name for part in said["why"].parts] == ["image 1", "image 2", "question"]
    # What it writes is no sentence.
    sentence = words.replace(QWEN_OF_WORDS, "qwen").replace("target=", ANSWERED)
    exec(sentence.replace('shapley"', "shapley\", budget='4n'"), said)
    assert said["why"].matrix.words == ("a", "red", "mug")
    assert said["said"]


@pytest.mark.slow
def test_the_readmes_python_runs_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the blocks of other models, whose checkpoints are not here; over few questions."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if not any(
            other in block for other in ("dandelin/", "Salesforce/", "impira/", '"openai:', "Qwen/")
        )
    ]
    assert len(blocks) == 9
    said = {"dataset": vx.load_dataset("scenes:test")[:1]}
    for block in blocks:
        exec(
            block.replace('"scenes:test"),', '"scenes:test")[:3],').replace(
                "budget=2000", "budget=300"
            ),
            said,
        )
    assert said["why"].unit == "points"
    assert said["inside"].settled("image") == 3
    assert len(said["said"].outputs) > 3
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / target).exists(), target
    for target in set(
        re.findall(r"`((?:data|docs|tests|benchmarks|notebooks|vqa_explain)/[\w./-]+)`", text)
    ):
        assert (ROOT / target).exists(), target


def test_examples_in_docstrings_say_what_comes_out() -> None:
    import doctest
    import importlib

    package = ROOT / "vqa_explain"
    files = [path for path in package.rglob("*.py") if ">>>" in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    found = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.attempted for result in found) >= 6
    assert [name for name, result in zip(names, found, strict=True) if result.failed] == []
