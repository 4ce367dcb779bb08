"""`evaluate`: a model and explanation methods over a data set, resumable."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from vqa_explain import registry
from vqa_explain.cost import Requests
from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.evaluation.behavior import behavior_stamps
from vqa_explain.evaluation.jobs import (
    Done,
    Job,
    Resumed,
    Workshop,
    can_be_indexed,
    example_jobs,
    grid_jobs,
)
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.local_engine import default_workers, run_here, run_in_processes
from vqa_explain.evaluation.plan import (
    PICTURES,
    SHARD,
    Plan,
    data_fingerprint,
    data_name,
    model_fingerprint,
)
from vqa_explain.evaluation.report import Report
from vqa_explain.evaluation.resuming import grid_stamp, resume, resume_grid
from vqa_explain.evaluation.shards import EXAMPLES
from vqa_explain.evaluation.stamps import code_stamps, versions
from vqa_explain.evaluation.store import Store
from vqa_explain.examples import Example, is_readable
from vqa_explain.explaining import (
    DEFAULT_METHOD,
    DEFAULT_PARAMETERS,
    check_divisions,
    explain,
    usual_division,
)
from vqa_explain.methods import METHODS
from vqa_explain.methods.base import Method, check_support
from vqa_explain.metrics import read_metric
from vqa_explain.metrics.additive import Emap
from vqa_explain.metrics.answers import WITHOUT, hidden_by
from vqa_explain.metrics.base import (
    ALL,
    PLAYERS_THAT_NEED,
    Metric,
    held_by_example,
    held_by_model,
    lacking,
)
from vqa_explain.models.base import Asking, Model, has_open_inputs
from vqa_explain.models.families import FAMILIES

ENGINES = ("local", "ray")
KEPT = ("explanations",)
# What is asked unless told otherwise: is the answer right, does it need both modalities, does the
# score follow the explanation, and does the explanation lie where it should.
DEFAULT_METRICS = (
    "accuracy",
    "accuracy_without_image",
    "accuracy_without_question",
    "text_share",
    "deletion",
    "insertion",
    "comprehensiveness",
    "sufficiency",
    "relevance_mass",
    "word_mass",
)
LOOKED_AT = 20  # examples that are asked whether they have what the metrics need


def evaluate(
    model: Model,
    dataset: Iterable[Example],
    methods: Iterable[Any] | None = None,
    metrics: Iterable[Any] | None = None,
    out: str | Path = "evaluation",
    *,
    limit: int | None = None,
    regions: Any = None,
    words: Any = None,
    image_fill: str | None = None,
    text_fill: str | None = None,
    seed: int = 0,
    keep: Iterable[str] = (),
    max_errors: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    shard: int = SHARD,
    name: str | None = None,
    pictures: str = "time",
    progress: Callable[[int, int | None, int], None] | None = None,
) -> Report:
    """How good are the answers, which modality do they need, how faithful and well placed are the
    explanations?

    Finished shards are kept in `out`, and the same call again does only what is missing; the tables
    of a run that was interrupted are those of one that was not, bit for bit. What changed since a
    shard was written is named in the log and computed again, and nothing else: rows and their
    pictures, the code of a method, a metric or the model, what the model does with fixed pictures
    and questions, and the versions of the packages. A random explanation is judged beside the
    methods.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples that can be read again: a list, what `load_dataset` gives, any such
            iterable.
        methods, metrics: names, texts such as "shapley:budget=500", or (name, parameters).
        out: the run's folder.
        limit: how many examples, from the first.
        regions, words: how pictures and questions are divided, as for `explain`, one way for all
            examples. Where no method is named, pictures are divided into "segments", as `explain`
            does.
        image_fill, text_fill: what absent players become in the metrics' game; the model's own by
            default.
        seed: for whatever draws.
        keep: "explanations" writes each to a file.
        max_errors: more failed examples than these end the run; by default they are only counted.
        engine: "local" or "ray".
        workers: processes; by default one for each core, and one for a model on an accelerator.
        address: of a Ray cluster.
        shard: examples in a file.
        name: what the data set is called.
        pictures: what picture files are known by when a run is resumed: "time" (path, size and time
            of change), or "content", which reads every file.
        progress: called with (examples done, in all or `None`, failed).

    Raises:
        InvalidInput: a name, parameter or folder cannot be used; the folder belongs to another plan
            or run; no metric can be computed; too many examples fail.
        Unsupported: a method cannot explain the model.
    """
    for what, asked_for in (("methods", methods), ("metrics", metrics)):
        if isinstance(asked_for, str):
            raise InvalidInput(f"{what} are a list; write {what}=[{asked_for!r}]")
    check_divisions(model, regions, words)
    judged = [read_metric(one) for one in (metrics if metrics is not None else DEFAULT_METRICS)]
    for metric in judged:
        _check_players(metric, model)
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    for one in keep:
        if one not in KEPT:
            raise unknown("thing to keep", one, KEPT)
    if pictures not in PICTURES:
        raise unknown("way to know pictures", pictures, PICTURES)
    for what, number in (("limit", limit), ("workers", workers), ("shard", shard)):
        if number is not None and number < 1:
            raise InvalidInput(f"{what} must be at least 1, not {number}")
    dataset = _readable_again(dataset)
    wanted = methods
    if wanted is None:
        wanted = [(DEFAULT_METHOD, DEFAULT_PARAMETERS)]
        regions = usual_division(model) if regions is None else regions
    asked = [_method(one, model, dataset) for one in wanted]
    _check_metrics(model, dataset, judged)
    plan = Plan(
        model.name,
        model_fingerprint(model),
        name or data_name(dataset),
        data_fingerprint(dataset),
        limit,
        _texts("method", asked),
        _texts("metric", judged),
        regions,
        words,
        image_fill,
        text_fill,
        seed,
        tuple(keep),
        shard,
        pictures,
        versions(),
        {
            **behavior_stamps(model, dataset),
            **code_stamps(model, _by_text(asked), _by_text(judged)),
        },
        _said_before(model, judged, text_fill),
    )
    store = Store(Path(out))
    store.begin(plan)
    with store.locked(), ExitStack() as told:
        resumed = resume(store, plan, dataset)
        store.write_plan(plan)
        told.enter_context(_announced(model, dataset, plan, judged))
        workshop = Workshop(model, plan, dataset if can_be_indexed(dataset) else None)
        jobs = _jobs(model, dataset, plan, store, judged, resumed)
        if engine == "ray":
            from vqa_explain.evaluation.ray_engine import run_on_ray

            done = run_on_ray(workshop, jobs, workers, address)
        else:
            # What a model behind an interface waits for is no work of this machine, and one process
            # counts its requests.
            alone = 1 if isinstance(model, Asking) else default_workers(model.device.type)
            count = workers or alone
            done = (
                run_here(workshop, jobs) if count == 1 else run_in_processes(workshop, jobs, count)
            )
        _collect(done, store, plan, _total(dataset, plan), max_errors, progress)
        report = Report(store.folder)
        report.write_gallery(model, dataset)
    return report


def _method(asked: Any, model: Model, dataset: Iterable[Example]) -> Method:
    method = cast(Method, registry.read("method", METHODS, asked))
    check_support(method, model)
    if model.family in FAMILIES and method.name in FAMILIES[model.family].refuses:
        # It is tried, since it depends on the network's layers, and says why it cannot.
        explain(model, next(iter(dataset)), method=method.name, **registry.parameters_of(method))
    return method


def _texts(kind: str, things: list[Any]) -> tuple[str, ...]:
    texts = tuple(registry.text_of(thing) for thing in things)
    for text in texts:
        if texts.count(text) > 1:
            raise InvalidInput(f"{kind} {text!r} is asked for twice; leave one out")
    return texts


def _check_players(metric: Metric, model: Model) -> None:
    """Refuses a metric over players of an input that the model surely has not, before anything is
    computed.

    Raises:
        InvalidInput: its `players` names no input.
    """
    called = getattr(metric, "players", ALL)
    if called in (ALL, *PLAYERS_THAT_NEED) or has_open_inputs(model):
        return
    known = {call for feature in model.features for call in (feature.name, feature.kind)}
    if called not in known:
        names = [ALL, *(feature.name for feature in model.features)]
        raise unknown(f"input in players of metric {registry.text_of(metric)!r}:", called, names)


def _readable_again(dataset: Any) -> Iterable[Example]:
    if not isinstance(dataset, Iterable) or isinstance(dataset, str | bytes | dict):
        raise InvalidInput(f"a data set is a sequence of Examples, not {type(dataset).__name__}")
    if isinstance(dataset, Iterator):
        raise InvalidInput(
            "a generator can be read only once, so a run could not be resumed; give a list, or an "
            "object whose __iter__ begins anew"
        )
    first = next(iter(dataset), None)
    if first is None:
        raise InvalidInput("the data set is empty; there is nothing to evaluate")
    if not isinstance(first, Example):
        raise InvalidInput(
            "a data set is a sequence of Examples; its first item is of type "
            f"{type(first).__name__}"
        )
    return dataset


def _check_metrics(model: Model, dataset: Iterable[Example], metrics: list[Metric]) -> None:
    """Raises where no metric means anything for the first examples."""
    if not metrics:
        raise InvalidInput("no metric is asked for; see `vqa-explain metrics`")
    looked_at = islice(iter(dataset), LOOKED_AT)
    # What a row that cannot be read has is not known.
    first = [held_by_example(e) for e in looked_at if is_readable(e)]
    if not first:
        return
    held = {key: any(one[key] for one in first) for key in first[0]} | held_by_model(model)
    why_not = {registry.text_of(metric): lacking(metric, held) for metric in metrics}
    if all(why_not.values()):
        told = "; ".join(f"{text}: {why}" for text, why in why_not.items())
        raise InvalidInput(f"none of the metrics can be computed ({told}); ask for others")


def _said_before(model: Model, metrics: list[Metric], text_fill: str | None) -> dict[str, str]:
    """Metric → what a reader must know of it before any example is judged."""
    found = {}
    for metric in metrics:
        text = registry.text_of(metric)
        if isinstance(metric, WITHOUT):
            found[text] = hidden_by(metric, model, text_fill)
        elif metric.judges == "data set" and (lacks := lacking(metric, held_by_model(model))):
            found[text] = f"left out, since {lacks}"
    return found


def _by_text(things: list[Any]) -> dict[str, Any]:
    return {registry.text_of(thing): thing for thing in things}


def _jobs(
    model: Model,
    dataset: Iterable[Example],
    plan: Plan,
    store: Store,
    metrics: list[Metric],
    resumed: Resumed,
) -> Iterator[Job]:
    parts: list[Iterator[Job]] = []
    if any(metric.judges != "data set" for metric in metrics):
        parts.append(example_jobs(dataset, plan, resumed))
    for metric in metrics:
        if isinstance(metric, Emap) and not lacking(metric, held_by_model(model)):
            stamp = grid_stamp(dataset, plan, metric.count)
            parts.append(
                grid_jobs(dataset, plan, metric.count, resume_grid(store, plan, stamp), stamp)
            )
    return chain(*parts)


def _announced(
    model: Model, dataset: Iterable[Example], plan: Plan, metrics: list[Metric]
) -> AbstractContextManager[None]:
    """Where a model is to say what work costs, says it of the whole run, by its first example.

    What is finished or kept costs nothing, and is counted all the same.
    """
    if not (isinstance(model, Asking) and model.announces):
        return nullcontext()
    twin = model.rehearsal()
    Judge(twin, plan)(0, next(iter(dataset)))
    total = _total(dataset, plan)
    found: Requests = twin.spent() * (total or 1)
    for metric in metrics:
        if isinstance(metric, Emap):
            pairs = min(metric.count, total or metric.count) ** 2
            found += Requests(pairs)
    work = (
        "each example of the run"
        if total is None
        else f"a run over {total:,} examples like the first"
    )
    return model.announced(found, work)


def _total(dataset: Any, plan: Plan) -> int | None:
    if not hasattr(dataset, "__len__"):
        return plan.limit
    return len(dataset) if plan.limit is None else min(plan.limit, len(dataset))


def _collect(
    done: Iterator[Done],
    store: Store,
    plan: Plan,
    total: int | None,
    max_errors: int | None,
    progress: Any,
) -> None:
    """Writes each shard as it comes."""
    before = len(store.finished(EXAMPLES, plan)) * plan.shard
    count, failed = min(before, total or before), 0
    for one in done:
        store.write_shard(one.kind, one.number, one.content, one.kept)
        count, failed = count + one.examples, failed + len(one.errors)
        if progress:
            progress(count, total, failed)
        if max_errors is not None and failed > max_errors:
            raise InvalidInput(
                f"{failed} examples failed, above {max_errors}; the last: {one.errors[-1]}; mend "
                "it, or allow more (max_errors)"
            )
