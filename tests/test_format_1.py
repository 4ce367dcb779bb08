"""Files that version 1 of the format wrote load as they were, from files that it wrote."""

import json
from pathlib import Path

import numpy as np
import pytest

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart

FILES = Path(__file__).parent / "files"
EXPECTED = json.loads((FILES / "format_1.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_format_1_holds_what_it_held(name: str, tmp_path: Path) -> None:
    why, told = vx.load_explanation(FILES / f"format_1_{name}.vqax"), EXPECTED[name]
    again = vx.load_explanation(why.save(tmp_path / "new.vqax"))
    for found in (why, again):
        assert [word.value for word in found.words] == told["words"]
        assert [[*region.box, region.value] for region in found.regions] == told["regions"]
        assert float(found.image.sum()) == told["image_sum"]
        picture = found["image"]
        assert isinstance(picture, PicturePart)
        assert picture.padding == told["padding"]
        assert found.explained == told["explained"]
        assert list(found.share.values()) == list(told["share"].values())
        if told["interactions"] is None:
            assert found.interactions is None
        else:
            np.testing.assert_array_equal(found.interactions, told["interactions"])
    assert set(why.share) == {part.name for part in why.parts}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_of_format_1_can_be_shown(name: str, tmp_path: Path) -> None:
    why = vx.load_explanation(FILES / f"format_1_{name}.vqax")
    assert why.explained in repr(why)
    assert why.to_html(tmp_path / "page.html").stat().st_size > 10_000
    why.plot()
