"""A kind of input that the package does not know: everything works on it, with no change to the
package.

The kind is a signal in time. What it takes is in this file: the feature, its part, a function to
draw it, and a model that reads signals.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import comb
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.text import Text
from rich.console import Console
from torch import Tensor, nn

import vqa_explain as vx
from vqa_explain import showing
from vqa_explain.examples import Example
from vqa_explain.features.base import Division, Feature, Found, Present
from vqa_explain.features.parts import PARTS, Part, register_part
from vqa_explain.methods import METHODS
from vqa_explain.models.attending import Positions
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.network import parameters_frozen
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.viewer.payload import payload, raw
from vqa_explain.viewer.whatif import changed
from vqa_explain.wording import value_text

sys.path.insert(0, str(Path(__file__).parent / "viewer"))
from browser import opened_browser, watched_page

LENGTH, SEGMENTS, LEADS = 24, 6, 2


@dataclass(frozen=True)
class SegmentValue:
    """The value of a segment (start, end) in samples."""

    start: int
    end: int
    value: float
    error: float | None

    @property
    def text(self) -> str:
        return f"{self.start}–{self.end}"


@register_part
@dataclass(frozen=True, eq=False, kw_only=True)
class SignalPart(Part):
    """A signal (leads, samples) and the values (samples,) of its samples."""

    signal: np.ndarray
    samples: np.ndarray
    segments: tuple[SegmentValue, ...] = ()
    kind: ClassVar[str] = "signal"
    player: ClassVar[str] = "segment"

    @property
    def players(self) -> tuple[SegmentValue, ...]:
        return self.segments

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "segments": tuple(SegmentValue(**s) for s in data["segments"])})


@dataclass(frozen=True)
class SignalFeature(Feature):
    """Signals: one leaf (B, leads, samples), elements that are samples,
    players that are segments.
    """

    name: str = "signal"
    fills: tuple[str, ...] = ("zero", "mean")
    default_fill: str = "zero"
    kind: ClassVar[str] = "signal"
    channels: ClassVar[int | None] = 1

    def shape(self, content: Tensor) -> tuple[int, ...]:
        return (content.shape[-1],)

    def divide(self, content: Tensor, asked: Any) -> Division:
        count = asked or SEGMENTS
        return Division(np.arange(content.shape[-1]) * count // content.shape[-1], count)

    def carry(self, content: Tensor, found: Found) -> SignalPart:
        owner = found.division.owner
        segments = tuple(
            SegmentValue(
                int(np.flatnonzero(owner == i)[0]),
                int(np.flatnonzero(owner == i)[-1]) + 1,
                float(found.values[i]),
                found.error(i),
            )
            for i in range(found.division.count)
        )
        return SignalPart(
            name=found.name,
            fixed=found.fixed,
            signal=content[0].numpy(),
            samples=np.asarray(found.elements),
            segments=segments,
        )


class Net(nn.Module):
    """Scores (B, 3) of signals (B, leads, samples)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.filter = nn.Conv1d(LEADS, 8, 5, padding=2)
        self.curve = nn.ReLU()
        self.read = nn.Linear(8 * LENGTH, 3)

    def forward(self, signal: Tensor) -> Tensor:
        scores: Tensor = self.read(self.curve(self.filter(signal)).flatten(1))
        return scores


class SignalModel:
    """An adapter of the user's own."""

    name, family, kind = "ecg", "signals", "logits"
    capabilities = frozenset({"gradients"})
    labels: tuple[str, ...] = ("calm", "fast", "odd")

    def __init__(self) -> None:
        self.module = Net().eval()
        self.device = torch.device("cpu")
        self.features = (SignalFeature(),)

    def encode(self, example: Example) -> Encoded:
        signal = torch.as_tensor(example.given[0].value, dtype=torch.float32)[None]
        return Encoded(example, read_inputs(self.features, signal), self.labels)

    def leaves(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"signal": encoded["signal"].content.clone()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> dict[str, Tensor]:
        return {"signal": self._blank(encoded["signal"].content, fills["signal"])}

    @staticmethod
    def _blank(signal: Tensor, fill: str) -> Tensor:
        mean = signal.mean(dim=-1, keepdim=True).expand_as(signal)
        return torch.zeros_like(signal) if fill == "zero" else mean

    def scores(self, encoded: Encoded, leaves: Mapping[str, Tensor]) -> Tensor:
        with parameters_frozen(self.module):
            scores: Tensor = self.module(leaves["signal"])
            return scores

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        signal = encoded["signal"].content
        there = present["signal"].elements[:, None]
        scores: Tensor = self.module(
            torch.where(there, signal, self._blank(signal, fills["signal"]))
        )
        return scores

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        return Positions({"signal": np.arange(length)})

    def default_layer(self, encoded: Encoded) -> str:
        return "filter"


@pytest.fixture(scope="module", autouse=True)
def known_kind() -> Iterator[None]:
    yield
    PARTS.pop("signal", None)


@pytest.fixture(scope="module")
def model() -> SignalModel:
    return SignalModel()


def example(seed: int = 0) -> Example:
    signal = np.random.default_rng(seed).normal(size=(LEADS, LENGTH)).astype(np.float32)
    return Example.of({"signal": signal}, answer="fast", id=f"signal {seed}")


def enumerated(model: SignalModel, one: Example, target: int, fill: str) -> np.ndarray:
    """(P,) Shapley values as the sum over all coalitions, by plain calls of the network."""
    signal = torch.as_tensor(one.given[0].value)[None]
    blank = torch.zeros_like(signal) if fill == "zero" else signal.mean(-1, keepdim=True)
    owner = torch.arange(LENGTH) * SEGMENTS // LENGTH
    worth = {}
    with torch.no_grad():
        for coalition in product((False, True), repeat=SEGMENTS):
            there = torch.tensor(coalition)[owner]
            worth[coalition] = float(model.module(torch.where(there, signal, blank))[0, target])
    values = np.zeros(SEGMENTS)
    for coalition, score in worth.items():
        size = sum(coalition)
        for player in range(SEGMENTS):
            if not coalition[player]:
                joined = tuple(c or i == player for i, c in enumerate(coalition))
                weight = 1 / (SEGMENTS * comb(SEGMENTS - 1, size))
                values[player] += weight * (worth[joined] - score)
    return values


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_shapley_values_are_the_sum_over_all_coalitions(model: SignalModel, fill: str) -> None:
    why = vx.explain(
        model, example(), method="shapley", target="fast", fills={"signal": fill}, budget=64
    )
    assert why.error_kind == "exact"
    expected = enumerated(model, example(), 1, fill)
    np.testing.assert_allclose(why["signal"].values, expected, atol=1e-5)
    assert why.share == {"signal": 1.0}


# Interactions pair two inputs, and lists of methods grow with tests of their own.
OWN = ("interactions", "edges", "mine")
OVER_COALITIONS = [n for n, cls in METHODS.items() if not cls.needs and n not in OWN]
OVER_GRADIENTS = [n for n, cls in METHODS.items() if cls.needs == {"gradients"} and n not in OWN]


@pytest.mark.parametrize("method", [*OVER_COALITIONS, *OVER_GRADIENTS])
def test_every_method_over_the_game_and_over_gradients_explains_it(
    model: SignalModel, method: str
) -> None:
    more: dict[str, Any] = {"budget": 200} if hasattr(METHODS[method], "budget") else {}
    why = vx.explain(model, example(), method=method, **more)
    part = why["signal"]
    assert isinstance(part, SignalPart)
    assert len(part.segments) == SEGMENTS
    assert np.isfinite(part.values).all()
    # The smallest set is empty where the answer stays with everything absent.
    is_empty = method == "evidence" and why.survives_without_inputs
    assert np.any(part.values) or is_empty
    np.testing.assert_allclose(
        [part.samples[s.start : s.end].sum() for s in part.segments], part.values, rtol=1e-6
    )
    assert "segment" in repr(why)


def test_gradients_agree_with_captum(model: SignalModel) -> None:
    from captum.attr import IntegratedGradients

    why = vx.explain(model, example(), method="integrated_gradients", target="odd", steps=200)
    signal = torch.as_tensor(example().given[0].value)[None]
    found = IntegratedGradients(model.module).attribute(
        signal, target=2, n_steps=200, method="gausslegendre"
    )
    part = why["signal"]
    assert isinstance(part, SignalPart)
    np.testing.assert_allclose(part.samples, found.sum(dim=1)[0].numpy(), atol=1e-4)


def test_a_file_holds_it(model: SignalModel, tmp_path: Path) -> None:
    why = vx.explain(model, example(), method="shapley", budget=64)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    part = again["signal"]
    assert isinstance(part, SignalPart)
    np.testing.assert_array_equal(part.signal, example().given[0].value)
    assert part.values == why["signal"].values
    assert repr(again) == repr(why)


def test_a_file_of_a_kind_that_is_not_known_is_refused(model: SignalModel, tmp_path: Path) -> None:
    path = vx.explain(model, example(), method="saliency").save(tmp_path / "why.vqax")
    known = PARTS.pop("signal")
    try:
        with pytest.raises(vx.InvalidInput, match="kind 'signal'"):
            vx.load_explanation(path)
    finally:
        PARTS["signal"] = known


@pytest.mark.parametrize("short_form", ["image", "picture", "labels"])
def test_short_forms_name_the_inputs(model: SignalModel, short_form: str) -> None:
    why = vx.explain(model, example(), method="saliency")
    with pytest.raises(vx.InvalidInput, match="no picture; its inputs are 'signal'"):
        getattr(why, short_form)
    assert why.question is None
    assert why.words == ()


METRICS = ("deletion", "insertion:players=signal", "infidelity", "sparseness", "accuracy")


@pytest.mark.slow
def test_a_run_over_it_resumes(model: SignalModel, tmp_path: Path) -> None:
    examples = [example(seed) for seed in range(4)]
    plan = ["leave_one_out", "saliency"], list(METRICS)
    first = vx.evaluate(model, examples, methods=plan[0], metrics=plan[1], out=tmp_path / "run")
    shards = {path: path.read_bytes() for path in (tmp_path / "run" / "shards").iterdir()}
    next(iter(shards)).unlink()
    again = vx.evaluate(model, examples, methods=plan[0], metrics=plan[1], out=tmp_path / "run")
    table = again.summary()
    assert set(table["metric"]) >= set(METRICS)
    assert len(table) == len(first.summary())
    for one, other in zip(first.summary()["mean"], table["mean"], strict=True):
        assert one == pytest.approx(other, nan_ok=True)


@pytest.mark.slow
def test_deletion_is_the_area_that_plain_calls_give(model: SignalModel, tmp_path: Path) -> None:
    one = example(3)
    report = vx.evaluate(
        model, [one], methods=["saliency"], metrics=["deletion:steps=6"], out=tmp_path / "run"
    )
    why = vx.explain(model, one, method="saliency")
    order = np.argsort(-np.abs(why["signal"].values), kind="stable")
    signal = torch.as_tensor(one.given[0].value)[None]
    owner = torch.arange(LENGTH) * SEGMENTS // LENGTH
    scores = []
    with torch.no_grad():
        best = int(model.module(signal).argmax())
        for count in range(SEGMENTS + 1):
            gone = torch.isin(owner, torch.from_numpy(order[:count].copy()))
            scores.append(float(model.module(signal * ~gone).softmax(-1)[0, best]))
    table = report.summary()
    mean = float(table[(table["method"] == "saliency")]["mean"].iloc[0])
    assert mean == pytest.approx(np.trapezoid(scores, np.linspace(0, 1, SEGMENTS + 1)), abs=1e-5)


# What people see of it: bars where nothing draws it, or a drawing of one's own.


def shown_everywhere(why: vx.Explanation, tmp_path: Path) -> dict[str, str]:
    """Place → the text that it shows."""
    console = Console(width=200, record=True, file=io.StringIO())
    for table in explanation_tables(why):
        console.print(table)
    path = why.to_html(tmp_path / "page.html")
    held = path.read_text().split('id="explanations">')[1].split("</script>")[0]
    return {
        "figure": " ".join(text.get_text() for text in why.plot().findobj(Text)),
        "notebook": why._repr_html_(),
        "terminal": console.export_text(),
        "page": held,
    }


def test_every_place_shows_it_as_bars(model: SignalModel, tmp_path: Path) -> None:
    why = vx.explain(model, example(), method="shapley", budget=64)
    part = why["signal"]
    places = shown_everywhere(why, tmp_path)
    for player in part.players:
        for place in ("figure", "notebook"):
            assert player.text in places[place], place
            shown = places[place].replace("−", "-")  # as figures write it
            assert value_text(player.value, player.error) in shown, place
        assert player.text in places["terminal"]
        assert f"{player.value:+.4g}" in places["terminal"]
    (found,) = json.loads(places["page"])
    assert [player["value"] for player in found["parts"][0]["players"]] == part.values
    assert payload(why, raw)["parts"][0]["kind"] == "signal"


@pytest.mark.slow
def test_a_page_in_a_browser_shows_it(model: SignalModel, tmp_path: Path) -> None:
    why = vx.explain(model, example(), method="shapley", budget=64)
    path = why.to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("#viewer[data-ready]")
        for number, player in enumerate(why["signal"].players):
            page.locator(f'[data-player="{number}"]').hover()
            assert page.locator(".vx-said").inner_text().startswith(f"segment {player.text}: ")
        assert wrong == []


def test_a_drawing_of_ones_own_takes_the_place_of_bars(
    model: SignalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "_of_kind", {})

    @vx.register_drawing("signal", "figure")
    def draw(part: SignalPart, explanation: vx.Explanation, axes: Axes) -> None:
        axes.plot(part.signal.T, label="lead")
        axes.set_title("leads over samples")

    why = vx.explain(model, example(), method="saliency")
    places = shown_everywhere(why, tmp_path)
    assert "leads over samples" in places["figure"]
    assert why["signal"].players[0].text not in places["figure"]
    assert why["signal"].players[0].text in places["notebook"]


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_a_what_if_takes_its_segments_away(model: SignalModel, fill: str) -> None:
    why = vx.explain(model, example(), method="leave_one_out", fills={"signal": fill})
    signal = torch.as_tensor(example().given[0].value)[None]
    blank = torch.zeros_like(signal) if fill == "zero" else signal.mean(-1, keepdim=True)
    there = torch.arange(LENGTH) * SEGMENTS // LENGTH != 4
    with torch.no_grad():
        after = model.module(torch.where(there, signal, blank)) - model.module(signal)
    found = changed(model, example(), why, {"signal": [4]})
    target = why.answers[0].index
    assert found["change"] == pytest.approx(float(after[0, target]), abs=1e-5)
    assert found["predicted"] == pytest.approx(-why["signal"].values[4])
    assert found["fills"] == f"segments: {fill}"
    with pytest.raises(vx.InvalidInput, match="no segment number 6; its 6 segments"):
        changed(model, example(), why, {"signal": [6]})
    with pytest.raises(vx.InvalidInput, match="unknown input of this explanation 'sound'"):
        changed(model, example(), why, {"sound": [0]})
