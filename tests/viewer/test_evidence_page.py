"""The page of evidence: what it shows of each state, in a browser and in its text."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened_browser, watched_page
from conftest import ToTensor
from PIL import Image
from torch import Tensor, nn, stack

import vqa_explain as vx

HOSTILE = "</style><script>alert(1)</script>"


class Corner(nn.Module):
    """ "lit" where the upper left quarter is bright, which is all that it looks at."""

    def forward(self, x: Tensor) -> Tensor:
        lit = x[:, :, :4, :4].mean(dim=(1, 2, 3)) - 0.5
        return stack([9 * lit, -9 * lit], dim=1)


@pytest.fixture(scope="module")
def found() -> vx.Evidence:
    model = vx.load(Corner(), transform=ToTensor(), labels=["lit", HOSTILE], device="cpu")
    return vx.evidence(model, np.full((8, 8, 3), 255, np.uint8), regions=2, image_fill="constant")


def test_states_are_the_whole_and_the_smallest_sets(found: vx.Evidence) -> None:
    whole, keep, flip = found.states()
    assert (whole.goal, keep.goal, flip.goal) == ("whole", "keep", "flip")
    assert (whole.answer, keep.answer, flip.answer) == ("lit", "lit", HOSTILE)
    assert whole.present is None
    assert keep.present == {"image": frozenset({0})}
    assert flip.present == {"image": frozenset({1, 2, 3})}
    assert [state.holds("image", 0) for state in (whole, keep, flip)] == [True, True, False]


def test_the_page_fades_what_is_absent_and_runs_no_script(
    found: vx.Evidence, tmp_path: Path
) -> None:
    text = found.to_html(tmp_path / "evidence.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "default-src 'none'" in text
    sources = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    pictures = [np.array(Image.open(io.BytesIO(base64.b64decode(one)))) for one in sources]
    assert len(pictures) == 3
    for picture, lit in zip(pictures, ([0, 1, 2, 3], [0], [1, 2, 3]), strict=True):
        # A picture that is opaque everywhere may come without opacities.
        alpha = picture[..., 3] if picture.shape[2] == 4 else np.full(picture.shape[:2], 255)
        middles = alpha[[96, 96, 288, 288], [96, 288, 96, 288]]
        assert [int(one) for one in np.flatnonzero(middles > 200)] == lit
        assert all(middles[[n for n in range(4) if n not in lit]] < 60)


def test_most_must_be_a_number_of_sets(found: vx.Evidence, tmp_path: Path) -> None:
    with pytest.raises(vx.InvalidInput, match="at least 1"):
        found.to_html(tmp_path / "evidence.html", most=0)


@pytest.mark.slow
def test_buttons_choose_the_state(found: vx.Evidence, tmp_path: Path) -> None:
    path = found.to_html(tmp_path / "evidence.html")

    def answer(page: Any) -> str:
        return str(page.locator("section:visible .answer").inner_text())

    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        assert page.locator("section:visible").count() == 1
        assert answer(page) == "lit"
        page.get_by_text("flip", exact=True).click()
        assert answer(page) == HOSTILE
        page.keyboard.press("ArrowLeft")  # radio buttons are moved by keys
        assert page.locator("section:visible .soft").first.inner_text().startswith("this alone")
        assert wrong == []
