"""Networks of one's own over pictures, texts and tables of any number, against closed forms,
shap and autograd.
"""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shap
import torch
from conftest import ToTensor
from custom_net import IMAGE, VOCABULARY, custom, network
from torch import Tensor, nn

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart

ROW = {"age": 40, "smokes": True}
WORDS = {"<pad>": 0, "<unk>": 1, "old": 2, "new": 3, "big": 4, "red": 5}


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Product(nn.Module):
    """3 · age + 2 · smokes + age · (the sum of the picture's top left quarter), in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([3.0, 2.0]))

    def forward(self, pixels: Tensor, row: Tensor) -> Tensor:
        quarter = pixels[:, :, :4, :4].sum(dim=(1, 2, 3))
        score = row @ self.weights + row[:, 0] * quarter
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def product(**table: Any) -> vx.CustomModel:
    settings = {"baseline": {"age": 10, "smokes": 0}, **table}
    inputs: Any = {
        "photo": vx.Image(ToTensor()),
        "patient": vx.Table(["age", "smokes"], **settings),
    }
    return vx.CustomModel(Product(), inputs=inputs, labels=["ill", "well"], device="cpu")


def example(picture: np.ndarray, row: Any = None) -> vx.Example:
    return vx.Example.of({"photo": picture, "patient": ROW if row is None else row})


@pytest.mark.parametrize("method", ["shapley", "owen"])
def test_shapley_values_of_a_product_of_a_column_and_a_region(
    method: str, picture: np.ndarray
) -> None:
    """The product is shared: the region by the mean of the two ages,
    the column by half of the change of age.
    """
    why = vx.explain(
        product(),
        example(picture),
        method=method,
        target="ill",
        regions=2,
        fills={"photo": "constant"},
        budget=500,
    )
    quarter = picture[:4, :4].astype(float).sum() / 255
    photo, patient = why.parts
    np.testing.assert_allclose(photo.values, [25 * quarter, 0, 0, 0], rtol=1e-4, atol=1e-3)
    expected = [3 * 30 + 15 * quarter, 2]
    np.testing.assert_allclose(patient.values, expected, rtol=1e-4, atol=1e-3)
    assert [one.text for one in patient.players] == ["age = 40", "smokes = True"]
    assert set(why.share) == {"photo", "patient"}


def test_gradients_reach_columns(picture: np.ndarray) -> None:
    why = vx.explain(
        product(), example(picture), method="input_x_gradient", target="ill", regions=2
    )
    quarter = picture[:4, :4].astype(float).sum() / 255
    np.testing.assert_allclose(why.parts[1].values, [40 * (3 + quarter), 2], rtol=1e-5)
    np.testing.assert_allclose(why.parts[0].values, [40 * quarter, 0, 0, 0], rtol=1e-5, atol=1e-3)


def test_columns_may_be_one_player_and_players_may_be_columns_alone(picture: np.ndarray) -> None:
    settings: dict[str, Any] = {"method": "shapley", "target": "ill", "players": "patient"}
    why = vx.explain(product(), example(picture), columns=[["age", "smokes"]], **settings)
    quarter = picture[:4, :4].astype(float).sum() / 255
    assert why.parts[1].values == pytest.approx([3 * 30 + 2 + 30 * quarter], rel=1e-5)
    assert why.parts[0].fixed


class Layers(nn.Module):
    """A small network over four numbers, like scikit-learn's MLPClassifier."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, row: Tensor) -> Tensor:
        found: Tensor = self.body(row)
        return found


COLUMNS = ["a", "b", "c", "d"]
BACKGROUND = np.random.default_rng(4).normal(size=(6, 4)).round(2)
VALUES = dict(zip(COLUMNS, (0.5, -1.5, 2.0, 1.0), strict=True))


def table_model(**table: Any) -> vx.CustomModel:
    inputs = {"row": vx.Table(COLUMNS, **table)}
    return vx.CustomModel(Layers(), inputs=inputs, labels=["x", "y", "z"], device="cpu")


def told(model: vx.CustomModel, **settings: Any) -> np.ndarray:
    why = vx.explain(model, vx.Example.of({"row": VALUES}), target="y", **settings)
    return np.array(why.parts[0].values)


def by_shap(background: np.ndarray) -> np.ndarray:
    """(4,) shap's own Shapley values of answer "y",
    absent columns being the background's one row.
    """
    net = Layers().eval()

    def scores(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = net(torch.tensor(rows, dtype=torch.float32))[:, 1].numpy()
        return found

    explainer = shap.explainers.Exact(scores, shap.maskers.Independent(background))
    found: np.ndarray = explainer(np.array([list(VALUES.values())])).values[0]
    return found


@pytest.mark.slow
def test_a_table_alone_has_the_shapley_values_of_shap() -> None:
    np.testing.assert_allclose(
        told(table_model(baseline=0), method="shapley"), by_shap(np.zeros((1, 4))), atol=1e-5
    )
    frame = pd.DataFrame(BACKGROUND, columns=COLUMNS).assign(answer="x")
    model = table_model(background=frame)
    assert model.features[0].fills == ("mean", "background")
    mean = BACKGROUND.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(told(model, method="shapley"), by_shap(mean), atol=1e-5)


@pytest.mark.slow  # shap compiles
def test_a_drawn_row_is_one_of_the_background_set_and_the_same_for_a_seed() -> None:
    model = table_model(background=pd.DataFrame(BACKGROUND, columns=COLUMNS))
    settings: dict[str, Any] = {"method": "shapley", "fills": {"row": "background"}}
    rows = [by_shap(one[None]) for one in BACKGROUND]
    drawn = set()
    for seed in range(8):
        found = told(model, seed=seed, **settings)
        np.testing.assert_array_equal(found, told(model, seed=seed, **settings))
        near = [number for number, one in enumerate(rows) if np.allclose(found, one, atol=1e-5)]
        assert len(near) == 1
        drawn.update(near)
    assert len(drawn) > 2


def test_a_row_may_be_a_series_of_numpy_numbers() -> None:
    model = table_model(baseline=0)
    series = pd.Series(VALUES)
    why = vx.explain(model, vx.Example.of({"row": series}), method="saliency", target="y")
    assert why.parts[0].values == list(told(model, method="saliency"))


def test_categories_are_their_places_and_the_mean_of_them_is_the_most_frequent() -> None:
    class Plain(nn.Module):
        def forward(self, row: Tensor) -> Tensor:
            return torch.cat([row, -row], dim=1)

    background = [{"size": size} for size in ("L", "S", "L", "M")]
    inputs = {
        "shirt": vx.Table(["size"], background=background, categories={"size": ["S", "M", "L"]})
    }
    model = vx.CustomModel(Plain(), inputs=inputs, labels=["up", "down"], device="cpu")
    encoded = model.encode(vx.Example.of({"shirt": {"size": "M"}}))
    assert model.leaves(encoded)["shirt"].tolist() == [[1.0]]
    assert model.baselines(encoded, {"shirt": "mean"}, 0)["shirt"].tolist() == [[2.0]]


def test_a_missing_value_may_be_a_category_and_rows_may_come_one_by_one() -> None:
    nan, known = float("nan"), ["S", float("nan"), "L"]

    class Plain(nn.Module):
        def forward(self, row: Tensor) -> Tensor:
            return torch.cat([row, -row], dim=1)

    table = vx.Table(
        ["size"],
        background=({"size": size} for size in ("L", nan, "L")),
        categories={"size": known},
    )
    model = vx.CustomModel(Plain(), inputs={"shirt": table}, labels=["up", "down"], device="cpu")
    for missing in (nan, np.float64("nan")):
        encoded = model.encode(vx.Example.of({"shirt": {"size": missing}}))
        assert model.leaves(encoded)["shirt"].tolist() == [[1.0]]
        assert model.baselines(encoded, {"shirt": "mean"}, 0)["shirt"].tolist() == [[2.0]]
    for wrong, said in (([1, 1.0], "1.0 twice"), ([[1], [2]], "no single value")):
        with pytest.raises(vx.InvalidInput, match=said):
            vx.Table(["size"], baseline={"size": 1}, categories={"size": wrong})
    vx.Table(["size"], baseline={"size": 1}, categories={"size": [1, True]})
    with pytest.raises(vx.InvalidInput, match="category nan twice"):
        vx.Table(["size"], baseline={"size": "S"}, categories={"size": [*known, nan]})


class TwoPictures(nn.Module):
    """w · first + u · second, of pictures of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(3, 6, 9, generator=generator))
        self.second = nn.Parameter(torch.randn(3, 10, 5, generator=generator))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        score = (self.first * first).sum(dim=(1, 2, 3)) + (self.second * second).sum(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)


def test_two_pictures_of_different_sizes_each_have_their_own_map() -> None:
    net = TwoPictures()
    inputs = {"before": vx.Image(ToTensor()), "after": vx.Image(ToTensor())}
    model = vx.CustomModel(net, inputs=inputs, labels=["x", "y"], device="cpu", check=False)
    before, after = random_picture(6, 9), random_picture(10, 5, 1)
    why = vx.explain(
        model,
        vx.Example.of({"after": after, "before": before}),  # in any order
        method="integrated_gradients",
        image_baseline="constant",
        target="x",
        regions={"before": 3, "after": (2, 1)},
    )
    for part, weights, picture in zip(why.parts, net.parameters(), (before, after), strict=True):
        pixels = picture.transpose(2, 0, 1) / 255
        expected = (weights.detach().numpy() * pixels).sum(axis=0)
        assert isinstance(part, PicturePart)
        np.testing.assert_allclose(part.image, expected, atol=1e-5)
    assert [len(part.values) for part in why.parts] == [9, 2]
    assert isinstance(part, PicturePart)
    halves = part.image[:5].sum(), part.image[5:].sum()
    np.testing.assert_allclose(why.parts[1].values, halves, atol=1e-5)


def test_two_pictures_pass_the_self_check_and_a_turned_one_fails() -> None:
    class Mean(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return torch.stack([first.mean(dim=(1, 2, 3)), second.mean(dim=(1, 2, 3))], dim=1)

    def inputs(second: Any) -> dict[str, vx.Image]:
        return {"first": vx.Image(ToTensor()), "second": vx.Image(second)}

    vx.CustomModel(Mean(), inputs=inputs(ToTensor()), labels=["x", "y"], device="cpu")

    class Remembers:
        """Gives the first picture that it saw, whatever it is asked for."""

        first: Any = None

        def __call__(self, picture: Any) -> Any:
            if self.first is None:
                self.first = ToTensor()(picture)
            return self.first

    model = vx.CustomModel(Mean(), inputs=inputs(Remembers()), labels=["x", "y"], device="cpu")
    asked = vx.Example.of({"first": random_picture(8, 8), "second": random_picture(9, 9)})
    with pytest.raises(vx.InvalidInput, match="transform"):
        vx.explain(model, asked, method="saliency")


class TwoTexts(nn.Module):
    """Two texts through one embedding, the second asked for first."""

    def __init__(self, together: bool = False) -> None:
        super().__init__()
        self.together = together
        self.words = nn.Embedding(6, 4)
        self.answer = nn.Linear(4, 3)
        generator = torch.Generator().manual_seed(2)
        for p in self.parameters():
            nn.init.normal_(p, generator=generator)

    def forward(self, title: Tensor, body: Tensor) -> Tensor:
        if self.together:
            both = self.words(torch.cat([title, body], dim=1))
            first, second = both[:, : title.shape[1]], both[:, title.shape[1] :]
        else:
            second, first = self.words(body), self.words(title)
        found: Tensor = self.answer(torch.tanh(first).mean(dim=1) * 2 - second.mean(dim=1) ** 3)
        return found


@pytest.mark.parametrize(
    ("title", "body"), [("old big red", "new red"), ("old red", "red new"), ("red red", "red red")]
)
def test_texts_that_share_an_embedding_are_told_apart(title: str, body: str) -> None:
    net = TwoTexts().eval()
    inputs = {"title": vx.Text(WORDS), "body": vx.Text(WORDS)}
    model = vx.CustomModel(net, inputs=inputs, labels=["x", "y", "z"], device="cpu")
    asked = vx.Example.of({"title": title, "body": body})
    why = vx.explain(model, asked, method="input_x_gradient", target="y")
    leaves = [
        net.words(torch.tensor([[WORDS[word] for word in text.split()]])).detach()
        for text in (title, body)
    ]
    for leaf in leaves:
        leaf.requires_grad_(True)
    score = net.answer(torch.tanh(leaves[0]).mean(dim=1) * 2 - leaves[1].mean(dim=1) ** 3)[0, 1]
    slopes = torch.autograd.grad(score, leaves)
    for part, leaf, slope in zip(why.parts, leaves, slopes, strict=True):
        np.testing.assert_allclose(part.values, (leaf * slope).sum(dim=2)[0].detach(), atol=1e-5)
    with pytest.raises(vx.InvalidInput, match=r"2 inputs|several|title"):
        _ = why.words


def test_texts_that_go_through_the_embedding_as_one_are_refused() -> None:
    inputs = {"title": vx.Text(WORDS), "body": vx.Text(WORDS)}
    net = TwoTexts(together=True)
    model = vx.CustomModel(net, inputs=inputs, labels=["x", "y", "z"], device="cpu")
    with pytest.raises(vx.Unsupported, match="for each of its 2 texts"):
        vx.explain(model, vx.Example.of({"title": "old", "body": "new red"}), method="saliency")


class Mixed(nn.Module):
    """A picture, a text and a row, which no score can tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 2)

    def forward(self, pixels: Tensor, tokens: Tensor, row: Tensor) -> Tensor:
        words: Tensor = self.words(tokens).mean(dim=1)
        return words + row[:, :2] + pixels.mean(dim=(1, 2, 3))[:, None]


def mixed(**settings: Any) -> vx.CustomModel:
    inputs: Any = {
        "photo": vx.Image(ToTensor()),
        "note": vx.Text(WORDS),
        "patient": vx.Table(["age", "sex"], baseline={"age": 0, "sex": "m"}, categories=SEX),
    }
    return vx.CustomModel(
        Mixed(), **{"inputs": inputs, "labels": ["x", "y"], "device": "cpu", **settings}
    )


SEX = {"sex": ["m", "f"]}
GIVEN = {
    "photo": random_picture(8, 8),
    "note": "old red",
    "patient": {"age": 3, "sex": "f"},
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"note": None}, "'note' is missing; give .* a text named 'note'"),
        ({"patient": None}, "'patient' is missing"),
        ({"extra": "more words"}, "no input 'extra' for a text; it takes 'photo'"),
        ({"patient": [40.0, 1.0]}, "takes a row of a table, not a value of type list"),
        ({"note": random_picture(8, 8)}, "'note' .* takes a text, not a picture"),
        ({"photo": "no picture"}, "'photo' .* takes a picture, not a text; .* pathlib.Path"),
        ({"photo": [random_picture(8, 8)] * 2}, "'photo' .* takes a picture, not a video"),
        ({"clip": [random_picture(8, 8)] * 2}, "takes no video"),
        ({"note": {"age": 3}}, "'note' .* takes a text, not a row of a table"),
        ({"patient": {"age": 3}}, "no column 'sex'"),
        ({"patient": {"age": 3, "sex": "f", "agee": 3}}, "unknown column .* 'agee'; did you mean"),
        ({"patient": {"age": "three", "sex": "f"}}, "'age' .* holds 'three', which is no number"),
        ({"patient": {"age": float("nan"), "sex": "f"}}, "'age' .* nan, and must hold a finite"),
        ({"patient": {"age": None, "sex": "f"}}, "'age' .* None, which is no number"),
        ({"patient": {"age": 3, "sex": "x"}}, "unknown category in column 'sex' .* 'x'"),
    ],
)
def test_what_an_example_may_not_give(changed: dict[str, Any], message: str) -> None:
    given = {name: value for name, value in {**GIVEN, **changed}.items() if value is not None}
    with pytest.raises(vx.InvalidInput, match=message):
        vx.explain(mixed(), vx.Example.of(given), method="saliency")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"players": "patients"}, "unknown input in players 'patients'; did you mean 'patient'"),
        ({"columns": ["agee"]}, "unknown column of 'patient' 'agee'; did you mean 'age'"),
        ({"columns": {"patients": ["age"]}}, "unknown input in columns= 'patients'"),
        ({"columns": [["age", "sex"], "age"]}, "'age' is in two groups"),
        ({"fills": {"patient": "mean"}}, "unknown patient fill .* 'mean'"),
    ],
)
def test_what_may_not_be_asked_of_an_example(settings: Any, message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        vx.explain(mixed(), vx.Example.of(GIVEN), method="shapley", **settings)


def test_columns_of_a_model_without_a_table(noise_picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="columns= divides a table"):
        vx.explain(custom(), noise_picture, "what color", method="saliency", columns=["age"])


def test_a_chat_for_a_model_that_takes_none() -> None:
    chat = vx.Example(messages=[{"role": "user", "content": "old red"}])
    with pytest.raises(vx.InvalidInput, match="takes no chat"):
        vx.explain(mixed(), chat, method="saliency")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vx.Table(["age", "age"], baseline=0), "'age' is named twice"),
        (lambda: vx.Table("age", baseline=0), "a list of names"),
        (lambda: vx.Table(["age"]), "nothing says what an absent column holds"),
        (lambda: vx.Table(["age"], baseline="none"), "'age' of the baseline holds 'none'"),
        (lambda: vx.Table(["age", "sex"], baseline={"age": 0}), "the baseline has no column 'sex'"),
        (lambda: vx.Table(["sex"], baseline=0, categories=SEX), "one number is no baseline of it"),
        (lambda: vx.Table(["age"], baseline=0, categories=SEX), "column in categories= 'sex'"),
        (lambda: vx.Table(["age"], background=[]), "has no rows"),
        (lambda: vx.Table(["age"], background=[{"age": "x"}]), "row 0 of the background set"),
        (lambda: vx.Text(3), "must be a vocabulary"),
        (lambda: mixed(inputs={}), "inputs= is a mapping by name"),
        (lambda: mixed(inputs={"photo": ToTensor()}), "must be a vx.Image, vx.Text or vx.Table"),
        (lambda: mixed(image=ToTensor()), "image= has no place beside it"),
        (lambda: mixed(inputs=None), "nothing says what the network takes"),
    ],
)
def test_what_inputs_may_not_be(make: Any, message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        make()


def test_the_short_form_is_the_same_adapter(noise_picture: np.ndarray) -> None:
    inputs: Any = {"image": vx.Image(IMAGE), "question": vx.Text(VOCABULARY)}
    labels = ["yes", "no", "red", "blue"]
    model = vx.CustomModel(network(), inputs=inputs, labels=labels, device="cpu")
    question = "What color is the circle?"
    settings: dict[str, Any] = {"method": "integrated_gradients", "steps": 8}
    one, other = (vx.explain(m, noise_picture, question, **settings) for m in (model, custom()))
    np.testing.assert_array_equal(one.image, other.image)
    assert one.words == other.words


def test_the_only_picture_and_text_take_the_short_form_whatever_they_are_called(
    noise_picture: np.ndarray,
) -> None:
    inputs: Any = {"scan": vx.Image(IMAGE), "note": vx.Text(VOCABULARY)}
    labels = ["yes", "no", "red", "blue"]
    model = vx.CustomModel(network(), inputs=inputs, labels=labels, device="cpu")
    why = vx.explain(model, noise_picture, "what color", method="saliency")
    assert [part.name for part in why.parts] == ["scan", "note"]


def test_a_network_of_one_text(tmp_path: Path) -> None:
    class Bag(nn.Module):
        """The sum of a number for each word: every method that adds up gives it."""

        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(6, 2)
            self.words.weight.data[:, 0] = torch.tensor([0.0, 0.0, 1.0, -2.0, 4.0, 0.5])

        def forward(self, tokens: Tensor) -> Tensor:
            found: Tensor = self.words(tokens).sum(dim=1)
            return found

    model = vx.CustomModel(Bag(), text=WORDS, labels=["good", "bad"], device="cpu")
    for method in ("shapley", "integrated_gradients", "leave_one_out"):
        why = vx.explain(model, question="new big red", method=method, target="good")
        assert [word.value for word in why.words] == pytest.approx([-2.0, 4.0, 0.5], abs=1e-5)
    with pytest.raises(vx.InvalidInput, match="has no input 'image' for a picture"):
        vx.explain(model, random_picture(8, 8), "new big red")
    with pytest.raises(vx.InvalidInput, match="'question' is missing; give a text"):
        vx.explain(model)
    with pytest.raises(vx.Unsupported, match="needs the pixels of a picture"):
        vx.explain(model, question="new big red", method="grad_cam")


def test_a_run_over_rows_of_a_table_resumes_and_redoes_only_a_changed_row(tmp_path: Path) -> None:
    model = table_model(baseline=0)
    rows = [{**VALUES, "a": float(number)} for number in range(3)]

    def run(rows: list[dict[str, float]], out: str) -> Any:
        data = [vx.Example.of({"row": row}, answer="y", id=str(i)) for i, row in enumerate(rows)]
        metrics = ["accuracy", "deletion:players=row", "insertion:players=row", "relevance_mass"]
        return vx.evaluate(model, data, ["shapley"], metrics, tmp_path / out, workers=1, shard=1)

    first = run(rows, "run")
    assert any("the model takes no picture" in note for note in first.notes())
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")}
    again = run(rows, "run")
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert again.notes() == first.notes()
    changed = [rows[0], {**rows[1], "b": 3.0}, rows[2]]
    run(changed, "run")
    redone = [path for path, when in files.items() if path.stat().st_mtime_ns != when]
    assert len(redone) == 1


def test_shapley_values_over_three_kinds_of_input_by_all_orders() -> None:
    """Truth by playing out every order with the network itself."""
    model, net = mixed(), None
    encoded = model.encode(vx.Example.of(GIVEN))
    net = model.module
    why = vx.explain(
        model,
        vx.Example.of(GIVEN),
        method="shapley",
        target="x",
        players=["note", "patient"],
    )
    pixels = encoded["photo"].content.pixels

    def score(present: frozenset[int]) -> float:
        tokens = torch.tensor([[2 if 0 in present else 0, 5 if 1 in present else 0]])
        row = torch.tensor([[3.0 if 2 in present else 0.0, 1.0 if 3 in present else 0.0]])
        with torch.no_grad():
            return float(net(pixels, tokens, row)[0, 0])

    values = np.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            values[player] += score(before | {player}) - score(before)
    values /= len(orders)
    found = [*why.parts[1].values, *why.parts[2].values]
    np.testing.assert_allclose(found, values, atol=1e-5)
