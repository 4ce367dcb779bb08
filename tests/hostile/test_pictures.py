"""Pictures of every kind, whole and broken."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from guard import called, refused, unchanged
from PIL import Image, ImageCms, PngImagePlugin

import vqa_explain as vx
from vqa_explain.examples import MAX_PIXELS, read_image
from vqa_explain.models.vilt import ViltModel

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
# A picture whose parts can be told apart after lossy compression: red left, blue right, the top
# darker.
QUARTERS = np.zeros((32, 48, 3), np.uint8)
QUARTERS[:16, :24], QUARTERS[16:, :24] = (120, 0, 0), (240, 0, 0)
QUARTERS[:16, 24:], QUARTERS[16:, 24:] = (0, 0, 120), (0, 0, 240)
FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "bmp": "BMP",
    "gif": "GIF",
    "webp": "WEBP",
    "tif": "TIFF",
    "ppm": "PPM",
}


def encoded(image: Any, kind: str, **settings: Any) -> bytes:
    sink = BytesIO()
    image.save(sink, FORMATS[kind], **settings)
    return sink.getvalue()


def put(tmp_path: Path, content: bytes, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("percent", range(5, 100, 5))
def test_truncated(tmp_path: Path, kind: str, percent: int) -> None:
    whole = encoded(Image.fromarray(NOISE), kind)
    path = put(tmp_path, whole[: len(whole) * percent // 100], f"cut.{kind}")
    with unchanged(folder=tmp_path):
        said = refused(lambda: read_image(path), "corrupt or truncated|not a picture")
    assert "cut." in said


@pytest.mark.parametrize("kind", FORMATS)
def test_zero_bytes(tmp_path: Path, kind: str) -> None:
    refused(lambda: read_image(put(tmp_path, b"", f"empty.{kind}")), r"empty \(0 bytes\)")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["picture.png", "picture.jpg", "picture.txt", "picture"])
def test_the_content_says_the_format_whatever_the_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    found = read_image(put(tmp_path, encoded(Image.fromarray(QUARTERS), kind), name))
    assert np.abs(found.astype(int) - QUARTERS).mean() < 12


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 100,
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"<svg/>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"BM" + b"\xff" * 60,
        b"RIFF\0\0\0\0WEBP",
    ],
)
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    refused(
        lambda: read_image(put(tmp_path, content, "thing.png")),
        "corrupt or truncated|not a picture|pixels",
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "size",
    [(12_000, 12_000), (50_000, 50_000), (2_000_000, 30), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)],
)
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 1, 0, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    with unchanged(folder=tmp_path, may_add=("bomb.png",)):
        refused(
            lambda: read_image(put(tmp_path, b"\x89PNG\r\n\x1a\n" + body, "bomb.png")),
            "above|corrupt",
        )


def test_a_bomb_in_the_text_of_a_png(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 100_000_000, zip=True)
    path = put(tmp_path, encoded(Image.fromarray(NOISE), "png", pnginfo=info), "text.png")
    assert path.stat().st_size < 200_000
    refused(lambda: read_image(path), "corrupt")


def test_a_picture_of_a_hundred_and_forty_four_million_pixels_in_memory() -> None:
    refused(lambda: read_image(Image.new("1", (12_000, 12_000))), "above 50,000,000")
    refused(lambda: read_image(np.broadcast_to(np.uint8(0), (12_000, 12_000))), "above|144")
    assert MAX_PIXELS == 50_000_000


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 2), (1, 5000), (5000, 1), (3, 7), (700, 700)]
)
def test_any_size_is_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        read_image(put(tmp_path, encoded(Image.fromarray(values), "png"), "a.png")), values
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 5000), (5000, 1), (300, 20), (97, 31)])
def test_any_size_is_explained_or_refused_with_its_size(
    scenes_model: ViltModel, shape: tuple[int, int]
) -> None:
    picture = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)

    def call() -> Any:
        return vx.explain(scenes_model, picture, "What color is the circle?", method="saliency")

    with unchanged(scenes_model.module):
        if max(shape) < 8 * min(shape):
            assert call().image.shape == shape
        else:
            assert str(max(shape)) in refused(call, "too long and thin")


def grey(value: bool | float) -> np.ndarray:
    return np.full((6, 6), value)


MODES = {
    "1": (Image.fromarray(grey(True)), (255, 255, 255)),
    "L": (Image.fromarray(grey(77).astype(np.uint8)), (77, 77, 77)),
    "LA half": (
        Image.merge("LA", [Image.new("L", (6, 6), 0), Image.new("L", (6, 6), 128)]),
        (127, 127, 127),
    ),
    "RGB": (Image.new("RGB", (6, 6), (1, 2, 3)), (1, 2, 3)),
    "RGBA half": (Image.new("RGBA", (6, 6), (0, 0, 0, 128)), (127, 127, 127)),
    "RGBA clear": (Image.new("RGBA", (6, 6), (9, 9, 9, 0)), (255, 255, 255)),
    "P": (
        Image.new("RGB", (6, 6), (200, 10, 20)).convert("P", palette=Image.Palette.ADAPTIVE),
        (200, 10, 20),
    ),
    "CMYK": (Image.new("CMYK", (6, 6), (0, 255, 255, 0)), (255, 0, 0)),
    "YCbCr": (Image.new("RGB", (6, 6), (250, 5, 5)).convert("YCbCr"), (250, 5, 5)),
    "HSV": (Image.new("RGB", (6, 6), (0, 255, 0)).convert("HSV"), (0, 255, 0)),
    "I;16": (Image.fromarray(grey(0x8000).astype(np.uint16)), (128, 128, 128)),
    "I": (Image.fromarray(grey(65535).astype(np.int32)), (255, 255, 255)),
    "F of 0 to 1": (Image.fromarray(grey(0.5).astype(np.float32)), (128, 128, 128)),
    "F of 0 to 255": (Image.fromarray(grey(51.0).astype(np.float32)), (51, 51, 51)),
}


def test_whole_numbers_of_32_bits_that_may_be_of_8() -> None:
    """White of 8 bits would be nearly black of 16."""
    photo = Image.fromarray(grey(200).astype(np.uint8))
    with pytest.raises(vx.InvalidInput, match="make it an array of uint8 or uint16"):
        read_image(photo.convert("I"))
    assert read_image(photo.convert("F")).max() == 200
    assert read_image(Image.fromarray(grey(0).astype(np.int32))).max() == 0


@pytest.mark.parametrize("mode", MODES)
def test_modes(mode: str) -> None:
    image, color = MODES[mode]
    found = read_image(image)
    assert found.shape == (6, 6, 3)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[3, 3], color, atol=3)


@pytest.mark.parametrize("mode", [m for m in MODES if m not in ("YCbCr", "HSV")])
def test_modes_in_a_tiff(tmp_path: Path, mode: str) -> None:
    image, color = MODES[mode]
    np.testing.assert_allclose(
        read_image(put(tmp_path, encoded(image, "tif"), "a.tif"))[3, 3], color, atol=3
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 70_000.0])
def test_a_float_tiff_of_no_picture(tmp_path: Path, value: float) -> None:
    path = put(
        tmp_path, encoded(Image.fromarray(np.full((5, 5), value, np.float32)), "tif"), "a.tif"
    )
    refused(lambda: read_image(path), "outside 0 … 65535")


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    found = read_image(put(tmp_path, encoded(image, "png", transparency=0), "a.png"))
    assert (tuple(found[0, 0]), tuple(found[2, 2])) == ((255, 255, 255), (10, 20, 30))


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
def test_of_a_moving_picture_the_first_frame(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "white")]
    path = put(
        tmp_path, encoded(frames[0], kind, save_all=True, append_images=frames[1:]), f"a.{kind}"
    )
    np.testing.assert_allclose(read_image(path)[8, 8], (255, 0, 0), atol=8)


TURNS = {  # EXIF orientation → how the stored picture becomes upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 250])
def test_pictures_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = put(tmp_path, encoded(Image.fromarray(QUARTERS), kind, exif=exif), f"a.{kind}")
    wanted = TURNS.get(orientation, TURNS[1])(QUARTERS)
    found = read_image(path)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).mean() < 12


def gamma_one() -> bytes:
    """A profile like sRGB but with linear light."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    content = bytearray(profile.tobytes())
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        entry = content.index(name)
        offset = struct.unpack(">I", content[entry + 4 : entry + 8])[0]
        content[offset : offset + 12] = b"curv" + b"\0" * 8  # a curve of no points is the identity
        content[entry + 8 : entry + 12] = struct.pack(">I", 12)
    return bytes(content)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
def test_a_colour_profile_is_followed(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGB", (8, 8), (55, 55, 55))
    path = put(tmp_path, encoded(image, kind, icc_profile=gamma_one()), f"a.{kind}")
    # 55 / 255 of linear light is (1.055 · 0.2157^(1/2.4) − 0.055) · 255 in sRGB.
    np.testing.assert_allclose(read_image(path)[4, 4], 128, atol=3)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"nothing",
        b"\0" * 4000,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_a_profile_that_does_not_fit_is_left_aside(
    tmp_path: Path, profile: bytes, mode: str
) -> None:
    image = Image.fromarray(QUARTERS).convert(mode)
    kind = "tif" if mode == "CMYK" else "png"
    found = read_image(put(tmp_path, encoded(image, kind, icc_profile=profile), "a.png"))
    np.testing.assert_allclose(found, np.array(image.convert("RGB")), atol=2)


GOOD_TYPES = ("bool", "uint8", "uint16", "float16", "float32", "float64")
BAD_TYPES = (
    "int8",
    "int16",
    "int32",
    "int64",
    "uint32",
    "uint64",
    "complex64",
    "object",
    "U1",
    "datetime64[s]",
)
GOOD_SHAPES = ((4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4))
BAD_SHAPES = ((3, 4, 5), (4, 5, 2), (4, 5, 5), (), (4,), (0, 5, 3), (4, 0), (4, 5, 3, 1))


@pytest.mark.parametrize("shape", GOOD_SHAPES, ids=str)
@pytest.mark.parametrize("kind", GOOD_TYPES)
def test_arrays_of_all_ones_are_white(kind: str, shape: tuple[Any, ...]) -> None:
    most = {"uint8": 255, "uint16": 65535}.get(kind, 1)
    found = read_image(np.full(shape, most, dtype=kind))
    assert found.shape == (4, 5, 3)
    assert (found == 255).all()


@pytest.mark.parametrize("shape", [*GOOD_SHAPES, *BAD_SHAPES], ids=str)
@pytest.mark.parametrize("kind", BAD_TYPES)
def test_arrays_of_a_wrong_type(kind: str, shape: tuple[Any, ...]) -> None:
    refused(
        lambda: read_image(np.zeros(shape, dtype=kind)), "image array|empty|is a video of 4 frames"
    )


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=str)
@pytest.mark.parametrize("kind", GOOD_TYPES)
def test_arrays_of_a_wrong_shape(kind: str, shape: tuple[Any, ...]) -> None:
    refused(
        lambda: read_image(np.zeros(shape, dtype=kind)),
        r"channels last|empty|is a video of 4 frames",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.01, 1.01, 255.0, 1e30])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_float_arrays_out_of_range(kind: str, value: float) -> None:
    values = np.zeros((4, 5, 3), dtype=kind)
    values[1, 2, 0] = value
    refused(lambda: read_image(values), "finite and within 0 … 1")


LAYOUTS: dict[str, Callable[..., Any]] = {
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "turned over": lambda a: a[::-1][::-1],
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "by column": np.asfortranarray,
    "memory-mapped": lambda a: a.view(np.memmap),
    "masked": np.ma.masked_array,
    "tensor": lambda a: torch.from_numpy(a.copy()),
    "tensor, transposed": lambda a: (
        torch.from_numpy(a.copy()).permute(2, 0, 1).contiguous().permute(1, 2, 0)
    ),
    "has __array__": lambda a: type(
        "Array", (), {"__array__": lambda self, dtype=None, copy=None: a}
    )(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_in_memory(layout: str) -> None:
    given = LAYOUTS[layout](NOISE)
    found = read_image(given)
    np.testing.assert_array_equal(found, NOISE)
    found[:] = 0  # a copy: what was given stays
    np.testing.assert_array_equal(np.asarray(given), NOISE)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("differentiable", [False, True])
def test_tensors_of_any_kind(kind: torch.dtype, differentiable: bool) -> None:
    """Those of a network's own pictures: of few bits, and with gradients asked for."""
    given = torch.tensor([[[0.0, 0.5, 1.0]] * 3] * 2, dtype=kind).requires_grad_(differentiable)
    found = read_image(given)
    np.testing.assert_array_equal(found, [[[0, 128, 255]] * 3] * 2)
    assert given.requires_grad == differentiable


NAMES = [
    "ä ö.png",
    "a'b\"c.png",
    "a\nb.png",
    "-rf.png",
    "%20%s{x}.png",
    "$HOME.png",
    "🟥.png",
    "‮gnp.x.png",
    "a" * 240 + ".png",
    "..png",
    " .png",
    "a\\b.png",
    "<script>.png",
    "a;b&c|d.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, encoded(Image.fromarray(NOISE), "png"), name)
    np.testing.assert_array_equal(read_image(path), NOISE)
    np.testing.assert_array_equal(read_image(str(path)), NOISE)
    path.write_bytes(b"")
    refused(lambda: read_image(path), "empty")


@pytest.mark.parametrize(
    "source",
    [
        "http://localhost/cat.png",
        "https://localhost:1/a b.png",
        "file:///etc/hosts",
        "data:image/png;base64,AAAA",
        "ftp://x/y.png",
        "",
        "nothing.png",
        "a\0b.png",
        "~/nothing.png",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "/",
        ".",
        "x" * 5000,
    ],
)
def test_paths_of_no_picture(source: str) -> None:
    refused(
        lambda: read_image(source),
        "does not exist|not a file|not a picture|empty|corrupt|cannot be read|is an address",
    )


@pytest.mark.parametrize(
    "thing",
    [None, 7, 3.5, b"bytes", [1, 2], {"a": 1}, object(), type, lambda: 0, iter(())],
    ids=called,
)
def test_no_picture_at_all(thing: Any) -> None:
    refused(
        lambda: read_image(thing),
        "an image must be a path, a PIL image or an array|a video is a list of pictures",
    )


def test_a_folder_a_pipe_and_links(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nothing.png")
    for name in ("folder.png", "pipe.png"):
        refused(lambda name=name: read_image(tmp_path / name), "not a file")
    for name in ("loop.png", "lost.png"):
        refused(lambda name=name: read_image(tmp_path / name), "does not exist|cannot be read")
    (tmp_path / "good.png").symlink_to(
        put(tmp_path, encoded(Image.fromarray(NOISE), "png"), "real.png")
    )
    np.testing.assert_array_equal(read_image(tmp_path / "good.png"), NOISE)
