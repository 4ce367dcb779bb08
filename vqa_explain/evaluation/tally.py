"""How far a run is, told at every example."""

from collections import Counter
from collections.abc import Callable

from vqa_explain.evaluation.jobs import Done, Job

Told = Callable[[int, int | None, int], None]


class Tally:
    """Counts examples as they are judged, also those of shards that are not finished.

    Args:
        found: examples that an earlier call finished.
        total: examples in all, where that is known.
        tell: called with (examples done, in all or `None`, failed), first before any work.
    """

    def __init__(self, found: int, total: int | None, tell: Told | None) -> None:
        self.total = total
        self._finished, self._failed, self._tell = found, 0, tell
        # By shard, of those that are not finished.
        self._judged: Counter[int] = Counter()
        self._failing: Counter[int] = Counter()
        self._say()

    @property
    def done(self) -> int:
        """Examples that are judged."""
        return self._finished + self._judged.total()

    @property
    def failed(self) -> int:
        """Examples with an error."""
        return self._failed + self._failing.total()

    @property
    def left(self) -> int | None:
        """Examples that are not judged yet, where that is known."""
        return None if self.total is None else max(0, self.total - self.done)

    def judged(self, job: Job, failed: bool) -> None:
        """One more example of the job is judged, perhaps with an error."""
        self._judged[job.number] += 1
        self._failing[job.number] += failed
        self._say()

    def lost(self, job: Job) -> None:
        """The job begins anew."""
        if job.of_examples:
            self._forget(job.number)

    def finished(self, done: Done) -> None:
        """A job is done and written."""
        if not done.examples:
            return
        told = self.done, self.failed
        self._forget(done.number)
        self._finished += done.examples
        self._failed += len(done.errors)
        if (self.done, self.failed) != told:  # an engine that tells no single examples
            self._say()

    def _forget(self, number: int) -> None:
        self._judged.pop(number, None)
        self._failing.pop(number, None)

    def _say(self) -> None:
        if self._tell is not None:
            self._tell(self.done, self.total, self.failed)
