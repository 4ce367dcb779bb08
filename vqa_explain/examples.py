"""Examples: pictures, texts, videos and rows that a model is asked about,
and the reading of pictures.
"""

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vqa_explain.errors import InvalidInput, unknown

# Of files that hold a film, whose frames the user is to read.
FILMS = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"}
)
MAX_PIXELS = 50_000_000  # larger pictures are refused before they are decoded

Kind = Literal["image", "text", "video", "table", "other"]


@dataclass(frozen=True, eq=False)
class Given:
    """One input of an example, as the user gave it.

    Attributes:
        name: such as "image", "question", "image 2", "system" or "patient".
        kind: what the value is.
        value: a picture as `read_image` takes it, a text, a `Page`, the pictures of a video's
            frames, or {column: value}.
        turn: the number of the message that it is in; `None` where the example is no chat.
        role: who speaks there.
        fixed: whether its parts are no players unless one asks for them.
    """

    name: str
    kind: Kind
    value: Any
    turn: int | None = None
    role: str = "user"
    fixed: bool = False


@dataclass(frozen=True, eq=False)
class Page:
    """The words of a page and their boxes, as a program that reads print (OCR) gives them.

    Attributes:
        words: the W words in reading order.
        boxes: (W, 4) left, top, right, bottom of each, from the top left corner of the page.
        size: (height, width) of the page in the unit of the boxes: those of its picture for boxes
            in pixels, or (1000, 1000) for boxes that `transformers` takes.

    Raises:
        InvalidInput: there are no words, or a box is not on the page.
    """

    words: Sequence[str]
    boxes: Any
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if isinstance(self.words, str) or not all(isinstance(word, str) for word in self.words):
            raise InvalidInput("words of a page are a list of texts, such as ['Total', '12.50']")
        blank = [number for number, word in enumerate(self.words) if not word.strip()]
        if not len(self.words) or blank:
            what = f"word {blank[0]} is empty" if blank else "there is none"
            raise InvalidInput(f"a page has words, and {what}; leave out what is blank")
        self._check_boxes()

    def _check_boxes(self) -> None:
        wanted = f"boxes of a page must be ({len(self.words)}, 4), as there are words"
        try:
            boxes = np.asarray(self.boxes, dtype=float)
            height, width = map(float, self.size)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{wanted}, and its size (height, width)") from error
        if boxes.shape != (len(self.words), 4) or not np.isfinite(boxes).all():
            raise InvalidInput(f"{wanted}; got {boxes.shape}")
        left, top, right, bottom = boxes.T
        across = (left >= 0) & (left <= right) & (right <= width)
        down = (top >= 0) & (top <= bottom) & (bottom <= height)
        outside = np.flatnonzero(~(across & down))
        if len(outside):
            raise InvalidInput(
                f"the box {boxes[outside[0]].tolist()} of the word {self.words[outside[0]]!r} is no "
                f"box on a page of size (height, width) = ({height:g}, {width:g}); give left, top, "
                "right, bottom in the unit of size"
            )

    def __str__(self) -> str:
        return f"a page of {len(self.words)} words"

    @property
    def text(self) -> str:
        """Its words with blanks between them."""
        return " ".join(self.words)

    def scaled(self, scale: int) -> list[list[int]]:
        """The boxes in whole parts of a page of `scale` × `scale`, rounded down."""
        height, width = self.size
        sides = np.array([width, height, width, height], dtype=float)
        found: list[list[int]] = (
            np.floor(scale * np.asarray(self.boxes, dtype=float) / sides).astype(int).tolist()
        )
        return found


@dataclass(frozen=True, eq=False)
class Example:
    """A picture with, perhaps, a question, the true answer, and what the answer depends on.

    `Example.of` takes inputs of any number and kind, and `messages` a chat.

    Attributes:
        image: a path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4); see `read_image`. An
            error, for an example that could not be read: it is raised where the picture is needed,
            and other examples go on.
        question: the question; `None` for a classifier.
        answer: the true answer, if known.
        answers: what several people answered, where that is known.
        id: a name for reports.
        family: the kind of question, for tables by kind.
        masks: (objects, H, W) bool, the exact pixels of every object.
        about: indices into `masks` of the objects that the question is about.
        decisive: character spans (start, end) of the words that decide the answer.
        mentions: (start, end, objects): which characters of the question (of the answer, where
            there is no question) name which objects, as indices into `masks`. Characters count from
            0, and `end` is behind the last.
        features, boxes: for models that see a detector's boxes: (R, F), and (R, 4) left, top,
            right, bottom in pixels.
        inputs: name → picture, text, video or row, in place of `image` and `question`; see
            `Example.of`.
        messages: a chat in the format of `transformers`, in place of all of these: mappings with
            "role" and "content", which is a text, or a list of mappings of type "text", "image" or
            "video".

    Raises:
        InvalidInput: inputs are given in two ways, a message is not in this format, or a mention
            has no characters of the text or no object of `masks`.
    """

    image: Any = None
    question: str | None = None
    answer: str | None = None
    id: str = ""
    family: str = ""
    masks: np.ndarray | None = None
    about: tuple[int, ...] = ()
    decisive: tuple[tuple[int, int], ...] = ()
    mentions: tuple[tuple[int, int, tuple[int, ...]], ...] = ()
    features: Any = None
    boxes: Any = None
    answers: tuple[str, ...] = ()
    inputs: Mapping[str, Any] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        short = self.image is not None or self.question is not None
        if sum((short, self.inputs is not None, self.messages is not None)) > 1:
            raise InvalidInput(
                "an example is an image and a question, or inputs by name, or messages; give one "
                "of these"
            )
        if self.inputs is not None:
            _check_names(self.inputs)
        if self.messages is not None or self.inputs is not None:
            # A message that is not understood is refused here, as is a video without frames.
            _ = self.given
        if len(self.mentions):
            _check_mentions(self)

    @classmethod
    def of(cls, inputs: Mapping[str, Any], **about: Any) -> "Example":
        """An example of inputs of any number and kind.

        Args:
            inputs: name → a picture (a path, PIL image or array), a text, a `Page` of words with
                boxes, a video (a list of pictures, or an array (F, H, W, 3)), or a row of a table
                ({column: value}). A text that ends as a picture's file does, such as "a.png", is a
                path. One that ends as a film's does, such as "a.mp4", is refused where a model
                takes it, since its frames are to be given.
            **about: the other attributes, such as `answer`.

        Raises:
            InvalidInput: there are none, or one is a video without frames.
        """
        if not isinstance(inputs, Mapping) or not inputs:
            raise InvalidInput(
                "inputs are given by name, such as {'image': picture, 'question': text}"
            )
        if _is_short(inputs):
            return cls(**inputs, **about)
        return cls(inputs=dict(inputs), **about)

    @property
    def given(self) -> tuple[Given, ...]:
        """Its inputs, in order."""
        if self.messages is not None:
            return _read_messages(self.messages)
        if self.inputs is not None:
            return tuple(Given(name, kind_of(v, name), v) for name, v in self.inputs.items())
        found = []
        if self.image is not None:
            found.append(Given("image", "image", self.image))
        if self.question is not None:
            found.append(Given("question", "text", self.question))
        return tuple(found)

    def changed(self, values: Mapping[str, Any]) -> "Example":
        """The same example with other values of some inputs, by their names.

        Raises:
            InvalidInput: it has no such input.
        """
        names = [one.name for one in self.given]
        for name in values:
            if name not in names:
                raise unknown("input of the example", name, names)
        if self.messages is not None:
            return replace(self, messages=_changed_messages(self.messages, self.given, values))
        if self.inputs is not None:
            return replace(self, inputs={**self.inputs, **values})
        # What is said of characters is not true of other words.
        same = values.get("question", self.question) == self.question
        mentions = self.mentions if same else ()
        return replace(self, **values, mentions=mentions)

    @property
    def asked(self) -> str | None:
        """The texts that are asked about, as one line for lists; `None` where there are none."""
        texts = [one.value for one in self.given if one.kind == "text" and not one.fixed]
        return " / ".join(map(str, texts)) if texts else None

    @property
    def truth(self) -> np.ndarray | None:
        """(H, W) bool, the pixels of the objects that the question is about."""
        if self.masks is None or not self.about:
            return None
        return np.asarray(np.asarray(self.masks)[list(self.about)].any(axis=0))


def _is_short(inputs: Mapping[str, Any]) -> bool:
    """Whether inputs are one picture, one question or both;
    a row or a video may have their names too.
    """
    if not set(inputs) <= {"image", "question"}:
        return False
    question = inputs.get("question")
    is_text = isinstance(question, str) or kind_of(question, "question") == "other"
    return is_text and kind_of(inputs.get("image"), "image") not in ("table", "video")


def _check_mentions(example: Example) -> None:
    """Checks which characters of an example name which objects.

    Raises:
        InvalidInput: a mention has another form, or characters or objects that there are not.
    """
    text = example.answer if example.question is None else example.question
    length = len(text) if isinstance(text, str) else None
    masks = None if example.masks is None else len(example.masks)
    for number, mention in enumerate(example.mentions):
        start, end, objects = _mention(mention, number)
        if not 0 <= start < end or (length is not None and end > length):
            has = "" if length is None else f", and the text has characters 0 to {length}"
            raise InvalidInput(
                f"mention {number} is of characters {start} to {end}{has}; give 0 <= start < end"
            )
        bad = [n for n in objects if n < 0 or (masks is not None and n >= masks)]
        if bad:
            has = "objects count from 0" if masks is None else f"masks has {masks} objects"
            raise InvalidInput(
                f"mention {number} names object {bad[0]}, and {has}; give indices into masks"
            )


def _mention(mention: Any, number: int) -> tuple[int, int, Sequence[int]]:
    """The start, end and objects of a mention.

    Raises:
        InvalidInput: it has not these three, or one is no whole number.
    """
    parts = list(mention) if isinstance(mention, list | tuple) else []
    objects = parts[2] if len(parts) == 3 else None
    if isinstance(objects, list | tuple | np.ndarray):
        whole = [*parts[:2], *objects]
        if all(isinstance(one, Integral) and not isinstance(one, bool) for one in whole):
            return int(parts[0]), int(parts[1]), [int(one) for one in objects]
    raise InvalidInput(
        f"mention {number} is {mention!r}; give (start, end, objects) in whole numbers, such as "
        "(2, 9, (0,))"
    )


def _check_names(inputs: Any) -> None:
    """Refuses inputs that are not given by name."""
    if not isinstance(inputs, Mapping):
        raise InvalidInput(
            "inputs are given by name, such as {'image 1': picture}, not as "
            f"{type(inputs).__name__}"
        )
    strange = [name for name in inputs if not isinstance(name, str) or not name.strip()]
    if strange:
        raise InvalidInput(f"an input is named by text, not by {strange[0]!r}; give its name")


def kind_of(value: Any, name: str = "input") -> Kind:
    """What a value is; "other" where it is none of what this package reads, and a model may know
    it.

    Raises:
        InvalidInput: it is a video without frames.
    """
    if is_film(value):
        return "video"
    if isinstance(value, str):
        return "image" if Path(value).suffix.lower() in _picture_suffixes() else "text"
    if isinstance(value, Page):
        return "text"
    if isinstance(value, os.PathLike | InvalidInput) or hasattr(value, "getbands"):
        return "image"
    if isinstance(value, Mapping) or (hasattr(value, "to_dict") and hasattr(value, "index")):
        return "table"
    axes = getattr(value, "ndim", None)
    if isinstance(value, list | tuple) or axes == 4:
        if not len(value):
            raise InvalidInput(f"{name!r} is a video of 0 frames; give at least one picture")
        frames = axes == 4 or all(kind_of(frame, name) == "image" for frame in value)
        return "video" if frames else "other"
    if axes in (2, 3):
        return "image"
    return "other"


def is_film(value: Any) -> bool:
    """Whether a value is the path of a file that holds a film."""
    return isinstance(value, str | os.PathLike) and Path(value).suffix.lower() in FILMS


def check_frames(value: Any, name: str) -> None:
    """Refuses what people take for a video and is none yet.

    Raises:
        InvalidInput: it is the path of a film, or gives things one by one.
    """
    wanted = "read its frames and give them as a list of pictures or an array (F, H, W, 3)"
    if is_film(value):
        raise InvalidInput(f"{name!r} is the path of a film, {str(value)[-80:]!r}; {wanted}")
    held = isinstance(value, str | bytes | list | tuple | Mapping) or hasattr(value, "__array__")
    if not held and isinstance(value, Iterable) and kind_of(value, name) == "other":
        raise InvalidInput(
            f"{name!r} is of type {type(value).__name__}, and a video is a list of pictures or an "
            "array (F, H, W, 3); give list(…) of its frames"
        )


@cache
def _picture_suffixes() -> frozenset[str]:
    from PIL import Image

    return frozenset(Image.registered_extensions())


ROLES = ("system", "user", "assistant")


def _read_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[Given, ...]:
    """The inputs of a chat: all but those of the last user's turn are fixed.

    Raises:
        InvalidInput: a message is not in the format of `transformers`, or no user speaks.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InvalidInput(
            'messages are a list such as [{"role": "user", "content": "What is this?"}], not '
            f"{str(messages)[:60]!r}"
        )
    contents: list[tuple[int, str, str, Any]] = []  # turn, role, kind, value
    for turn, message in enumerate(messages):
        role = _role(message, turn)
        contents += [(turn, role, kind, value) for kind, value in _contents(message, turn)]
    spoken = [turn for turn, role, kind, _ in contents if role == "user" and kind == "text"]
    if not spoken:
        spoken = [turn for turn, role, _, _ in contents if role == "user"]
    if not spoken:
        raise InvalidInput("no message is a user's; say or show what is asked about")
    names = _names(contents, last=spoken[-1])
    return tuple(
        Given(name, kind, value, turn, role, turn != spoken[-1])  # type: ignore[arg-type]
        for name, (turn, role, kind, value) in zip(names, contents, strict=True)
    )


def _changed_messages(
    messages: Sequence[Mapping[str, Any]], given: Sequence[Given], values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The messages with other values of some contents."""
    changed = []
    for turn, message in enumerate(messages):
        contents = [
            {"type": one.kind, one.kind: values.get(one.name, one.value)}
            for one in given
            if one.turn == turn
        ]
        plain = isinstance(message["content"], str)
        changed.append({**message, "content": contents[0]["text"] if plain else contents})
    return changed


def _role(message: Any, turn: int) -> str:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ROLES or "content" not in message:
        raise InvalidInput(
            f'message {turn} must be a mapping with "content" and a "role" of {", ".join(ROLES)}; '
            f"got {str(message)[:80]!r}"
        )
    return str(role)


def _contents(message: Mapping[str, Any], turn: int) -> list[tuple[str, Any]]:
    """The kind and value of each content of a message."""
    content = message["content"]
    if isinstance(content, str):
        return [("text", content)]
    if not isinstance(content, Sequence) or not content:
        raise InvalidInput(
            f"the content of message {turn} must be a text or a list of contents, not "
            f"{str(content)[:60]!r}"
        )
    found = []
    for one in content:
        kind = one.get("type") if isinstance(one, Mapping) else None
        keys = {"text": ("text",), "image": ("image", "path", "url"), "video": ("video", "path")}
        if kind not in keys:
            raise InvalidInput(
                f"message {turn} has content of type {kind!r}; known are {', '.join(keys)}, given "
                'as {"type": "image", "image": a picture or a path}'
            )
        value = next((one[key] for key in keys[kind] if one.get(key) is not None), None)
        if value is None:
            raise InvalidInput(
                f"message {turn} has content of type {kind!r} without its {kind}; give it as "
                f"{keys[kind][0]!r}"
            )
        # A string is what the message says it is: a text may end as a picture's file does.
        said = isinstance(value, str) and kind in ("text", "image")
        got = kind if said else kind_of(value, kind)
        if got != kind:
            found_kind = type(value).__name__ if got == "other" else got
            raise InvalidInput(
                f"message {turn} has content of type {kind!r}, and its value is of type "
                f"{found_kind!r}; give a value of the type that it names"
            )
        found.append((kind, value))
    return found


def _names(contents: Sequence[tuple[int, str, str, Any]], last: int) -> list[str]:
    """A name for each content: "image 1", "system", "user 1", "assistant 1";
    the last user's text is "question".
    """
    bases = []
    for turn, role, kind, _ in contents:
        if kind != "text":
            bases.append(kind)
        else:
            bases.append("question" if turn == last else role)
    names = []
    for place, base in enumerate(bases):
        # A chat may go on: its earlier turns are counted even where there is one.
        several = bases.count(base) > 1 or base in ("user", "assistant")
        names.append(f"{base} {bases[: place + 1].count(base)}" if several else base)
    return names


def check_readable(example: Example) -> None:
    """Finds an example that could not be read, before anything else is found wanting in it.

    Raises:
        InvalidInput: why it could not be read.
    """
    for one in example.given:
        if isinstance(one.value, InvalidInput):
            raise one.value


def is_readable(example: Example) -> bool:
    """Whether an example could be read (see `check_readable`)."""
    return not any(isinstance(one.value, InvalidInput) for one in example.given)


def read_image(source: Any) -> np.ndarray:
    """The picture as (H, W, 3) uint8 sRGB (by its color profile), upright (EXIF), alpha laid over
    white.

    Args:
        source: a path, a PIL image, or an array: (H, W) or (H, W, 1 | 3 | 4) of bool, uint8,
            uint16, or floats from 0 to 1. A tensor is taken as an array; channels come last.

    Raises:
        InvalidInput: the file is missing, empty, corrupt, truncated or no picture; the picture is
            above `MAX_PIXELS`; the array has another shape, type or range.
    """
    if isinstance(source, InvalidInput):
        raise source
    check_frames(source, "image")
    has_frames = isinstance(source, list | tuple) or getattr(source, "ndim", None) == 4
    if has_frames and kind_of(source, "image") == "video":
        raise InvalidInput(
            f"the image is a video of {len(source)} frames; give it by another name, as in "
            "Example.of({'video': frames, 'question': text})"
        )
    if isinstance(source, str) and re.match(r"(?i)(https?|ftp|s3|gs)://", source):
        raise InvalidInput(
            f"image {source[:80]!r} is an address, and nothing is fetched; download the picture "
            "and give its path"
        )
    if isinstance(source, PictureFile):
        return _read_file(Path(source), source.content)
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source))
    if hasattr(source, "convert") and hasattr(source, "getbands"):
        return _from_pil(source, "the image")
    if isinstance(source, np.ndarray) or hasattr(source, "__array__"):
        return _from_array(_as_array(source))
    raise InvalidInput(
        f"an image must be a path, a PIL image or an array, not {type(source).__name__}"
    )


def _as_array(source: Any) -> np.ndarray:
    """The numbers of an array or tensor, wherever it is and whatever is asked of its gradient."""
    if hasattr(source, "detach"):
        source = source.detach().cpu()
        if source.is_floating_point():  # numpy has no bfloat16
            source = source.float()
    return np.asarray(source)


@dataclass(frozen=True)
class PictureFile(os.PathLike[str]):
    """The file of a picture, whose bytes are read already.

    Attributes:
        path: where it is.
        content: its bytes.
    """

    path: str
    content: bytes

    def __fspath__(self) -> str:
        return self.path


def _check_file(path: Path) -> None:
    """Raises `InvalidInput` where a path is of no file with anything in it."""
    try:
        there = path.exists()
    except OSError as error:  # a name that no file can have
        raise InvalidInput(
            f"image {str(path)[:200]!r} cannot be read: {error.strerror}; check the path"
        ) from error
    if not there:
        raise InvalidInput(f"image {str(path)!r} does not exist; check the path")
    if not path.is_file():
        raise InvalidInput(f"image {str(path)!r} is not a file; give the path of a picture")
    _check_content(path, path.stat().st_size)


def _check_content(path: Path, size: int) -> None:
    if size == 0:
        raise InvalidInput(f"image {str(path)!r} is empty (0 bytes); save or fetch it again")


def _read_file(path: Path, content: bytes | None = None) -> np.ndarray:
    """The picture of a file, whose bytes may be read already."""
    from PIL import Image, UnidentifiedImageError

    if content is None:
        _check_file(path)
    else:
        _check_content(path, len(content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path if content is None else BytesIO(content)) as image:
                return _from_pil(image, f"image {str(path)!r}")
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"image {str(path)!r} is not a picture that Pillow can read; convert it to PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise InvalidInput(
            f"image {str(path)!r} is above {MAX_PIXELS:,} pixels; make it smaller first"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"image {str(path)!r} is corrupt or truncated ({error}); save or fetch it again"
        ) from error


def _from_pil(image: Any, name: str) -> np.ndarray:
    from PIL import Image, ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise InvalidInput(
            f"{name} has {image.width} × {image.height} pixels, above {MAX_PIXELS:,}; make it "
            "smaller first"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_array(_to_16_bit(np.asarray(image), name))
    profile = image.info.get("icc_profile")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.array(_to_srgb(image, profile))


def _to_srgb(image: Any, profile: bytes | None) -> Any:
    """The picture in sRGB after its color profile;
    one that does not fit the picture is left aside, as viewers do.
    """
    from PIL import ImageCms

    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            own = ImageCms.ImageCmsProfile(BytesIO(profile))
            return ImageCms.profileToProfile(
                image, own, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _to_16_bit(values: np.ndarray, name: str) -> np.ndarray:
    """Single-channel pictures of deep integer or float type, as uint16 or floats from 0 to 1."""
    if values.dtype == np.uint16:
        return values
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise InvalidInput(f"{name} has values outside 0 … 65535; scale them first")
    if np.issubdtype(values.dtype, np.integer):
        if 0 < values.max() <= 255:  # white of 8 bits is nearly black of 16
            raise InvalidInput(
                f"{name} has 32 bits per pixel and no value above {values.max()}, so it could be "
                "of 8 bits or a dark one of 16; make it an array of uint8 or uint16"
            )
        return values.astype(np.uint16)
    return values if values.max() <= 1 else (values / (255 if values.max() <= 255 else 65535))


def _from_array(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise InvalidInput(
            "an image array must be (H, W), (H, W, 3) or (H, W, 4) with channels last, not "
            f"{values.shape}"
        )
    if 0 in values.shape:
        raise InvalidInput(f"the image array is empty: shape {values.shape}")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise InvalidInput(
            f"the image has {values.shape[1]} × {values.shape[0]} pixels, above {MAX_PIXELS:,}"
        )
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif values.dtype == bool:
        values = values.astype(np.uint8) * 255
    elif np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InvalidInput(
                "a float image array must be finite and within 0 … 1; divide by 255 if it is not"
            )
        values = np.rint(values * 255).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise InvalidInput(
            f"an image array must be uint8, uint16, bool or float, not {values.dtype}"
        )
    if values.ndim == 2:
        return np.repeat(values[:, :, None], 3, axis=2)
    if values.shape[2] == 4:
        alpha = values[:, :, 3:].astype(np.float32) / 255
        return np.rint(values[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return values.copy()
