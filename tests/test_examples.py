"""Reading pictures: every kind gives upright RGB, and what cannot be read says so."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqa_explain as vx
from vqa_explain import examples
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, read_image
from vqa_explain.models.vilt import ViltModel

RGB = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    # PIL transposes that store it sideways.
    undo = {
        1: [],
        2: [5],
        3: [3],
        4: [6],
        5: [0],
        6: [4],
        7: [1],
        8: [2],
    }
    transposes = [Image.Transpose(i) for i in range(7)]
    by_value = {t.value: t for t in transposes}
    store = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    assert set(undo) == set(range(1, 9))
    image = Image.fromarray(RGB.repeat(16, 0).repeat(16, 1))
    stored = image if store is None else image.transpose(by_value[store])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(image))


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (3, 2), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    assert np.abs(read_image(tmp_path / "a.tiff").astype(int) - [255, 0, 0]).max() <= 2


def test_16_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32896, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 0], [0, 128, 255])


def test_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[255] * 3, [200, 100, 50]]])


def test_alpha_lies_on_white() -> None:
    array = np.zeros((1, 1, 4), np.uint8)
    np.testing.assert_array_equal(read_image(array), [[[255] * 3]])
    np.testing.assert_array_equal(read_image(Image.fromarray(array)), [[[255] * 3]])


def test_grey_float_bool_and_one_pixel_arrays() -> None:
    np.testing.assert_array_equal(read_image(np.array([[0.5]])), [[[128] * 3]])
    np.testing.assert_array_equal(read_image(np.array([[True]])), [[[255] * 3]])
    np.testing.assert_array_equal(read_image(np.array([[7]], np.uint8)), [[[7] * 3]])


def test_a_one_pixel_picture_is_explained(scenes_model: ViltModel) -> None:
    why = vx.explain(
        scenes_model,
        np.full((1, 1, 3), 200, np.uint8),
        "What color is the circle?",
        method="saliency",
    )
    assert why.image.shape == (1, 1)
    assert np.isfinite(why.image).all()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no picture at all", "not a picture"),
        (png()[:2000], "corrupt or truncated"),
        (png()[:20], "not a picture|corrupt"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(vx.InvalidInput, match=message) as caught:
        read_image(path)
    assert "bad.png" in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(vx.InvalidInput, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(vx.InvalidInput, match="not a file"):
        read_image(tmp_path)


def test_the_pixel_limit_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_PIXELS", 10)
    with pytest.raises(vx.InvalidInput, match="above 10"):
        read_image(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(vx.InvalidInput, match="above 10"):
        read_image(Image.new("RGB", (4, 4)))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 8, 8)),
        np.zeros((0, 3, 3)),
        np.full((2, 2), np.nan),
        np.full((2, 2), 7.0),
        np.zeros((2, 2), np.int64),
        7,
        None,
    ],
)
def test_arrays_that_are_no_pictures_are_refused(bad: np.ndarray | int | None) -> None:
    with pytest.raises(vx.InvalidInput):
        read_image(bad)


def test_a_list_of_pictures_of_any_form_is_a_video(tmp_path: Path) -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    path = tmp_path / "frame.png"
    for frames in ([frame, frame], [str(path), path], (path, frame), np.zeros((3, 2, 2, 3))):
        assert [one.kind for one in vx.Example.of({"clip": frames}).given] == ["video"]
    for row in ([1.0, 2.0], ["a", "b"], [frame, 1.0]):
        assert [one.kind for one in vx.Example.of({"clip": row}).given] == ["other"]


@pytest.mark.parametrize("content", ["see a.png", [{"type": "text", "text": "see a.png"}]])
def test_a_text_of_a_chat_may_end_as_a_file_does(content: Any) -> None:
    (given,) = vx.Example(messages=[{"role": "user", "content": content}]).given
    assert (given.name, given.kind, given.value) == ("question", "text", "see a.png")


MASKS = np.zeros((2, 4, 4), dtype=bool)
MENTIONS: dict[str, tuple[Any, str]] = {
    "a negative object": ((0, 2, (-1,)), "mention 0 names object -1, and masks has 2 objects"),
    "too large an object": ((0, 2, (0, 2)), "mention 0 names object 2"),
    "a start below 0": ((-1, 2, (0,)), "characters -1 to 2"),
    "an end beyond the text": ((0, 6, (0,)), "the text has characters 0 to 5"),
    "no characters": ((2, 2, (0,)), "give 0 <= start < end"),
    "one object alone": ((0, 2, 1), r"give \(start, end, objects\)"),
    "no objects": ((0, 2), r"give \(start, end, objects\)"),
    "texts": (("0", "2", (0,)), r"give \(start, end, objects\)"),
    "parts": ((0, 1.5, (0,)), r"give \(start, end, objects\)"),
    "truth values": ((0, 2, (True,)), r"give \(start, end, objects\)"),
    "a number": (3, r"give \(start, end, objects\)"),
}


def made(text: str, mention: Any) -> Example:
    given: dict[str, Any] = {text: "a dog"}
    return Example(masks=MASKS, mentions=(mention,), **given)


@pytest.mark.parametrize("case", MENTIONS)
@pytest.mark.parametrize("text", ["question", "answer"])
def test_a_mention_that_names_nothing_is_refused(case: str, text: str) -> None:
    mention, said = MENTIONS[case]
    with pytest.raises(InvalidInput, match=said):
        made(text, mention)


def test_mentions_are_of_the_text_they_were_given_with() -> None:
    mentions: Any = ((2, 5, (np.int64(1),)),)
    one = Example(np.zeros((4, 4, 3), np.uint8), "a dog", masks=MASKS, mentions=mentions)
    assert one.changed({"question": "a"}).mentions == ()
    assert one.changed({"question": "a dog"}).mentions == mentions
    assert Example(masks=None, mentions=mentions).mentions == mentions
