"""The command `vqa-explain evidence`."""

from pathlib import Path

from vqa_explain import registry
from vqa_explain.errors import unknown
from vqa_explain.shell.evaluation import Json, load_settings
from vqa_explain.shell.one_example import Inputs, Repeated, Settings, check_folder, tell

SETTINGS = ("image_fill", "text_fill", "most", "precision", "draws", "budget")


def evidence(
    image: Path | None = None,
    question: str | None = None,
    *,
    input_: Inputs = None,
    messages: Path | None = None,
    model: str = "scenes",
    into: str | None = None,
    answer: Repeated = None,
    regions: str | None = None,
    words: str | None = None,
    columns: str | None = None,
    players: Repeated = None,
    seed: int = 0,
    set_: Settings = None,
    load: Repeated = None,
    out: Path | None = None,
    json_: Json = False,
) -> None:
    """Find the smallest sets of words and regions that keep an answer, or flip it.

    Args:
        image: a picture; leave it out with --input or --messages.
        question: the question; leave it out for a classifier.
        input_: an input as name=value, as `explain` takes it; may be repeated.
        messages: a chat as a .json file, in the format of transformers.
        model: a shipped model, a hub id or a folder.
        into: also find what must be absent for this answer, by its text or label number.
        answer: a candidate of a model that writes its answers; may be repeated.
        regions: how the picture is divided: 7, 6x8 or slic:50; by default the model's own grid.
        words: how texts are divided: words, tokens or ngrams:2.
        columns: which columns of a table are one player, such as height+weight.
        players: an input, or kind of input, whose parts are players; may be repeated.
        seed: for what is drawn.
        set_: a setting as name=value; may be repeated: image_fill, text_fill, most, precision,
            draws, budget.
        load: how the model is loaded, as name=value.
        out: write a figure, such as evidence.png, or a page, such as evidence.html.
    """
    settings = registry.values(set_ or [], "--set")
    strange = next((name for name in settings if name not in SETTINGS), None)
    if strange is not None:
        raise unknown("setting of evidence:", strange, SETTINGS)
    check_folder(out)

    from vqa_explain.explaining import text_or_number
    from vqa_explain.models.loading import load as load_model
    from vqa_explain.searching import evidence as find
    from vqa_explain.shell.inputs import column_groups, example_of

    example = example_of(image, question, input_ or [], messages)
    loaded = load_model(model, **load_settings(load))
    found = find(
        loaded,
        example,
        into=text_or_number(loaded, into),
        answers=answer,
        regions=regions,
        words=words,
        columns=column_groups(columns),
        players=players,
        seed=seed,
        **settings,
    )
    if out is not None:
        if out.suffix.lower() in (".html", ".htm"):
            found.to_html(out)
        else:
            found.plot(out)
    tell(found, out, json_)
