"""One thread that works while a person looks.

Jobs have names: the latest of a name wins, and any can be cancelled.
"""

import atexit
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_LOG = logging.getLogger("vqa_explain")


class Cancelled(BaseException):
    """Raised inside a job to end it; not an `Exception`, so that nobody takes it for a failure."""


IsCancelled = Callable[[], bool]
Job = Callable[[IsCancelled], None]  # given a question: "am I cancelled?"


def raising(is_over: IsCancelled) -> Callable[[], None]:
    """A call that ends the job it is made in, once nobody waits for it."""

    def check() -> None:
        if is_over():
            raise Cancelled

    return check


@dataclass
class _Running:
    """A job at work; `stop` asks it to end."""

    name: str
    stop: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Runs jobs one after another, in a thread that starts with the first and ends with the last.

    Whatever a job raises ends that job alone.

    Args:
        failed: told what a job raised, in the worker's thread.
    """

    def __init__(self, failed: Callable[[BaseException], None] = lambda _: None) -> None:
        self._lock = threading.Condition()
        self._failed = failed
        # Ordered by turn. Ten thousand jobs are put one by one, so each put takes constant time.
        self._waiting: OrderedDict[str, Job] = OrderedDict()
        self._urgent: OrderedDict[str, Job] = OrderedDict()
        # Several where urgent jobs run in the midst of another.
        self._running: list[_Running] = []
        self._thread: threading.Thread | None = None

    def put(self, name: str, job: Job, first: bool = False) -> None:
        """Adds a job, in place of one of that name that waits; one that runs is cancelled."""
        with self._lock:
            self._waiting.pop(name, None)
            self._stop(name)
            self._waiting[name] = job
            if first:
                self._waiting.move_to_end(name, last=False)
            self._start()

    def put_urgent(self, name: str, job: Job) -> None:
        """Adds a short job that need not wait for the end of the one that runs: see
        `let_urgent_go_first`. It takes the place of one of that name.
        """
        with self._lock:
            self._urgent.pop(name, None)
            self._stop(name)
            self._urgent[name] = job
            self._start()

    def let_urgent_go_first(self) -> None:
        """Called by a job where it can be left for a while: urgent jobs run now."""
        while True:
            with self._lock:
                if not self._urgent:
                    return
                name, job = self._urgent.popitem(last=False)
                running = _Running(name)
                self._running.append(running)
            self._run(job, running)

    def cancel(self, name: str) -> bool:
        """Drops the job of that name, or asks it to end; whether it was dropped before it began."""
        with self._lock:
            dropped = self._waiting.pop(name, None) or self._urgent.pop(name, None)
            self._stop(name)
            return dropped is not None

    def clear(self) -> None:
        """Cancels everything."""
        with self._lock:
            self._waiting.clear()
            self._urgent.clear()
            for one in self._running:
                one.stop.set()

    def is_at_work(self) -> bool:
        """Whether a job runs now."""
        with self._lock:
            return bool(self._running)

    def is_waiting(self, name: str) -> bool:
        """Whether a job of that name has not begun."""
        with self._lock:
            return name in self._waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing runs or waits; whether that is so.

        In a job itself it gives False at once, since that job would wait for its own end.
        """
        if threading.current_thread() is self._thread:
            return False
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout)

    def _stop(self, name: str) -> None:
        """Asks what runs under that name to end."""
        for one in self._running:
            if one.name == name:
                one.stop.set()

    def _start(self) -> None:
        # A forked process has no thread of its parent's.
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._work, name="vqa_explain viewer", daemon=True)
        # A thread inside torch when Python ends aborts the process.
        atexit.register(self._leave)
        self._thread.start()

    def _leave(self) -> None:
        self.clear()
        self.wait(10)

    def _work(self) -> None:
        while True:
            self.let_urgent_go_first()
            with self._lock:
                if self._urgent:  # one has come in between
                    continue
                if not self._waiting:
                    self._thread = None
                    self._lock.notify_all()
                    atexit.unregister(self._leave)
                    return
                name, job = self._waiting.popitem(last=False)
                running = _Running(name)
                self._running.append(running)
            self._run(job, running)

    def _run(self, job: Job, running: _Running) -> None:
        """Runs one job. If its error ended the thread, nothing that waits would be computed."""
        try:
            job(running.stop.is_set)
        except Cancelled:
            pass  # asked for, and told by the job itself
        except BaseException as error:  # a data set that leaves by `sys.exit`, for example
            _LOG.exception("a job of the viewer failed; the next ones go on")
            self._tell(error)
        finally:
            with self._lock:
                self._running.remove(running)

    def _tell(self, error: BaseException) -> None:
        try:
            self._failed(error)
        except Exception:
            _LOG.exception("the failure of a job could not be told")
