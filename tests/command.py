"""The command `vqa-explain` called in the tests' own process, which has loaded what it needs."""

import contextlib
import io
import sys
from subprocess import CompletedProcess
from typing import Any
from unittest import mock

from vqa_explain.shell import app


def command(*arguments: Any) -> CompletedProcess[str]:
    """What the command writes and how it ends."""
    line = ["vqa-explain", *map(str, arguments)]
    written, told, code = io.StringIO(), io.StringIO(), 0
    streams = contextlib.redirect_stdout(written), contextlib.redirect_stderr(told)
    with mock.patch.object(sys, "argv", line), streams[0], streams[1]:
        try:
            app.main()
        except SystemExit as end:
            code = int(end.code or 0)
    return CompletedProcess(line, code, written.getvalue(), told.getvalue())
