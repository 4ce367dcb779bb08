"""What the terminal is shown. A stranger's text moves no cursor, changes no color and clears
nothing; a terminal of few characters shows others in their place; and where nothing can be
written, one sentence says so.
"""

import codecs
import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
    from rich.segment import Segment

# Control characters but the end of a line and the tabulator; those that turn the direction of
# writing for all that follows; and halves of characters, which no terminal can write.
_CONTROLS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HALVES = range(0xD800, 0xE000)
_VISIBLE = {code: f"\\x{code:02x}" for code in _CONTROLS}
_VISIBLE |= {code: f"\\u{code:04x}" for code in (*_DIRECTIONS, *_HALVES)}
# What our own texts have, as terminals without them can write it.
_SPELLED = {
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "×": "x",
    "±": "+-",
    "·": "-",
    "•": "*",
    "→": "->",
    "↑": "up",
    "↓": "down",
    "²": "2",
}
SPELLED = "vqa_explain.spelled"  # the name of the error handler that writes them so
# What writing to a full disk, a closed pipe or a lost terminal raises.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)


def visible(text: str) -> str:
    """The text with its control characters spelled, such as \\x1b, so that none acts.

    >>> print(visible("plain"), visible("red\\x1b[31m"))
    plain red\\x1b[31m
    """
    return text.translate(_VISIBLE)


def console(stderr: bool = False) -> "Console":
    """A console of rich on which no text acts, whatever it holds."""
    from rich.console import Console

    found = Console(stderr=stderr, emoji=False)
    found.push_render_hook(_harmless())
    return found


def _harmless() -> "RenderHook":
    """What makes the texts of all that is printed visible."""
    from rich.console import RenderHook
    from rich.segment import Segment

    class Shown:
        def __init__(self, renderable: "RenderableType") -> None:
            self.renderable = renderable

        def __rich_console__(
            self, console: "Console", options: "ConsoleOptions"
        ) -> Iterator["Segment"]:
            for one in console.render(self.renderable, options):
                # What rich itself says to the terminal is no text.
                yield one if one.control else Segment(visible(one.text), one.style)

    class Harmless(RenderHook):
        def process_renderables(
            self, renderables: list["ConsoleRenderable"]
        ) -> list["ConsoleRenderable"]:
            return [Shown(one) for one in renderables]

    return Harmless()


def complain(problem: object) -> None:
    """Writes one line of what is wrong to the error stream, if that can be written."""
    with suppress(OSError):
        print(f"vqa-explain: {visible(str(problem))}", file=sys.stderr)


def stop() -> NoReturn:
    """Ends the command that Ctrl-C has stopped, with one line; a second Ctrl-C ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    complain("stopped")
    sys.exit(130)


@contextmanager
def written_whole() -> Iterator[None]:
    """Inside, streams write any character, and all is written at the end.

    A full disk ends the process with one sentence and code 2; a reader that has gone away, as
    `head` does, with code 1 alone.
    """
    codecs.register_error(SPELLED, _spelled)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream may be closed, or replaced
        if reconfigure is not None:
            reconfigure(errors=SPELLED)
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _discard_output()
        if error.errno == errno.EPIPE:
            sys.exit(1)
        complain(f"the result cannot be written: {error.strerror}; make room, or write elsewhere")
        sys.exit(2)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """The characters that an encoding lacks, in characters that every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLED.get(c) or _code(c) for c in lacking), error.end


def _code(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")


def _discard_output() -> None:
    """Nothing more is written at the end of the process, where it would fail once more."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
