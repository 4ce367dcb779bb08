"""The command `vqa-explain layers`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vqa_explain.errors import InvalidInput
from vqa_explain.shell import terminal
from vqa_explain.shell.evaluation import Json, load_settings


def layers(
    image: Path | None = None,
    question: str | None = None,
    *,
    input_: Annotated[list[str] | None, Parameter(name="--input", negative=())] = None,
    messages: Path | None = None,
    model: str = "scenes",
    target: str | None = None,
    contrast: str | None = None,
    score: str | None = None,
    answer: Annotated[list[str] | None, Parameter(negative=())] = None,
    block: Annotated[list[str] | None, Parameter(negative=())] = None,
    steps: int = 32,
    load: Annotated[list[str] | None, Parameter(negative=())] = None,
    out: Path | None = None,
    json_: Json = False,
) -> None:
    """Show what each block of a network does to an answer, and what it would answer from there.

    Args:
        image: a picture; leave it out with --input or --messages.
        question: the question; leave it out for a classifier.
        input_: an input as name=value, as `explain` takes it; may be repeated.
        messages: a chat as a .json file, in the format of transformers.
        model: a shipped model, a hub id or a folder.
        target: the answer to follow, by its text or label number; by default the predicted one.
        contrast: follow the target's lead over this answer.
        score: logit, log_probability or probability.
        answer: a candidate of a model that writes its answers; may be repeated.
        block: the path of a block; may be repeated, in order. By default the model's own.
        steps: between the baseline and the example.
        load: how the model is loaded, as name=value.
        out: write the table (.csv) or a figure, such as layers.png.
    """
    if out is not None and not out.parent.is_dir():
        raise InvalidInput(f"the folder {str(out.parent)!r} of --out does not exist; make it first")

    from vqa_explain.explaining import text_or_number
    from vqa_explain.inside.layers import layers as look_inside
    from vqa_explain.models.loading import load as load_model
    from vqa_explain.shell.inputs import example_of

    example = example_of(image, question, input_ or [], messages)
    loaded = load_model(model, **load_settings(load))
    found = look_inside(
        loaded,
        example,
        target=text_or_number(loaded, target),
        contrast=text_or_number(loaded, contrast),
        score=score,
        answers=answer,
        blocks=block,
        steps=steps,
    )
    if out is not None and out.suffix == ".csv":
        found.to_csv(out)
    elif out is not None:
        found.plot(out)
    if json_:
        print(json.dumps(found.summary()))
        return
    console = terminal.console()
    console.print(repr(found), highlight=False, markup=False)
    if out is not None:
        console.print(f"Written: {out}", highlight=False, markup=False)
