"""`Report`: what a run found, as tables, a gallery and a page."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from vqa_explain.evaluation.gallery import Gallery, Shown
from vqa_explain.evaluation.page import write_page
from vqa_explain.evaluation.results import Results, plain
from vqa_explain.evaluation.viewing import open_run, write_viewer
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.files import path_of
from vqa_explain.models.base import Model
from vqa_explain.viewer.runs import OpenedRun


class Report(Results):
    """The results of a run's finished shards.

    Args:
        folder: what `evaluate` wrote.

    Raises:
        InvalidInput: the folder holds no evaluation, or none that this version can read.
    """

    @cached_property
    def _gallery(self) -> Gallery:
        return Gallery(self)

    def notes(self) -> list[str]:
        """What a reader must know: what was skipped and why, and what failed."""
        found = self.measuring_notes()
        failures = self._gallery.failures
        if failures:
            found.append(
                f"{len(failures)} of the examples to look at could not be explained again; the "
                f"first: {next(iter(failures.values()))}"
            )
        elif self._gallery.unwritten():
            found.append(
                "the run has not ended, or its best and worst examples could not be explained; "
                "give its command again"
            )
        return found

    def gallery(self) -> list[Shown]:
        """The examples to look at: right for the wrong reason, best and worst."""
        return self._gallery.chosen()

    def write_gallery(self, model: Model, dataset: Iterable[Example]) -> None:
        """Explains the gallery's examples again, with the run's seed.

        The explanations are kept in the run's folder.
        """
        self._gallery.write(model, dataset)

    def shown(self) -> list[tuple[Shown, Explanation]]:
        """The gallery's examples whose explanations were kept."""
        return self._gallery.explained()

    def to_html(self, path: str | Path) -> Path:
        """Writes one page that needs no network.

        Its examples are linked with the page that `to_viewer` wrote as `viewer.html` in the same
        folder, if it is of the same results.
        """
        return write_page(self, self.notes(), self.shown(), path_of(path))

    def to_viewer(self, path: str | Path) -> Path:
        """Writes one page with the viewer that needs no network: a table of all examples with
        their metrics, and the explanations of the gallery.
        """
        explained = {shown.index: why for shown, why in self.shown()}
        return write_viewer(self, explained, path_of(path))

    def opened(self, model: Model | None, dataset: Iterable[Example] | None) -> OpenedRun:
        """The run as `vqa_explain.Viewer` opens it; its plan names what is `None`.

        Raises:
            InvalidInput: the plan's model or data set cannot be loaded by its name.
        """
        return open_run(self, model, dataset)

    def to_json(self) -> dict[str, Any]:
        """Plan, tables and notes as plain values; NaN becomes `None`."""
        emap = self.emap()
        found = {
            "plan": json.loads(self.plan.to_json()),
            "hash": self.plan.hash,
            "examples": self.count,
            "failed": len(self.errors()),
            "summary": self.summary().to_dict("records"),
            "differences_from_random": {
                text: {method: asdict(one) for method, one in self.differences(text).items()}
                for text, metric in self.metrics.items()
                if metric.judges == "explanation"
            },
            "emap": None if emap is None else {**asdict(emap), "gap": emap.gap},
            "costs": self.costs().to_dict("records"),
            "notes": self.notes(),
        }
        return plain(found)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return (
            f"Report of {self.plan.model!r} on {self.plan.data!r}: {self.count} examples in "
            f"{str(self.folder)!r}"
        )
