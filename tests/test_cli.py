"""The shell: what it prints, writes and exits with, and the demo."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import command
from PIL import Image

from vqa_explain.datasets.scenes import FAMILIES, make
from vqa_explain.shell import demo
from vqa_explain.shell.inputs import column_groups, example_of


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "scene.png"
    Image.fromarray(make("test", 1).image).save(path)
    return path


@pytest.mark.slow
def test_demo_writes_a_page_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer questions of each kind; `.ci/run` runs the whole."""
    monkeypatch.setattr(demo, "THINGS", ("vertical", "color"))
    monkeypatch.setattr(demo, "FAMILIES", FAMILIES[:2])
    monkeypatch.setattr(demo, "EASY", 1)
    done = command("demo", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "Why these answers?" in done.stdout
    assert len(list((tmp_path / "demo").glob("*.vqax"))) == 9
    page = (tmp_path / "demo" / "index.html").read_text()
    held = json.loads(page.split('id="explanations">')[1].split("</script>")[0])
    assert len(held) == 9
    assert any(e["contrast"] for e in held)
    told = " ".join(done.stdout.split())
    assert re.search(r"pairs beyond 2 standard errors", told)
    assert re.search(r"alone keeps? “.+” in [\d.]+% of surroundings", told)


@pytest.mark.slow
def test_explain_prints_json_and_writes_what_is_asked(picture: Path, tmp_path: Path) -> None:
    for name in ("a.vqax", "a.html", "a.png"):
        done = command(
            "explain",
            picture,
            "What color is the circle?",
            "--method",
            "shapley",
            "--budget",
            "300",
            "--set",
            "estimator=permutation",
            "--regions",
            "4",
            "--words",
            "ngrams:2",
            "--seed",
            "3",
            "--json",
            "--out",
            tmp_path / name,
        )
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        assert summary["parameters"]["estimator"] == "permutation"
        image, question = summary["parts"]
        assert len(image["regions"]) == 16
        assert question["words"][0]["text"] == "What color"
        assert summary["provenance"]["seed"] == 3
        assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "none.png", "What?"], "does not exist"),
        (["explain", "{picture}", ""], "question is empty"),
        (["explain", "{picture}", "What?", "--method", "shaply"], "did you mean 'shapley'"),
        (["explain", "{picture}", "What?", "--budget", "many"], "budget"),
        (["explain", "{picture}", "What?", "--out", "a.gif"], "must end in"),
        (["explain", "{picture}", "What?", "--set", "estimator"], "name=value"),
        (["explain"], "in one way"),
        (["explain", "{picture}", "What?", "--input", "question=Why?"], "in one way"),
        (["explain", "--input", "question"], "must be name=value"),
        (["explain", "--input", "a=x", "--input", "a=y"], "names 'a' twice"),
        (["explain", "--input", "image=none.png"], "does not exist"),
        (["explain", "--input", "row=none.json"], "cannot be read"),
        (["explain", "--messages", "none.json"], "cannot be read"),
        (["explain", "--messages", "{picture}"], "cannot be read"),
        (["explain", "{picture}", "What?", "--columns", "a++b"], "must name columns"),
        (["explain", "{picture}", "What?", "--players", "sound"], "sound"),
        (["methods", "nothing_like_it"], "unknown method"),
        (["frobnicate"], "frobnicate"),
    ],
)
@pytest.mark.slow
def test_a_users_mistake_is_one_line_and_exit_code_2(
    picture: Path, arguments: list[str], message: str
) -> None:
    done = command(*[a.format(picture=picture) for a in arguments])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_inputs_are_given_by_name_and_fixed_where_they_are_no_players(picture: Path) -> None:
    """The same answer and values as of a picture and a question."""
    own = ("--method", "leave_one_out", "--regions", "3", "--json")
    usual = json.loads(command("explain", picture, "What color is the circle?", *own).stdout)
    named = ("--input", f"image={picture}", "--input", "question=What color is the circle?")
    done = command("explain", *named, *own, "--players", "question")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [part["fixed"] for part in found["parts"]] == [True, False]
    values = [[w["value"] for w in one["parts"][1]["words"]] for one in (found, usual)]
    assert values[0] == pytest.approx(values[1], abs=1e-4)
    printed = command(
        "explain", *named, "--method", "leave_one_out", "--players", "question"
    ).stdout
    assert "Fixed inputs" in printed
    assert "Strongest regions" not in printed


def test_inputs_are_read_as_people_type_them(picture: Path, tmp_path: Path) -> None:
    row, chat = tmp_path / "row.json", tmp_path / "chat.json"
    row.write_text('{"age": 63}')
    content = [{"type": "image", "image": str(picture)}, {"type": "text", "text": "What?"}]
    chat.write_text(json.dumps([{"role": "user", "content": content}]))
    frames = json.dumps([str(picture), str(picture)])
    typed = [f"a={picture}", f"b={row}", 'c={"x": 1}', f"d={frames}", "e=[sic] a text", "f=x=y"]
    given = example_of(None, None, typed, None).given
    assert [(one.name, one.kind) for one in given] == [
        ("a", "image"), ("b", "table"), ("c", "table"), ("d", "video"), ("e", "text"), ("f", "text"),
    ]  # fmt: skip
    assert [one.value for one in given[1:3]] == [{"age": 63}, {"x": 1}]
    assert [one.value for one in given[4:]] == ["[sic] a text", "x=y"]
    assert [one.name for one in example_of(None, None, [], chat).given] == ["image", "question"]
    assert column_groups("height+weight, age") == [["height", "weight"], ["age"]]


@pytest.mark.slow
def test_methods_and_models_are_listed() -> None:
    listed = json.loads(command("methods", "--json").stdout)
    assert {m["name"] for m in listed} >= {
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "occlusion",
        "leave_one_out",
        "shapley",
    }
    assert all(m["source"] and m["about"] for m in listed)
    shapley = command("methods", "shapley").stdout
    assert "budget" in shapley
    assert "0.0 … 1.0" in shapley
    assert "at least 0.0" in command("methods", "smoothgrad").stdout
    assert "scenes" in json.loads(command("models", "--json").stdout)["shipped"]


def test_importing_the_package_and_asking_for_help_load_no_torch() -> None:
    code = "import sys, vqa_explain, vqa_explain.shell.app; print([m for m in ('torch', 'numpy', 'transformers', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
