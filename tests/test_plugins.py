"""What users register themselves works by name in this process, in workers, and in the shell."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import vqa_explain as vx
from vqa_explain.methods.base import METHODS
from vqa_explain.metrics.base import METRICS
from vqa_explain.models import loading
from vqa_explain.models.vilt import ViltModel

OWN = Path(__file__).with_name("own.py")


@pytest.fixture
def own() -> Iterator[Any]:
    with patch.dict(METHODS), patch.dict(METRICS), patch.dict(loading._own):
        yield vx.use(OWN)


@pytest.mark.slow
def test_a_run_by_names_in_worker_processes_equals_plain_calls(own: Any, tmp_path: Path) -> None:
    model, data = vx.load("blind", device="cpu"), list(vx.load_dataset("scenes:test"))[:4]
    run: dict[str, Any] = {
        "methods": ["contrasted_saliency:least=1"],
        "metrics": ["top_share"],
        "shard": 1,
    }
    frame = vx.evaluate(model, data, out=tmp_path / "run", workers=2, **run).frame()
    found = frame[(frame.metric == "top_share") & (frame.method == "contrasted_saliency:least=1")]
    for example, value in zip(data, found.sort_values("index").value, strict=True):
        why = vx.explain(model, example, method="contrasted_saliency", least=1)
        values = [region.value for region in why.regions] + [word.value for word in why.words]
        sizes = np.abs(values)
        assert value == pytest.approx(sizes.max() / sizes.sum())


@pytest.mark.slow
def test_the_shell_uses_a_file(tmp_path: Path) -> None:
    shell = [sys.executable, "-m", "vqa_explain.shell.app", "--use", str(OWN)]
    run = [
        "evaluate",
        "--model",
        "blind",
        "--data",
        "scenes:test",
        "--limit",
        "2",
        "--workers",
        "1",
        "--json",
    ]
    run += [
        "--methods",
        "contrasted_saliency",
        "--metrics",
        "top_share",
        "accuracy",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run([*shell, *run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {row["metric"] for row in json.loads(done.stdout)["summary"]} >= {
        "top_share",
        "accuracy",
    }
    listed = subprocess.run(
        [*shell, "methods", "contrasted_saliency"], capture_output=True, text=True
    ).stdout
    assert "deviations from the mean" in listed


def test_the_viewer_offers_it(own: Any, scenes_model: ViltModel) -> None:
    viewer = vx.Viewer(
        scenes_model, [vx.load_dataset("scenes:test")[0]], method="contrasted_saliency"
    )
    offered = {method["name"]: method for method in viewer.options["methods"]}
    assert [p["name"] for p in offered["contrasted_saliency"]["parameters"]] == ["least"]
    assert viewer.wait(600)
    assert viewer.entries[0]["state"] == "done"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no file"),
        ("1/0", "ZeroDivisionError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def x(:", "SyntaxError"),
        ("import vqa_explain as vx\n@vx.register_method\nclass A: pass", "without its facts"),
        (
            "import vqa_explain as vx\nvx.register_model('scenes')(print)",
            "there is a shipped model",
        ),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "own_file.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(vx.InvalidInput, match=said):
        vx.use(path)
    assert "used_own_file" not in sys.modules
