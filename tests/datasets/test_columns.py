"""Public data sets by their field mappings, on small local copies in the same schema;
tables of one's own.
"""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

import vqa_explain as vx
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def parquet(
    folder: Path,
    rows: list[dict[str, Any]],
    split: str,
    config: str | None = None,
    image: str = "image",
) -> dict[str, Any]:
    """A folder in the hub's layout."""
    table = datasets.Dataset.from_list(rows)
    if image in table.column_names:
        table = table.cast_column(image, datasets.Image())
    place = folder / (config or "data")
    place.mkdir(parents=True, exist_ok=True)
    table.to_parquet(place / f"{split}-00000-of-00001.parquet")
    return {
        "config_name": config or "default",
        "data_files": [{"split": split, "path": f"{config or 'data'}/{split}-*"}],
    }


def card(folder: Path, configs: list[dict[str, Any]]) -> None:
    import yaml

    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def test_vqav2(tmp_path: Path) -> None:
    people = ["red"] * 7 + ["dark red"] * 3
    row = {
        "question_type": "what color", "multiple_choice_answer": "red", "image_id": 5, "answer_type": "other",
        "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(people)],
        "question_id": 77, "question": "What color?", "image": Image.fromarray(PICTURE),
    }  # fmt: skip
    card(tmp_path, [parquet(tmp_path, [row], "validation")])
    (example,) = vx.load_dataset("vqav2", source=tmp_path)
    assert (example.question, example.answer, example.id, example.family) == (
        "What color?",
        "red",
        "77",
        "other",
    )
    assert example.answers == tuple(people)
    np.testing.assert_array_equal(np.asarray(example.image), PICTURE)


@pytest.mark.parametrize(
    ("name", "split", "kind"),
    [("ok-vqa", "val2014", "question_type"), ("vizwiz", "val", "category")],
)
def test_answers_of_several_people_alone(tmp_path: Path, name: str, split: str, kind: str) -> None:
    row = {
        "question_id": "q1",
        "image": Image.fromarray(PICTURE),
        "question": "Why?",
        "answers": ["a", "b"],
        kind: "k",
    }
    card(tmp_path, [parquet(tmp_path, [row], split)])
    (example,) = vx.load_dataset(name, source=tmp_path)
    assert (example.answer, example.answers, example.family, example.id) == (
        None,
        ("a", "b"),
        "k",
        "q1",
    )


def test_gqa_joins_its_pictures(tmp_path: Path) -> None:
    rows = [
        {
            "id": "1",
            "imageId": "n2",
            "question": "Is it?",
            "answer": "yes",
            "types": {"structural": "verify"},
        },
        {
            "id": "2",
            "imageId": "n1",
            "question": "What?",
            "answer": "cup",
            "types": {"structural": "query"},
        },
    ]
    pictures = [{"id": f"n{i}", "image": Image.fromarray(PICTURE + np.uint8(i))} for i in (1, 2)]
    configs = [
        parquet(tmp_path, rows, "testdev", "testdev_balanced_instructions"),
        parquet(tmp_path, pictures, "testdev", "testdev_balanced_images"),
    ]
    card(tmp_path, configs)
    found = list(vx.load_dataset("gqa", source=tmp_path))
    assert [e.family for e in found] == ["verify", "query"]
    np.testing.assert_array_equal(np.asarray(found[0].image), PICTURE + np.uint8(2))
    np.testing.assert_array_equal(np.asarray(found[1].image), PICTURE + np.uint8(1))


def test_clevr_in_its_release(tmp_path: Path) -> None:
    (tmp_path / "questions").mkdir()
    (tmp_path / "images" / "val").mkdir(parents=True)
    Image.fromarray(PICTURE).save(tmp_path / "images" / "val" / "CLEVR_val_000000.png")
    row = {"image_filename": "CLEVR_val_000000.png", "question": "How many?", "answer": "3",
           "question_index": 9, "question_family_index": 4}  # fmt: skip
    path = tmp_path / "questions" / "CLEVR_val_questions.json"
    path.write_text(json.dumps({"info": {"split": "val"}, "questions": [row]}))
    data = vx.load_dataset("clevr", source=tmp_path)
    (example,) = data
    assert (example.answer, example.id, example.family) == ("3", "9", "4")
    assert example.image == tmp_path / "images" / "val" / "CLEVR_val_000000.png"
    assert len(list(data)) == 1
    with pytest.raises(vx.InvalidInput, match="give its folder as source"):
        vx.load_dataset("clevr")
    with pytest.raises(vx.InvalidInput, match="has no file"):
        vx.load_dataset("clevr:test", source=tmp_path)


ROWS = [
    {
        "image": "a.png",
        "question": "What?",
        "answer": "cup",
        "mask": "m.png",
        "decisive": [[0, 4]],
        "family": "f",
    }
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    mask = np.zeros((6, 8), np.uint8)
    mask[2:4, 1:5] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    return tmp_path


def written(folder: Path, kind: str) -> Any:
    path = folder / f"rows.{kind}"
    if kind == "csv":
        flat = [{**row, "decisive": json.dumps(row["decisive"])} for row in ROWS]
        datasets.Dataset.from_list(flat).to_csv(path)
    elif kind == "parquet":
        datasets.Dataset.from_list(ROWS).to_parquet(path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_folder_with_a_table_of_ones_own(folder: Path, kind: str) -> None:
    written(folder, kind)
    data = vx.load_dataset(folder)
    (example,) = data
    assert (example.question, example.answer, example.family) == ("What?", "cup", "f")
    assert example.image == folder / "a.png"
    assert example.truth.sum() == 8
    assert example.truth[2:4, 1:5].all()
    assert example.decisive == ((0, 4),)
    before = data.fingerprint
    path = next(folder.glob("rows.*"))
    path.write_bytes(path.read_bytes().replace(b"What", b"Who?"))
    assert vx.load_dataset(folder).fingerprint != before


def test_boxes_are_true_regions(folder: Path) -> None:
    row = {"image": "a.png", "question": "What?", "boxes": [[1, 2, 5, 4], [0, 0, 1, 1]]}
    (folder / "rows.jsonl").write_text(json.dumps(row))
    (example,) = vx.load_dataset(folder / "rows.jsonl")
    assert example.truth.sum() == 9


def test_columns_by_other_names(folder: Path) -> None:
    (folder / "rows.jsonl").write_text(json.dumps({"file": "a.png", "text": "What?", "n": 3}))
    (example,) = vx.load_dataset(
        folder / "rows.jsonl", fields={"image": "file", "question": "text", "answer": "n"}
    )
    assert (example.question, example.answer) == ("What?", "3")
    with pytest.raises(vx.InvalidInput, match="no column 'image'; there are: file, text, n"):
        vx.load_dataset(folder / "rows.jsonl")
    with pytest.raises(
        vx.InvalidInput, match="no column 'words' for the question; there are: file, text, n"
    ):
        vx.load_dataset(folder / "rows.jsonl", fields={"image": "file", "question": "words"})
    with pytest.raises(vx.InvalidInput, match="did you mean 'question'"):
        vx.load_dataset(folder / "rows.jsonl", fields={"image": "file", "questions": "text"})


def test_what_is_no_data_set_is_said(folder: Path) -> None:
    (folder / "none").mkdir()
    with pytest.raises(vx.InvalidInput, match="must hold one table"):
        vx.load_dataset(folder / "none")
    with pytest.raises(vx.InvalidInput, match="does not exist"):
        vx.load_dataset(folder / "nowhere.csv")
    with pytest.raises(vx.InvalidInput, match="is no table"):
        vx.load_dataset(folder / "a.png")
    with pytest.raises(vx.InvalidInput, match="did you mean 'vqav2'"):
        vx.load_dataset("vqa2")
    with pytest.raises(vx.InvalidInput, match="does not exist"):
        vx.load_dataset("vqav2", source=folder / "nowhere")


def test_a_row_that_cannot_be_read_is_counted_and_the_others_go_on(
    folder: Path, linear: ClassifierModel, picture: np.ndarray
) -> None:
    Image.fromarray(picture).save(folder / "a.png")
    rows = [{"image": "a.png"}, {"image": "a.png", "decisive": "0-4"}, {"image": "a.png", "mask": "no.png"},
            {"image": "a.png", "decisive": "[[0, 1e999]]"}]  # fmt: skip
    (folder / "rows.jsonl").write_text(
        "\n".join(json.dumps({"answer": "a", **row}) for row in rows)
    )
    data = vx.load_dataset(folder / "rows.jsonl")
    report = vx.evaluate(linear, data, [], ["accuracy"], folder / "run", workers=1)
    assert report.interval("accuracy", "").count == 1
    wrong = report.errors().set_index("index")["note"]
    assert "row 1 of data set 'rows' cannot be read: column 'decisive'" in wrong[1]
    assert "no.png' does not exist" in wrong[2]
    assert "column 'decisive' holds '[0, 1e999]'; write spans of characters" in wrong[3]
    with pytest.raises(
        vx.InvalidInput, match=r"row 1 of data set 'rows' cannot be read: .* names the word '0-4'"
    ):
        vx.explain(linear, list(data)[1], method="saliency")


@pytest.mark.slow
def test_a_table_can_be_evaluated(folder: Path, scenes_model: ViltModel, tmp_path: Path) -> None:
    example = vx.load_dataset("scenes:test")[0]
    Image.fromarray(example.image).save(folder / "a.png")
    Image.fromarray((example.truth * 255).astype(np.uint8)).save(folder / "m.png")
    (folder / "rows.jsonl").write_text(
        json.dumps(
            {
                "image": "a.png",
                "mask": "m.png",
                "question": example.question,
                "answer": example.answer,
            }
        )
    )
    report = vx.evaluate(
        scenes_model,
        vx.load_dataset(folder),
        ["saliency"],
        ["accuracy", "relevance_mass"],
        folder / "run",
        workers=1,
    )
    assert report.interval("accuracy", "").mean == 1.0
    assert report.interval("relevance_mass", "saliency").count == 1
