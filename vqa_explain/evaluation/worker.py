"""A worker process: it does jobs one by one, and ends when the process that started it ends.

Only the standard library is imported before the first sign of life, since torch takes seconds.
"""

import ctypes
import mmap
import os
import pickle
import queue
import signal
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

BEAT = 1.0  # seconds between two signs of life
# What a worker says: it is alive, its job begins, one more example of it is judged (and whether it
# failed), a job is done or raised an error.
ALIVE, BEGUN, JUDGED, DONE, RAISED = "alive", "begun", "judged", "done", "raised"
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def work(channel: int, workshop: int, parent: int) -> None:
    """Does jobs until the parent's end of the channel is closed.

    Args:
        channel: the file descriptor of a socket, on which jobs come and results go.
        workshop: that of a file with the pickled `Workshop`.
        parent: the process that started this one.
    """
    _end_with(parent)
    connection, lock = Connection(channel), threading.Lock()

    def say(*message: Any) -> None:
        content = _pickled(message)
        with lock:
            connection.send_bytes(content)

    coming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for task in (partial(_read, connection, coming), partial(_beat, say)):
        threading.Thread(target=task, daemon=True).start()
    import cloudpickle

    try:
        do = cloudpickle.loads(mmap.mmap(workshop, 0, access=mmap.ACCESS_READ))
    except Exception as error:  # of any kind: classes of the user's own are imported here
        say(RAISED, error)
        return
    while True:
        job = cloudpickle.loads(coming.get())
        say(BEGUN)
        try:
            say(DONE, do(job, partial(say, JUDGED)))
        except Exception as error:  # of any kind, since it ends the run and not only this process
            say(RAISED, error)


def _end_with(parent: int) -> None:
    """The system ends this process with the thread that started it, even where it is stopped or
    at work; that thread waits for it as long as it lives.

    Elsewhere than on Linux the closed channel ends it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _read(connection: Connection, coming: "queue.SimpleQueue[bytes]") -> None:
    """Takes jobs at once, so that a parent that sends a large one need not wait."""
    while True:
        try:
            coming.put(connection.recv_bytes())
        except (EOFError, OSError):  # the parent is gone
            os._exit(1)


def _beat(say: Any) -> None:
    """Gives a sign of life now and then."""
    waiting = threading.Event()
    while True:
        try:
            say(ALIVE)
        except OSError:  # the parent is gone
            os._exit(1)
        waiting.wait(BEAT)


def _pickled(message: tuple[Any, ...]) -> bytes:
    """The message; an error that cannot be read elsewhere is told in words."""
    try:
        content = pickle.dumps(message)
        if message[0] == RAISED:
            pickle.loads(content)
    except Exception as error:
        told = message[1] if message[0] == RAISED else error
        return pickle.dumps((RAISED, RuntimeError(f"{type(told).__name__}: {told}")))
    return content
