"""How far an evaluation is, told on the error stream."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vqa_explain.evaluation.tally import Told
from vqa_explain.shell import terminal

_PARTS = 20  # lines that a run of known length writes where nobody watches
_EVERY = 20  # examples, where the length is not known


def _errors_told(count: int) -> str:
    """How many examples had an error, which may be of one method among several that worked."""
    return {0: "no errors", 1: "1 with an error"}.get(count, f"{count:,} with errors")


def found_before(done: int, total: int | None) -> str:
    """What a resumed run found, in one line."""
    of_all = "" if total is None else f" of {total:,}"
    return f"{done:,}{of_all} examples are finished from before; going on with the others"


class Lines:
    """A line now and then, with the time that is left.

    Args:
        write: takes a line.
        clock: gives seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._write, self._clock = write, clock
        self._began: float | None = None
        self._found = self._part = 0

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        """Takes what `evaluate` tells."""
        now = self._clock()
        part = done // _EVERY if not total else done * _PARTS // total
        if self._began is None:
            self._began, self._found, self._part = now, done, part
            if done and done != total:
                self._write(found_before(done, total))
            return
        if part == self._part:
            return
        self._part = part
        shown = "?" if total is None else f"{total:,}"
        left = self._left(now - self._began, done, total)
        self._write(f"{done:,} of {shown} examples, {_errors_told(failed)}{left}")

    def _left(self, seconds: float, done: int, total: int | None) -> str:
        judged = done - self._found
        if total is None or judged <= 0 or done >= total:
            return ""
        return f", about {duration(seconds / judged * (total - done))} left"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(8), duration(100), duration(9000)
    ('8 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress() -> Iterator[Told]:
    """A bar with the remaining time on the error stream, when a person is watching;
    else a line now and then.
    """
    console = terminal.console(stderr=True)
    if not console.is_terminal:
        yield Lines(lambda line: print(line, file=sys.stderr), time.monotonic)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]} with an error"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        job, is_first = bar.add_task("evaluating", total=None, failed=0), True

        def tell(done: int, total: int | None, failed: int) -> None:
            nonlocal is_first
            if is_first and done and done != total:
                console.print(found_before(done, total), highlight=False, markup=False)
            if is_first:  # what was there before says nothing of the speed
                bar.reset(job, completed=done, total=total)
            is_first = False
            bar.update(job, completed=done, total=total, failed=failed)

        yield tell
