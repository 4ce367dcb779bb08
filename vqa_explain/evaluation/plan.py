"""What an evaluation is to compute, as plain values with a hash: the same plan is the same work."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.models.base import Model

FORMAT = 1
SHARD = 20  # examples: a minute or less of work, which is all that a kill can cost


@dataclass(frozen=True)
class Plan:
    """Everything that the results depend on.

    Attributes:
        model, model_fingerprint: its name, and a hash of its weights.
        data, data_fingerprint: the data set's name, and a hash of its content as far as that can be had at once.
        limit: how many of the first examples are taken; `None` for all.
        methods, metrics: as `registry.read` takes them.
        regions, words, image_fill, text_fill: of the players, and of the game that metrics are over.
        seed: of whatever draws.
        keep: what else is kept: "explanations".
        shard: how many examples go into one file.
    """

    model: str
    model_fingerprint: str
    data: str
    data_fingerprint: str
    limit: int | None
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    regions: Any = None
    words: Any = None
    image_fill: str | None = None
    text_fill: str | None = None
    seed: int = 0
    keep: tuple[str, ...] = ()
    shard: int = SHARD

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, ensure_ascii=False)

    def differences(self, other: "Plan") -> list[str]:
        """One line for every field in which the other plan differs."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return [f"{name}: {here!r} there, {now!r} now" for name, here, now in pairs if here != now]


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        InvalidInput: it is damaged, or from a newer version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or int(data.pop("format")) > FORMAT:
            raise InvalidInput(f"plan {str(path)!r} is from a newer version of vqa_explain; upgrade to read it")
        lists = {k: tuple(data[k]) for k in ("methods", "metrics", "keep")}
        regions = data.get("regions")
        return Plan(**{**data, **lists, "regions": tuple(regions) if isinstance(regions, list) else regions})
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"plan {str(path)!r} is damaged ({error}); evaluate into another folder") from error


def model_fingerprint(model: Model) -> str:
    """A hash of the model's family, answers and weights."""
    digest = hashlib.sha256(json.dumps([model.family, model.kind, model.labels]).encode())
    for name, tensor in sorted(model.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def data_fingerprint(dataset: Any) -> str:
    """The data set's own `fingerprint`, or a hash of its examples: all of a list's, else the first 64 and how many."""
    own = getattr(dataset, "fingerprint", None)
    if isinstance(own, str):
        return own
    whole = isinstance(dataset, list | tuple)
    digest = hashlib.sha256(b"" if whole else repr(type(dataset)).encode())
    if hasattr(dataset, "__dataclass_fields__"):
        digest.update(repr(dataset).encode())
    if hasattr(dataset, "__len__"):
        digest.update(str(len(dataset)).encode())
    for example in dataset if whole else islice(iter(dataset), 64):
        image = example.image
        seen: Any = str(image)
        if isinstance(image, np.ndarray) or hasattr(image, "tobytes"):
            seen = hashlib.sha256(image.tobytes()).hexdigest()
        digest.update(repr([seen, example.question, example.answer, example.answers, example.decisive]).encode())
    return digest.hexdigest()[:16]


def data_name(dataset: Iterable[Example]) -> str:
    """What tables call a data set that was not named."""
    name = getattr(dataset, "name", None)
    split = getattr(dataset, "split", None)
    base = name if isinstance(name, str) else type(dataset).__name__.lower()
    return f"{base}:{split}" if split else base
