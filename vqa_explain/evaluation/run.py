"""`evaluate`: a model and explanation methods over a data set, resumable."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vqa_explain import registry
from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain._shown import LARGEST, shown
from vqa_explain.cost import Requests
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.evaluation.behavior import behavior_stamps
from vqa_explain.evaluation.data import ByNumber, Data, first_rows, opened
from vqa_explain.evaluation.divided import plain
from vqa_explain.evaluation.jobs import (
    Done,
    Job,
    Resumed,
    Workshop,
    example_jobs,
    grid_jobs,
)
from vqa_explain.evaluation.judging import Judge, as_judged, wrong_truth
from vqa_explain.evaluation.local_engine import (
    default_workers,
    run_here,
    run_in_processes,
    run_where_it_pays,
)
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
from vqa_explain.evaluation.stamps import code_stamps, versions
from vqa_explain.evaluation.store import Store, check_place
from vqa_explain.evaluation.tally import Tally, Told
from vqa_explain.examples import Example, is_readable
from vqa_explain.explaining import (
    DEFAULT_METHOD,
    DEFAULT_PARAMETERS,
    check_divisions,
    explain,
    usual_division,
)
from vqa_explain.files import path_of
from vqa_explain.methods import METHODS
from vqa_explain.methods.base import Method, asked_fills, check_support
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
from vqa_explain.models.base import Asking, Model, check_fills, has_open_inputs
from vqa_explain.models.families import FAMILIES
from vqa_explain.own_fills import Fill, fills_among, own_fill

if TYPE_CHECKING:
    from vqa_explain.evaluation.ray_data import RemoteRows

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
FIRST = 3  # examples whose parts are looked at before any work
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
    columns: Any = None,
    players: str | Sequence[str] | None = None,
    image_fill: str | None = None,
    text_fill: str | None = None,
    fills: Mapping[str, str] | None = None,
    seed: int = 0,
    keep: Iterable[str] = (),
    max_errors: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    example_timeout: float | None = None,
    shard: int = SHARD,
    name: str | None = None,
    pictures: str = "time",
    progress: Told | None = None,
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
            iterable, or a map-style data set with a length and examples by number. A row by number
            that cannot be read is counted as an error; an iterable that raises an error ends the
            run there, and what was before is kept.
        methods, metrics: names, texts such as "shapley:budget=500", or (name, parameters).
        out: the run's folder.
        limit: how many examples, from the first.
        regions, words, columns: how pictures, texts and tables are divided, as for `explain`, one
            way for all examples: `Masks` and labels belong to one picture, and are refused. Where
            no method is named, pictures are divided into "segments", as `explain` does.
        players: the inputs whose parts are players, as for `explain`.
        image_fill, text_fill: what absent players become in the metrics' game, a `Fill` of your
            own too; the model's own by default.
        fills: the same by input name or kind, such as {"patient": "background"}.
        seed: for what draws at random.
        keep: "explanations" writes each to a file.
        max_errors: more failed examples than these end the run; by default they are only counted.
        engine: "local" or "ray". On Ray, Parquet files and folders of pictures are read by Ray Data
            on the nodes of the cluster, which must all see them.
        workers: processes. By default the run begins in this one, and takes one for each core once
            what is left is worth their start (one for a model on an accelerator). A worker that
            ends, or gives no sign of life for a minute, is replaced. An example at which three
            workers are lost is counted as an error. So is one that fails for want of memory, by
            the system or because an endpoint gives no answer. The next call tries these again; one
            that fails by errors of the system (OSError) is tried by three calls.
        address: of a Ray cluster.
        example_timeout: seconds that one example may take, its reading by number among them. One
            that takes longer is counted as an error, its worker is replaced, and the next call
            tries it again. Then all examples are judged in worker processes, also with workers=1.
            By default there is no limit.
        shard: examples in a file.
        name: what the data set is called.
        pictures: what picture files are known by when a run is resumed: "time" (path, size and time
            of change), or "content", which reads every file.
        progress: called with (examples done, in all or `None`, failed): first before any work, with
            what an earlier call finished, then after each example.

    Raises:
        InvalidInput: a name, parameter or folder cannot be used; the folder belongs to another plan
            or run; no metric can be computed; too many examples fail.
        Unsupported: a method cannot explain the model.
        OutOfMemory: not even one example fits, at the start; later it is that example's error.
    """
    keep = _listed("keep", keep)
    asked_methods = None if methods is None else _listed("methods", methods)
    asked_metrics = DEFAULT_METRICS if metrics is None else _listed("metrics", metrics)
    check_request(
        asked_methods, asked_metrics, out, limit=limit, keep=keep, engine=engine, workers=workers,
        shard=shard, pictures=pictures, seed=seed, max_errors=max_errors,
        example_timeout=example_timeout,
    )  # fmt: skip
    if not isinstance(name, str | None):
        raise InvalidInput(f"name is a text, what the data set is called, not {shown(name)}")
    if not (progress is None or callable(progress)):
        raise InvalidInput(f"progress is a function of three numbers, not {shown(progress)}")
    if not isinstance(fills, Mapping | None):
        raise InvalidInput(
            f"fills= is a mapping such as {{'question': 'mask'}}, not {shown(fills)}"
        )
    limit = None if limit is None else int(limit)
    seed, shard = int(seed), int(shard)
    check_divisions(model, regions, words)
    ways = {"regions": regions, "words": words, "columns": columns}
    ways = {name: plain(name, division) for name, division in ways.items()}
    judged = [read_metric(one) for one in asked_metrics]
    for metric in judged:
        _check_players(metric, model)
    name = name or data_name(dataset)
    fingerprint = data_fingerprint(dataset)
    data = opened(dataset, name, limit)
    wanted = asked_methods
    if wanted is None:
        wanted = [(DEFAULT_METHOD, DEFAULT_PARAMETERS)]
        ways["regions"] = usual_division(model) if regions is None else ways["regions"]
    asked = [_method(one, model, data) for one in wanted]
    of_methods = [value for one in asked for value in registry.parameters_of(one).values()]
    own = fills_among([*of_methods, image_fill, text_fill, fills or {}])
    _check_names(own)
    _check_metrics(model, data, judged)
    plan = Plan(
        model.name,
        model_fingerprint(model),
        name,
        fingerprint,
        limit,
        _texts("method", asked),
        _texts("metric", judged),
        **ways,
        players=_names(players),
        image_fill=_named(image_fill),
        text_fill=_named(text_fill),
        fills=None if fills is None else {str(name): str(fill) for name, fill in fills.items()},
        seed=seed,
        keep=tuple(keep),
        shard=shard,
        pictures=pictures,
        versions=versions(),
        code={
            **behavior_stamps(model, data),
            **code_stamps(
                model,
                _by_text(asked),
                _by_text(judged),
                (image_fill, text_fill, *(fills or {}).values()),
            ),
        },
        hiding=_said_before(model, judged, text_fill),
    )
    store = Store(path_of(out))
    parts = (regions, words, columns, players, fills, image_fill, text_fill)
    if any(one is not None for one in parts) and not store.plan_path.exists():
        _check_parts(model, data, plan)
    with store.opened(plan), ExitStack() as told:
        resumed = resume(store, plan, data)
        store.write_plan(plan)
        told.enter_context(_announced(model, data, plan, judged))
        workshop = Workshop(model, plan, data if isinstance(data, ByNumber) else None, fills=own)
        reading = _read_by_ray(data) if engine == "ray" else None
        jobs = _jobs(model, data, reading or data, plan, store, judged, resumed)
        tally = Tally(resumed.examples, _total(data, plan), progress)
        if engine == "ray":
            from vqa_explain.evaluation.ray_engine import run_on_ray

            done = run_on_ray(workshop, jobs, workers, address, example_timeout, reading)
        else:
            done = _run_locally(workshop, jobs, workers, tally, example_timeout)
        with closing(done):
            _collect(done, store, tally, max_errors)
        report = Report(store.folder)
        report.write_gallery(model, data)
    return report


def _run_locally(
    workshop: Workshop,
    jobs: Iterator[Job],
    workers: int | None,
    tally: Tally,
    timeout: float | None,
) -> Generator[Done, None, None]:
    """As many processes as were asked for; where that is left open, as many as pay.

    Only a process can be ended in the middle of an example, so a limit on its time needs one.
    """
    # What a model behind an interface waits for is no work of this machine, and one process
    # counts its requests.
    is_asking = isinstance(workshop.model, Asking)
    usual = 1 if is_asking else default_workers(workshop.model.device.type)
    if timeout is not None:
        return run_in_processes(workshop, jobs, workers or usual, tally, timeout)
    if (workers or usual) == 1:
        return run_here(workshop, jobs, tally)
    if workers is None:
        return run_where_it_pays(workshop, jobs, usual, tally)
    return run_in_processes(workshop, jobs, workers, tally)


def _listed(what: str, asked: Any) -> list[Any]:
    if isinstance(asked, str):
        raise InvalidInput(f"{what}= is a list; write {what}=[{shown(asked)}]")
    if not isinstance(asked, Iterable) or getattr(asked, "ndim", 1) != 1:
        raise InvalidInput(f"{what}= is a list, not {shown(asked)}")
    return list(asked)


def check_request(
    methods: Iterable[Any] | None,
    metrics: Iterable[Any] | None,
    out: str | Path,
    *,
    limit: int | None = None,
    keep: Sequence[str] = (),
    engine: str = "local",
    workers: int | None = None,
    shard: int = SHARD,
    pictures: str = "time",
    seed: int = 0,
    max_errors: int | None = None,
    example_timeout: float | None = None,
) -> None:
    """Refuses what `evaluate` would refuse whatever the model is, so before one is loaded.

    Args:
        methods, metrics, out, limit, keep, engine, workers, shard, pictures, seed, max_errors,
            example_timeout: as of `evaluate`.

    Raises:
        InvalidInput: a name, parameter or number cannot be used, or the folder cannot be written.
    """
    _texts("method", [registry.read("method", METHODS, one) for one in methods or ()])
    if metrics is not None:
        texts = _texts("metric", [read_metric(one) for one in metrics])
        if not texts:
            raise InvalidInput("no metric is asked for; see `vqa-explain metrics`")
    if not is_one_of(engine, ENGINES):
        raise unknown("engine", engine, ENGINES)
    for one in keep:
        if not is_one_of(one, KEPT):
            raise unknown("thing to keep", one, KEPT)
    if not is_one_of(pictures, PICTURES):
        raise unknown("way to know pictures", pictures, PICTURES)
    checked_whole("shard", shard, 1)
    for what, number in (("limit", limit), ("workers", workers)):
        if number is not None:
            checked_whole(what, number, 1)
    if max_errors is not None:
        checked_whole("max_errors", max_errors, 0)
    if example_timeout is not None:
        _check_seconds(example_timeout)
    checked_seed(seed)
    check_place(path_of(out))


def _check_seconds(timeout: Any) -> None:
    is_number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= LARGEST:
        raise InvalidInput(
            f"example_timeout must be a number of seconds above 0, not {shown(timeout)}"
        )


def _method(asked: Any, model: Model, data: Data) -> Method:
    method = cast(Method, registry.read("method", METHODS, asked))
    check_support(method, model)
    if model.family in FAMILIES and method.name in FAMILIES[model.family].refuses:
        # It is tried, since it depends on the network's layers, and says why it cannot.
        first = as_judged(model, next(iter(data)))
        explain(model, first, method=method.name, **registry.parameters_of(method))
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


def _check_metrics(model: Model, data: Data, metrics: list[Metric]) -> None:
    """Raises where no metric means anything for the first examples."""
    looked_at = first_rows(data, LOOKED_AT)
    # What a row that cannot be read has is not known.
    first = [held_by_example(e) for e in looked_at if is_readable(e) and not wrong_truth(e)]
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


def _check_parts(model: Model, data: Data, plan: Plan) -> None:
    """Refuses divisions, players and fills that none of the first examples has.

    Raises:
        InvalidInput: they name no input, or cannot be used.
    """
    judge, failures = Judge(model, plan), []
    for example in first_rows(data, FIRST):
        try:
            encoded = model.encode(as_judged(model, example))
        except Exception:  # of any kind: it is an error where the example is judged
            continue
        try:
            judge.divided(encoded)
            asked = asked_fills(plan, encoded.inputs).items()
            named = {name: fill for name, fill in asked if fill != registry.AUTO}
            check_fills(model, named, encoded.features)
        except InvalidInput as error:
            failures.append(error)
        else:
            return
    if failures:
        raise failures[0]


def _names(players: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """The inputs that have players, as plans keep them.

    Raises:
        InvalidInput: they are no list of names.
    """
    if not isinstance(players, Iterable | None):
        raise InvalidInput(f"players= names inputs, such as ['question'], not {players!r}")
    if players is None:
        return None
    names = (players,) if isinstance(players, str) else tuple(players)
    if not all(isinstance(one, str) for one in names):
        raise InvalidInput(f"players= names inputs, such as ['question'], not {players!r}")
    return names


def _named(fill: str | None) -> str | None:
    """A fill by its name, as plans keep it."""
    return None if fill is None else str(fill)


def _check_names(fills: Iterable[Fill]) -> None:
    """Refuses fills of the user's own whose name means another one in this run.

    Raises:
        InvalidInput: two fills have one name.
    """
    for fill in fills:
        if own_fill(str(fill)) != fill:
            raise InvalidInput(
                f"two fills are named {str(fill)!r}, and a run knows them by their names; give "
                "each its own: vx.Fill(function, name='my_fill')"
            )


def _by_text(things: list[Any]) -> dict[str, Any]:
    return {registry.text_of(thing): thing for thing in things}


def _read_by_ray(data: Data) -> "RemoteRows | None":
    """The rows of the data set as Ray Data reads them; `None` where it cannot."""
    from vqa_explain.evaluation.ray_data import RemoteRows, reader_of

    reader = reader_of(data.given)
    return None if reader is None else RemoteRows(reader, data.total)


def _jobs(
    model: Model,
    data: Data,
    rows: Iterable[Any],
    plan: Plan,
    store: Store,
    metrics: list[Metric],
    resumed: Resumed,
) -> Iterator[Job]:
    parts: list[Iterator[Job]] = []
    if any(metric.judges != "data set" for metric in metrics):
        parts.append(example_jobs(rows, plan, resumed))
    for metric in metrics:
        if isinstance(metric, Emap) and not lacking(metric, held_by_model(model)):
            stamp = grid_stamp(data, plan, metric.count)
            parts.append(
                grid_jobs(data, plan, metric.count, resume_grid(store, plan, stamp), stamp)
            )
    return chain(*parts)


def _announced(
    model: Model, data: Data, plan: Plan, metrics: list[Metric]
) -> AbstractContextManager[None]:
    """Where a model is to say what work costs, says it of the whole run, by its first example.

    What is finished or kept costs nothing, and is counted all the same.
    """
    if not (isinstance(model, Asking) and model.announces):
        return nullcontext()
    twin = model.rehearsal()
    Judge(twin, plan)(0, next(iter(data)))
    total = _total(data, plan)
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


def _total(data: Data, plan: Plan) -> int | None:
    if data.total is None:
        return plan.limit
    return data.total if plan.limit is None else min(plan.limit, data.total)


def _collect(done: Iterator[Done], store: Store, tally: Tally, max_errors: int | None) -> None:
    """Writes each shard as it comes."""
    for one in done:
        store.write_shard(one.kind, one.number, one.content, one.kept)
        tally.finished(one)
        if max_errors is not None and tally.failed > max_errors:
            raise InvalidInput(
                f"{tally.failed} examples failed, above {max_errors}; the last: "
                f"{one.errors[-1]}; mend it, or allow more (max_errors)"
            )
