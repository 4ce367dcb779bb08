"""What an evaluation is to compute, as plain values with a hash: the same plan is the same work."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from vqa_explain._fields import WrongField, check, read_dataclass
from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.divided import DIVIDED, divided
from vqa_explain.examples import Example
from vqa_explain.files import check_is_file
from vqa_explain.models.base import Model
from vqa_explain.models.weights import bits

FORMAT = 3
# Fields that may change between two calls of a run.
CHANGING = (
    "data_fingerprint",
    "versions",
    "code",
    "hiding",
)
LATER = ("columns", "players", "fills")  # fields that plans of before do not have
MOST_OF_A_SHARD = 1_000_000  # examples
PICTURES = ("time", "content")  # what a picture file is known by: its size and time, or its bytes
SHARD = 20  # examples: a minute or less of work, which is all that a kill can cost


@dataclass(frozen=True)
class Plan:
    """Everything that the results depend on.

    What is asked for makes the plan's hash: another plan needs another folder. Data, code and
    versions may change in between; then what depends on them is computed again (see `resuming`).

    Attributes:
        model, model_fingerprint: its name, and a hash of its weights.
        data, data_fingerprint: the data set's name, and its own fingerprint if it has one; each
            shard knows its rows.
        limit: how many of the first examples are taken; `None` for all.
        methods, metrics: as `registry.read` takes them.
        regions, words, columns: how inputs are divided, as `plain` gives it; see `divided`.
        players: the inputs that have players; `None` where the model says it.
        image_fill, text_fill, fills: what absent players become in the game that metrics are over.
        seed: of what draws at random.
        keep: what else is kept: "explanations".
        shard: how many examples go into one file.
        pictures: what picture files are known by: "time" (path, size and time of change) or
            "content".
        versions: package → version.
        code: "package", "model", "given", "method …" and "metric …" → a hash (see `stamps`);
            "pictures", "questions", "answers" and "absence" → what the model does (see `behavior`).
        hiding: metric → what stands for the modality that it takes away, or why nothing is measured
            at all.
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
    columns: Any = None
    players: tuple[str, ...] | None = None
    image_fill: str | None = None
    text_fill: str | None = None
    fills: dict[str, str] | None = None
    seed: int = 0
    keep: tuple[str, ...] = ()
    shard: int = SHARD
    pictures: str = "time"
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    hiding: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in CHANGING}
        for name in LATER:  # a plan of before them is the same plan
            if asked[name] is None:
                del asked[name]
        text = json.dumps({"format": FORMAT, **asked}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def divided(self) -> dict[str, Any]:
        """How inputs are divided and which have players, as `explain` takes it."""
        found = {name: divided(getattr(self, name)) for name in DIVIDED}
        return {**found, "players": self.players}

    def to_json(self) -> str:
        return json.dumps(
            {"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True, ensure_ascii=False
        )

    def differences(self, other: "Plan") -> list[str]:
        """One line for everything that was asked for and that the other plan asks for
        differently.
        """
        asked = [f.name for f in fields(self) if f.name not in CHANGING]
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in asked]
        return [f"{name}: {here!r} there, {now!r} now" for name, here, now in pairs if here != now]


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        InvalidInput: it is damaged, or from a newer version.
    """
    try:
        check_is_file(path)
        data = json.loads(path.read_text(encoding="utf-8"))
        check(isinstance(data, dict), "it holds no mapping")
        written = data.pop("format")
        check(type(written) is int, "its format is no whole number")
        if written > FORMAT:
            raise InvalidInput(
                f"plan {str(path)!r} is from a newer version of vqa_explain; upgrade to read it"
            )
        if written < FORMAT:
            raise InvalidInput(
                f"plan {str(path)!r} is from an older version of vqa_explain, which did not note "
                "what results depend on; evaluate into another folder"
            )
        plan = read_dataclass(Plan, data)
        _check(plan)
        return plan
    except (OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"plan {str(path)!r} is damaged ({error}); evaluate into another folder"
        ) from error


def _check(plan: Plan) -> None:
    """Refuses what no evaluation plans.

    Raises:
        WrongField: a number is out of its range, or a division is none.
    """
    check(plan.limit is None or plan.limit >= 1, "limit is below 1")
    check(1 <= plan.shard <= MOST_OF_A_SHARD, f"shard is {plan.shard}")
    check(plan.pictures in PICTURES, f"pictures are known by {plan.pictures!r}")
    check(set(plan.keep) <= {"explanations"}, f"keep is {plan.keep}")
    for name in DIVIDED:
        try:
            divided(getattr(plan, name))
        except ValueError as error:
            raise WrongField(f"{name} are no division: {error}") from error


def model_fingerprint(model: Model) -> str:
    """A hash of the model's family, answers, weights and buffers,
    those that are never saved too.
    """
    digest = hashlib.sha256(json.dumps([model.family, model.kind, model.labels]).encode())
    state = {**dict(model.module.named_buffers()), **model.module.state_dict()}
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(value: Any) -> bytes:
    """The numbers of an entry of a network's state,
    which quantized layers pack with their scales.
    """
    if isinstance(value, tuple | list):
        return b"".join(_bytes(one) for one in value)
    if not isinstance(value, torch.Tensor):
        return repr(value).encode()
    scales = repr(value).encode() if value.is_quantized else b""
    result: bytes = bits(value).tobytes() + scales
    return result


def data_fingerprint(dataset: Any) -> str:
    """The data set's own `fingerprint`, or ""."""
    own = getattr(dataset, "fingerprint", "")
    return own if isinstance(own, str) else ""


def data_name(dataset: Iterable[Example]) -> str:
    """What tables call a data set that was not named."""
    name = getattr(dataset, "name", None)
    split = getattr(dataset, "split", None)
    base = name if isinstance(name, str) else type(dataset).__name__.lower()
    return f"{base}:{split}" if split else base
