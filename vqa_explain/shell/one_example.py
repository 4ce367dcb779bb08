"""What the commands about one example have in common: options, and where results go."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vqa_explain.errors import InvalidInput
from vqa_explain.shell import terminal

Repeated = Annotated[list[str] | None, Parameter(negative=())]
Inputs = Annotated[list[str] | None, Parameter(name="--input", negative=())]
Settings = Annotated[list[str] | None, Parameter(name="--set", negative=())]


def check_folder(out: Path | None) -> None:
    """Checks that there is a folder for what is to be written.

    Raises:
        InvalidInput: there is none.
    """
    if out is not None and not out.parent.is_dir():
        raise InvalidInput(f"the folder {str(out.parent)!r} of --out does not exist; make it first")


def say_written(out: Path | None) -> None:
    """Prints which file was written, if one was."""
    if out is not None:
        terminal.console().print(f"Written: {out}", highlight=False, markup=False)


def tell(found: Any, out: Path | None, as_json: bool) -> None:
    """Prints a result, as JSON or as its text with the file that was written."""
    if as_json:
        print(json.dumps(found.summary()))
        return
    terminal.console().print(str(found), highlight=False, markup=False)
    say_written(out)
