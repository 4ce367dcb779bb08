"""`load_dataset`: examples by name."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from vqa_explain.datasets.columns import FILES, SCHEMAS, open_file, open_schema
from vqa_explain.datasets.easy_vqa import EasyVQA
from vqa_explain.datasets.everyday.dataset import Everyday
from vqa_explain.datasets.folder import PictureFolder, holds_pictures
from vqa_explain.datasets.scenes import Scenes
from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.examples import Example

SHIPPED = {"everyday": Everyday, "scenes": Scenes, "easy-vqa": EasyVQA}
DATASETS = (*SHIPPED, *SCHEMAS)


class Dataset(Protocol):
    """Examples that can be read again and again;
    those that ship have a length and can be indexed too.
    """

    def __iter__(self) -> Iterator[Example]: ...


def load_dataset(
    name: str | Path,
    split: str | None = None,
    *,
    source: str | Path | None = None,
    fields: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Any:
    """The examples of a data set.

    Args:
        name: "everyday", "scenes" or "easy-vqa", which ship; "vqav2", "ok-vqa", "vizwiz", "gqa"
            from the hub,
            "clevr" from its official release; any of them with a split, as in "scenes:validation";
            or the path of a table of one's own (CSV, JSON, Parquet), or of a folder that holds one:
            see `columns.open_file`; or of a folder of pictures, for image classifiers, where the
            folder that each is in may name its answer: see `folder.PictureFolder`.
        split: the split, where the name does not say it, such as "test". Tables of one's own have
            none.
        source: a folder with a public data set's files, in place of the hub.
        fields: for a table of one's own: field of an Example → column.
        inputs: likewise, for inputs of any number and kind: input name → column of pictures' paths
            or texts, or a list of columns that are a table's row, such as {"scan": "file",
            "patient": ["age", "sex"]}.

    Raises:
        InvalidInput: no data set, split, file or column of that name.
    """
    text = str(name)
    base, _, named = text.partition(":")
    if base in (*SHIPPED, *SCHEMAS):
        if inputs is not None:
            raise InvalidInput(f"data set {base!r} has inputs of its own; leave inputs= out")
        if named and split not in (None, named):
            raise InvalidInput(
                f"data set {text!r} names the split {named!r}, and split= is {split!r}; give one "
                "of them"
            )
        chosen = named or split or ""
        if fields is not None:
            raise InvalidInput(f"data set {base!r} has columns of its own; leave fields= out")
        if base in SHIPPED and source is not None:
            raise InvalidInput(f"data set {base!r} ships with the package; leave source= out")
        if base in SHIPPED:
            return SHIPPED[base](chosen or "test")
        return open_schema(base, chosen, None if source is None else Path(source))
    path = Path(text)
    if os.path.exists(path):  # false, too, for names that are too long
        if split is not None:
            raise InvalidInput(
                f"table {text!r} has no splits; leave split= out, or give a table of the rows that "
                "you want"
            )
        if path.is_dir() and holds_pictures(path, frozenset(FILES)):
            if fields is not None or inputs is not None:
                raise InvalidInput(
                    f"folder {text!r} holds pictures and no table; leave fields= and inputs= out"
                )
            return PictureFolder.opened(path)
        return open_file(path, fields, inputs)
    if path.suffix or "/" in text:
        what = "data set" if path.suffix else "folder"
        raise InvalidInput(
            f"{what} {text!r} does not exist; check the path, or choose one of: "
            f"{', '.join(DATASETS)}"
        )
    raise InvalidInput(
        f"{unknown('data set', base, DATASETS)}; there is no file or folder of that name either"
    )
