"""Pictures in a folder, each an example; the folder that one is in may name its answer."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqa_explain.datasets.lazy import LazySequence
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"))


@dataclass(frozen=True)
class PictureFolder(LazySequence):
    """The pictures in a folder and in the folders in it, by their paths in order.

    Where every picture is in a folder of its own kind, as in `cats/tom.png`, that folder's name is
    the true answer.

    Attributes:
        name: what the data set is called.
        folder: where the paths begin.
        paths: the pictures, relative to the folder, in order.
    """

    name: str
    folder: Path
    paths: tuple[str, ...]

    @classmethod
    def opened(cls, folder: Path) -> "PictureFolder":
        """The pictures that are in a folder now.

        Raises:
            InvalidInput: there are none, or a folder in it cannot be listed.
        """
        paths = tuple(sorted(_pictures(folder)))
        if not paths:
            raise InvalidInput(
                f"folder {str(folder)!r} has no picture ({', '.join(sorted(ENDINGS))}); check the "
                "path"
            )
        return cls(folder.resolve().name, folder, paths)

    @property
    def fingerprint(self) -> str:
        """A hash of the paths."""
        return hashlib.sha256("\0".join(self.paths).encode(errors="replace")).hexdigest()[:16]

    @property
    def _has_answers(self) -> bool:
        return all("/" in path for path in self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def example(self, index: int) -> Example:
        return self.shown(index, self.folder / self.paths[index])

    def shown(self, index: int, image: str | os.PathLike[str]) -> Example:
        """The example of a number with this picture."""
        path = self.paths[index]
        answer = path.split("/")[0] if self._has_answers else None
        return Example(image, answer=answer, id=path)


def _pictures(folder: Path) -> Iterator[str]:
    """The paths of pictures, in no order. Links to folders are not followed: they may be circles."""

    def stop(error: OSError) -> None:
        raise InvalidInput(
            f"folder {error.filename!r} cannot be listed: {error.strerror}; change its permissions"
        ) from error

    for place, _, names in os.walk(folder, onerror=stop):
        inside = Path(place).relative_to(folder)
        for name in names:
            path = inside / name
            hidden = any(part.startswith(".") for part in path.parts)
            if path.suffix.lower() in ENDINGS and not hidden:
                yield path.as_posix()


def holds_pictures(folder: Path, tables: frozenset[str]) -> bool:
    """Whether a folder is one of pictures: none of its files is a table.

    Args:
        folder: a folder that is there.
        tables: the endings of tables.
    """
    if any(path.suffix.lower() in tables for path in folder.iterdir()):
        return False
    return next(_pictures(folder), None) is not None
