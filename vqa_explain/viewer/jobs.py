"""One thread that works while a person looks.

Jobs have names: the latest of a name wins, and any can be cancelled.
"""

import atexit
import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger("vqa_explain")


class Cancelled(BaseException):
    """Raised inside a job to end it; not an `Exception`, so that nobody takes it for a failure."""


Job = Callable[[Callable[[], bool]], None]  # given a question: "am I cancelled?"


class Worker:
    """Runs jobs one after another, in a thread that starts with the first and ends with the
    last.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._waiting: list[tuple[str, Job]] = []
        self._running: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, name: str, job: Job, first: bool = False) -> None:
        """Adds a job, in place of one of that name that waits; one that runs is cancelled."""
        with self._lock:
            self._waiting = [one for one in self._waiting if one[0] != name]
            if self._running == name:
                self._stop.set()
            self._waiting.insert(0 if first else len(self._waiting), (name, job))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="vqa_explain viewer", daemon=True
                )
                # A thread inside torch when Python ends aborts the process.
                atexit.register(self._leave)
                self._thread.start()

    def cancel(self, name: str) -> bool:
        """Drops the job of that name, or asks it to end; whether it was dropped before it began."""
        with self._lock:
            kept = [one for one in self._waiting if one[0] != name]
            dropped = len(kept) < len(self._waiting)
            self._waiting = kept
            if self._running == name:
                self._stop.set()
            return dropped

    def clear(self) -> None:
        """Cancels everything."""
        with self._lock:
            self._waiting.clear()
            self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing runs or waits; whether that is so."""
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout)

    def _leave(self) -> None:
        self.clear()
        self.wait(10)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    self._lock.notify_all()
                    atexit.unregister(self._leave)
                    return
                self._running, job = self._waiting.pop(0)
                self._stop = stop = threading.Event()
            try:
                job(stop.is_set)
            except Cancelled:
                continue  # asked for, and told by the job itself
            except Exception:
                # An observer's error, for example. If it ended the thread, nothing that waits
                # would ever be computed.
                _LOG.exception("a job of the viewer failed; the next ones go on")
            finally:
                with self._lock:
                    self._running = None
