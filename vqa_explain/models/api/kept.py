"""Answers of an endpoint that are kept on disk, so that nothing is asked twice."""

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from vqa_explain.errors import InvalidInput, unwritable
from vqa_explain.files import path_of, write_atomically

log = logging.getLogger("vqa_explain")


class KeptAnswers:
    """A folder of answers, each in a file that is named by a hash of what was asked.

    Files are written whole or not at all, so that several processes may share the folder. They hold
    the endpoint's answer and nothing of the question; the name cannot be read backwards.

    Args:
        folder: it is made if it is missing; `None` for one in the user's cache folder.

    Raises:
        InvalidInput: the folder cannot be made.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = _default_folder() if folder is None else path_of(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise unwritable(self.folder, error) from error

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> Any:
        """What is kept under a key; `None` where nothing is, or nothing that can be read."""
        path = self._path(key)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("the kept answer %r cannot be read (%s); it is asked again", path, error)
            return None

    def put(self, key: str, answer: Any) -> None:
        """Keeps an answer, which JSON can hold; where it cannot be written, the log says so."""
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, json.dumps(answer, ensure_ascii=False).encode())
        except (OSError, InvalidInput) as error:  # the answer itself is there
            log.warning("the answer cannot be kept, and is asked again next time: %s", error)

    def _path(self, key: str) -> Path:
        # Folders of many thousand files are slow on some systems.
        return self.folder / key[:2] / f"{key[2:]}.json"


def key_of(*parts: Any) -> str:
    """A hash of what was asked, of values that JSON can hold.

    Raises:
        InvalidInput: JSON cannot hold one of them.
    """
    try:
        text = json.dumps(parts, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"request= holds a value that JSON cannot hold ({error}); give texts and numbers"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def _default_folder() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vqa_explain" / "answers"
