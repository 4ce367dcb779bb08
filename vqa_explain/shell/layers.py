"""The command `vqa-explain layers`."""

from pathlib import Path

from vqa_explain.shell.evaluation import Json, load_settings
from vqa_explain.shell.one_example import Inputs, Repeated, check_folder, tell


def layers(
    image: Path | None = None,
    question: str | None = None,
    *,
    input_: Inputs = None,
    messages: Path | None = None,
    model: str = "scenes",
    target: str | None = None,
    contrast: str | None = None,
    score: str | None = None,
    answer: Repeated = None,
    block: Repeated = None,
    steps: int = 32,
    load: Repeated = None,
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
    check_folder(out)

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
    tell(found, out, json_)
