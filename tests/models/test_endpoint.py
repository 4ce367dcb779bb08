"""Chat-completion endpoints over HTTP: a server on this machine that wraps a tiny local checkpoint.

Its answers are compared with plain calls of transformers; what goes wrong is made to go wrong.
"""

import base64
import io
import itertools
import json
import logging
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vqa_explain as vx
from vqa_explain.models.base import answers as best_answers

KEY = "sk-a-secret-of-the-tests-4711"
ANSWERS = ["yes", "no"]
QUESTION = "Is red?"
WORDS = ["Is", "red", "?"]
Reply = tuple[int, dict[str, str], bytes]


class Server:
    """A chat-completion endpoint on 127.0.0.1.

    Attributes:
        answer: body of a request → body of its answer.
        fault: number of a request, from 1 → what it gets instead: a reply, "cut" or "slow".
        bodies: of all requests.
    """

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = plain_answer
        self.fault: Callable[[int], Reply | str | None] = lambda number: None
        self.bodies: list[dict[str, Any]] = []
        self.most_at_once = self.now = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Authorization"] == f"Bearer {KEY}"
                with server.lock:
                    server.bodies.append(body)
                    number = len(server.bodies)
                    server.now += 1
                    server.most_at_once = max(server.most_at_once, server.now)
                try:
                    server.reply(self, number, body)
                finally:
                    with server.lock:
                        server.now -= 1

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, handler: BaseHTTPRequestHandler, number: int, body: dict[str, Any]) -> None:
        fault = self.fault(number)
        if fault == "slow":
            self.released.wait(5)
            handler.close_connection = True
            return
        if fault == "cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'{"id": "x", "cho')
            handler.wfile.flush()
            handler.close_connection = True
            return
        if isinstance(fault, tuple):
            status, headers, content = fault
        else:
            status, headers = 200, {"Content-Type": "application/json"}
            content = json.dumps(self.answer(body)).encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


def completion(choices: list[dict[str, Any]]) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    about = {"id": "c", "object": "chat.completion", "created": 0, "model": "tiny"}
    return {**about, "choices": choices, "usage": usage}


def with_logprobs(pairs: list[tuple[str, float]]) -> dict[str, Any]:
    top = [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]
    first = {**top[0], "top_logprobs": top}
    message = {"role": "assistant", "content": pairs[0][0]}
    return completion(
        [
            {
                "index": 0,
                "finish_reason": "length",
                "message": message,
                "logprobs": {"content": [first], "refusal": None},
            }
        ]
    )


def said_in(body: dict[str, Any]) -> str:
    """The texts of a request."""
    parts = [part for message in body["messages"] for part in message["content"]]
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def shown_in(body: dict[str, Any]) -> list[np.ndarray]:
    """The pictures of a request, which are PNG files."""
    found = []
    for part in body["messages"][-1]["content"]:
        if part["type"] == "image_url":
            head, _, data = part["image_url"]["url"].partition(",")
            assert head == "data:image/png;base64"
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                assert image.format == "PNG"
                found.append(np.asarray(image))
    return found


def plain_answer(body: dict[str, Any]) -> dict[str, Any]:
    """A model in closed form: bright pictures and the word "red" speak for "yes"."""
    (picture,) = shown_in(body)
    score = picture.mean() / 128 - 1 + ("red" in said_in(body))
    yes = 1 / (1 + math.exp(-score))
    return with_logprobs([("Yes", math.log(0.6 * yes)), (" yes", math.log(0.4 * yes)),
                          ("no", math.log(1 - yes)), ("Perhaps", -9.0)])  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TEST_KEY", KEY)
    found = Server()
    yield found
    found.released.set()
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def loaded(server: Server, cache: Path, **settings: Any) -> Any:
    given = {"answers": ANSWERS, "api_key_env": "TEST_KEY", "retries": 0, **settings}
    return vx.load("openai:tiny", base_url=server.url, cache=cache, **given)


def plain_calls(network: Any, processor: Any) -> Callable[[list[Any], list[Any]], torch.Tensor]:
    """(pictures, messages) → (V,) log-probabilities of the first token, by transformers alone."""

    @torch.no_grad()
    def first_tokens(pictures: list[Any], messages: list[Any]) -> torch.Tensor:
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        given = processor(images=pictures, text=prompt, return_tensors="pt")
        found: torch.Tensor = network(**given).logits[0, -1].double().log_softmax(-1)
        return found

    return first_tokens


HOW: dict[str, Any] = {"method": "shapley", "regions": (1, 2), "image_fill": "constant"}
EVERY = 2**5


@pytest.mark.slow
def test_values_are_those_of_plain_calls_of_the_checkpoint(
    server: Server, tmp_path: Path, picture: np.ndarray, folders: Callable[[str], Path]
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = folders("llava")
    network = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)

    hidden: list[str] = []  # tokens that the endpoint does not list

    first_tokens = plain_calls(network, processor)

    def of_checkpoint(body: dict[str, Any]) -> dict[str, Any]:
        names = {"image_url": {"type": "image"}}
        messages = [
            {**m, "content": [names.get(part["type"], part) for part in m["content"]]}
            for m in body["messages"]
        ]
        logs = first_tokens([Image.fromarray(one) for one in shown_in(body)], messages)
        pairs = [(processor.tokenizer.decode([i]), float(v)) for i, v in enumerate(logs)]
        # All of them, as an endpoint without a limit lists: the checkpoint's are nearly alike.
        shown = [pair for pair in pairs if pair[0] not in hidden]
        return with_logprobs(sorted(shown, key=lambda pair: -pair[1]))

    server.answer = of_checkpoint
    model = loaded(server, tmp_path)
    why = vx.explain(model, picture, QUESTION, target="yes", **HOW)
    # "yes" and " yes" are two tokens and one answer.
    tokens = [processor.tokenizer.decode([i]) for i in range(len(processor.tokenizer))]
    numbers = [i for i, token in enumerate(tokens) if token.strip().lower() == "yes"]
    assert len(numbers) > 1

    def score(there: tuple[bool, ...]) -> float:
        shown = picture.copy()
        for half in (0, 1):
            if not there[half]:
                shown[:, 16 * half : 16 * (half + 1)] = 128
        text = " ".join(w for w, kept in zip(WORDS, there[2:], strict=True) if kept)
        said = [{"type": "text", "text": text.replace(" ?", "?")}] if text else []
        message = {"role": "user", "content": [{"type": "image"}, *said]}
        return float(first_tokens([Image.fromarray(shown)], [message])[numbers].logsumexp(0))

    known = {there: score(there) for there in itertools.product((False, True), repeat=5)}
    truth = np.zeros(5)
    for order in itertools.permutations(range(5)):
        there = [False] * 5
        for player in order:
            before = known[tuple(there)]
            there[player] = True
            truth[player] += (known[tuple(there)] - before) / math.factorial(5)
    found = [region.value for region in why.regions] + [word.value for word in why.words]
    assert found == pytest.approx(truth, abs=1e-6)
    assert np.abs(truth).max() > 1e-3
    # A model loaded here reads an answer as the tokenizer spells it, without a blank before it.
    hidden += [" yes", " no"]
    why = vx.explain(loaded(server, tmp_path / "exact"), picture, QUESTION, **HOW)
    local = vx.load(folder, device="cpu")
    encoded = local.with_answers(local.encode(vx.Example(picture, QUESTION)), ANSWERS)  # type: ignore[attr-defined]
    here = {one.text: one.probability for one in best_answers(local, encoded)}
    assert {one.text: one.probability for one in why.answers} == pytest.approx(here, rel=1e-5)


@pytest.mark.slow
def test_what_is_sent_what_it_cost_and_that_nothing_is_asked_twice(
    server: Server, tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(server, tmp_path)
    told = vx.estimate_cost(model, picture, QUESTION, **HOW)
    assert not server.bodies
    assert (told.count, told.kept) == (EVERY, 0)
    assert told.tokens_in >= EVERY * 255
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        why = vx.explain(model, picture, QUESTION, target="yes", **HOW)
    (line,) = [one.getMessage() for one in caplog.records if "is asked for" in one.getMessage()]
    assert f"at most {told}" in line
    assert len(server.bodies) == EVERY
    assert model.spent() == vx.Requests(EVERY, 0, 100 * EVERY, EVERY)
    body = server.bodies[0]
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "tiny",
        "temperature": 1.0,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert 1 < server.most_at_once <= 8
    again = loaded(server, tmp_path)  # as after a restart
    assert vx.estimate_cost(again, picture, QUESTION, **HOW) == vx.Requests(kept=EVERY)
    same = vx.explain(again, picture, QUESTION, target="yes", **HOW)
    assert len(server.bodies) == EVERY
    assert [word.value for word in same.words] == [word.value for word in why.words]
    # Two spellings of one answer are one answer.
    yes = 1 / (1 + math.exp(-(picture.mean() / 128)))
    assert next(a.probability for a in why.answers if a.text == "yes") == pytest.approx(yes)
    vx.explain(loaded(server, tmp_path, request={"seed": 1}), picture, QUESTION, **HOW)
    assert len(server.bodies) == 2 * EVERY  # other parameters are another question


@pytest.mark.slow
def test_at_most_so_many_at_once(server: Server, tmp_path: Path, picture: np.ndarray) -> None:
    vx.explain(loaded(server, tmp_path, concurrency=1), picture, QUESTION, **HOW)
    assert server.most_at_once == 1


@pytest.mark.slow
def test_another_process_asks_nothing_that_is_kept(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    np.save(tmp_path / "picture.npy", picture)
    code = (
        "import sys, numpy as np, vqa_explain as vx\n"
        "url, folder = sys.argv[1:]\n"
        "model = vx.load('openai:tiny', base_url=url, api_key_env='TEST_KEY',"
        " answers=['yes', 'no'], cache=folder + '/kept')\n"
        "why = vx.explain(model, np.load(folder + '/picture.npy'), 'Is red?', method='shapley',"
        " regions=(1, 2), image_fill='constant')\n"
        "print(why.words[1].value)\n"
    )
    values = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, server.url, str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "is asked for method 'shapley'" in done.stderr
        values.append(done.stdout)
    assert len(server.bodies) == EVERY
    assert values[0] == values[1]


@pytest.mark.slow
def test_max_requests_keeps_what_was_paid_for(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    with pytest.raises(vx.InvalidInput, match="was asked 10 times, as max_requests= allows"):
        vx.explain(loaded(server, tmp_path, max_requests=10), picture, QUESTION, **HOW)
    assert len(server.bodies) == 10
    vx.explain(loaded(server, tmp_path, max_requests=EVERY - 10), picture, QUESTION, **HOW)
    assert len(server.bodies) == EVERY


@pytest.mark.slow
def test_whoever_stops_keeps_what_came(server: Server, tmp_path: Path, picture: np.ndarray) -> None:
    how: dict[str, Any] = {
        "method": "shapley",
        "regions": (4, 4),
        "estimator": "permutation",
        "budget": 400,
    }

    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    model = loaded(server, tmp_path)
    why = vx.explain(model, picture, QUESTION, progress=stop, on_interrupt="return", **how)
    assert "stopped by the user" in why.error_kind
    asked = len(server.bodies)
    assert (
        0
        < asked
        < vx.estimate_cost(loaded(server, tmp_path / "new"), picture, QUESTION, **how).count
    )
    left = vx.estimate_cost(model, picture, QUESTION, **how)
    assert left.kept == asked
    assert len(server.bodies) == asked


RETRIED: dict[str, Reply | str] = {
    "429": (429, {"Retry-After": "0.2"}, b'{"error": {"message": "slow down"}}'),
    "500": (500, {}, b"oops"),
    "cut": "cut",
    "slow": "slow",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", RETRIED)
def test_passing_faults_are_tried_again(
    server: Server, tmp_path: Path, picture: np.ndarray, fault: str
) -> None:
    server.fault = lambda number: RETRIED[fault] if number % 7 == 1 else None
    model = loaded(server, tmp_path, retries=3, timeout=1.0)
    why = vx.explain(model, picture, QUESTION, target="yes", **HOW)
    server.fault = lambda number: None
    plain = vx.explain(loaded(server, tmp_path / "new"), picture, QUESTION, target="yes", **HOW)
    assert [word.value for word in why.words] == [word.value for word in plain.words]


LASTING: dict[str, tuple[Reply | str, str]] = {
    "429": (RETRIED["429"], "status 429: .*lower concurrency="),
    "500": (RETRIED["500"], "status 500: .*try again later"),
    "cut": ("cut", "cut the connection, asked 1 times"),
    "slow": ("slow", r"did not answer within 0\.3 s"),
    "401": (
        (401, {}, json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}}).encode()),
        "refuses the key in the environment variable 'TEST_KEY'",
    ),
    "400": (
        (400, {}, json.dumps({"error": {"message": f"bad, says {KEY}"}}).encode()),
        "status 400: .*leaves one out",
    ),
    "404": ((404, {}, b'{"error": {"message": "no such model"}}'), "check the model's name"),
    "no JSON": (
        (200, {"Content-Type": "application/json"}, b"<html>"),
        "gave no chat completion",
    ),
    "a page": ((200, {"Content-Type": "text/html"}, b"<html>"), "gave no chat completion"),
    "a list": ((200, {"Content-Type": "application/json"}, b"[1]"), "gave no chat completion"),
    "nothing": ((200, {"Content-Type": "application/json"}, b"{}"), "no chat completion .no choi"),
    "null": ((200, {"Content-Type": "application/json"}, b"null"), "gave no chat completion"),
    "odd": (
        (200, {"Content-Type": "application/json"}, b'{"choices": [5]}'),
        "gives no log-probabilities|gave no chat completion",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", LASTING)
def test_lasting_faults_are_one_clear_error_without_the_key(
    server: Server, tmp_path: Path, picture: np.ndarray, fault: str
) -> None:
    reply, told = LASTING[fault]
    server.fault = lambda number: reply if number > 3 else None
    model = loaded(server, tmp_path, timeout=0.3, concurrency=2)
    with pytest.raises(vx.VQAExplainError, match=told) as caught:
        vx.explain(model, picture, QUESTION, **HOW)
    assert KEY not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__cause__ is None
    assert len(list(tmp_path.rglob("*.json"))) == 3  # what was answered before


@pytest.mark.slow
def test_the_key_is_nowhere(
    server: Server, tmp_path: Path, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        model = loaded(server, tmp_path / "kept")
        why = vx.explain(model, picture, QUESTION, **HOW)
    why.save(tmp_path / "why.vqax")
    why.to_html(tmp_path / "why.html")
    assert KEY not in caplog.text
    assert KEY not in repr(model) + repr(model.ask) + repr(vars(model)) + str(vars(model.ask))
    import cloudpickle

    packed = cloudpickle.dumps(model)
    assert KEY.encode() not in packed
    assert pickle.loads(packed).labels == ("yes", "no")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes()
            assert KEY not in path.name


def test_bad_settings_are_refused_before_anything_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(told: str, name: str = "openai:tiny", **settings: Any) -> None:
        given = {"answers": ANSWERS, "api_key_env": "TEST_KEY", "cache": tmp_path, **settings}
        with pytest.raises(vx.InvalidInput, match=told):
            vx.load(name, **given)

    refused("needs answers=", answers=None)
    refused("names no model", name="openai:")
    refused("variable 'NO_SUCH_KEY' is not set", api_key_env="NO_SUCH_KEY")
    refused("top_logprobs is at most 20", top_logprobs=21)
    refused("sample must be|samples must be", sample=0)
    refused("max_requests must be", max_requests=0)
    refused("timeout must be", timeout=0)
    refused("retries must be", retries=-1)
    refused("share the first token 'yes'", answers=["yes", "Yes"])
    refused(
        "share the first token 'r'", answers=["red", "rose"], first_tokens={"red": "r", "rose": "r"}
    )
    refused("read alike", answers=["yes", "yes."], sample=5)
    refused("sets a seed", sample=5, request={"seed": 1})
    refused("none of the answers", first_tokens={"maybe": "m"})
    refused("unknown setting .*did you mean 'sample'", samples=3)
    refused("runs behind an endpoint", labels=["a"])
    with pytest.raises(vx.InvalidInput, match="base_url= is for a model behind an endpoint"):
        vx.load("scenes", base_url=server.url)
    assert not server.bodies


def test_an_answer_beyond_the_likeliest_is_refused(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    model = loaded(server, tmp_path, answers=["yes", "chartreuse"])
    with pytest.raises(vx.Unsupported, match=r"'chartreuse'.*is not among the 4.*sample="):
        vx.explain(model, picture, QUESTION, **HOW)
    named = loaded(
        server, tmp_path, answers=["yes", "perhaps not"], first_tokens={"perhaps not": "Perhaps"}
    )
    why = vx.explain(named, picture, QUESTION, target="perhaps not", **HOW)
    assert {a.text: a.probability for a in why.answers}["perhaps not"] == pytest.approx(
        math.exp(-9)
    )


def test_the_number_that_stands_for_no_log_probability_is_no_score(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    server.answer = lambda _body: with_logprobs([("yes", -0.1), ("no", -9999.0)])
    model = loaded(server, tmp_path, answers=["yes", "no"])
    with pytest.raises(vx.Unsupported, match=r"'no'.*is not among the 1 likeliest"):
        vx.explain(model, picture, QUESTION, **HOW)


def test_an_endpoint_without_log_probabilities_is_refused(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    message = {"role": "assistant", "content": "yes"}
    server.answer = lambda body: completion(
        [{"index": 0, "finish_reason": "stop", "message": message}]
    )
    with pytest.raises(vx.Unsupported, match=r"no log-probabilities of tokens; sample"):
        vx.explain(loaded(server, tmp_path), picture, QUESTION, **HOW)


@pytest.mark.slow
def test_answers_are_sampled(server: Server, tmp_path: Path, picture: np.ndarray) -> None:
    drawn = itertools.count()

    def sample(body: dict[str, Any]) -> dict[str, Any]:
        with server.lock:
            number = next(drawn)
        texts = ["Yes.", "no", "I cannot tell", " YES"]
        choices = [
            {
                "index": i,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": texts[(number + i) % 4]},
            }
            for i in range(body.get("n", 1))
        ]
        return completion(choices)

    server.answer = sample
    model = loaded(server, tmp_path, sample=8, concurrency=1)
    assert vx.estimate_cost(model, picture, QUESTION, **HOW).count == 8 * EVERY
    why = vx.explain(model, picture, QUESTION, target="yes", **HOW)
    assert len(server.bodies) == 8 * EVERY
    assert "n" not in server.bodies[0]
    assert server.bodies[0]["temperature"] == 1.0
    # Of each eight, four say yes and two say no.
    expected = {"yes": 4.5 / 8.5, "no": 2.5 / 8.5}
    assert {a.text: a.probability for a in why.answers} == pytest.approx(expected)
    assert all(word.error is not None and word.error > 0 for word in why.words)
    at_once = loaded(server, tmp_path, sample=8, answers_per_request=4, concurrency=1)
    assert vx.estimate_cost(at_once, picture, QUESTION, **HOW).count == 2 * EVERY
    server.answer = lambda body: sample({**body, "n": 1})
    with pytest.raises(vx.InvalidInput, match="1 answers to a request for 4"):
        vx.explain(at_once, picture, QUESTION, **HOW)


@pytest.mark.slow
def test_an_endpoint_that_does_not_sample_is_told(
    server: Server, tmp_path: Path, picture: np.ndarray
) -> None:
    message = {"role": "assistant", "content": "yes"}
    server.answer = lambda body: completion(
        [{"index": 0, "finish_reason": "stop", "message": message}]
    )
    model = loaded(server, tmp_path, sample=3)
    why = vx.explain(model, picture, QUESTION, **HOW)
    assert any("the endpoint does not sample" in note for note in why.notes)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_evaluation_says_what_it_costs_first(
    server: Server,
    tmp_path: Path,
    picture: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    workers: int,
) -> None:
    rows = [
        vx.Example(np.roll(picture, i, axis=1), QUESTION, answer="yes", id=str(i)) for i in range(3)
    ]
    model = loaded(server, tmp_path / "kept")
    metrics = ["accuracy", "accuracy_without_image", "deletion:steps=4", "insertion:steps=4"]
    how: dict[str, Any] = {"regions": (1, 2), "workers": workers, "shard": 1}
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        report = vx.evaluate(
            model, rows, ["leave_one_out", "shapley"], metrics, tmp_path / "run", **how
        )
    told = [one.getMessage() for one in caplog.records if "is asked for" in one.getMessage()]
    assert "a run over 3 examples like the first: at most" in told[0]
    said = int(told[0].split("at most ")[1].split()[0])
    asked = len(server.bodies)
    assert asked <= said <= 2 * asked
    assert all("at most 0 requests" in line for line in told[1:])  # of the report's gallery
    vx.evaluate(model, rows, ["leave_one_out", "shapley"], metrics, tmp_path / "run", **how)
    vx.evaluate(model, rows, ["leave_one_out", "shapley"], metrics, tmp_path / "other", **how)
    assert len(server.bodies) == asked
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
    assert report.folder.is_dir()


@pytest.mark.slow
def test_the_shell_asks_an_endpoint(server: Server, tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    run = [
        str(Path(sys.executable).with_name("vqa-explain")), "explain", str(tmp_path / "a.png"),
        QUESTION, "--model", "openai:tiny", "--budget", "64", "--regions", "1x2", "--json",
    ]  # fmt: skip
    for setting in (
        f"base_url={server.url}",
        "api_key_env=TEST_KEY",
        'answers=["yes", "no"]',
        f"cache={tmp_path / 'kept'}",
    ):
        run += ["--load", setting]
    done = subprocess.run(run, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "shapley"
    assert "is asked for method 'shapley': at most 32 requests" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert len(server.bodies) == EVERY


def leaning(network: Any, processor: Any, messages: list[Any], picture: np.ndarray) -> list[int]:
    """Makes a checkpoint say "yes" or "no" mostly; returns these two tokens."""
    states: list[torch.Tensor] = []
    head = network.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, given: states.append(given[0][0, -1]))
    plain_calls(network, processor)([Image.fromarray(picture)], messages)
    handle.remove()
    state = states[0].detach()
    spelled = [processor.tokenizer(one, add_special_tokens=False)["input_ids"] for one in ANSWERS]
    numbers = [ids[0] for ids in spelled]
    with torch.no_grad():
        for number, logit in zip(numbers, (8.0, 7.5), strict=True):
            head.weight[number] += logit * state / state.dot(state)
    return numbers


@pytest.mark.slow
def test_transformers_serve_is_sampled(
    tmp_path: Path, picture: np.ndarray, folders: Callable[[str], Path]
) -> None:
    """Frequencies of its answers are the probabilities of plain calls, within their errors."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from transformers import AutoModelForImageTextToText, AutoProcessor

    network = AutoModelForImageTextToText.from_pretrained(folders("llava"))
    processor = AutoProcessor.from_pretrained(folders("llava"))

    def asking(text: str) -> list[Any]:
        said = {"type": "text", "text": text}
        return [{"role": "user", "content": [{"type": "image"}, said]}]

    numbers = leaning(network, processor, asking(QUESTION), picture)
    network.save_pretrained(tmp_path / "leaning")
    processor.save_pretrained(tmp_path / "leaning")
    port = free_port()
    program = str(Path(sys.executable).with_name("transformers"))
    run = [program, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(run, env=offline, stderr=subprocess.DEVNULL) as serving:
        try:
            wait_for(port, serving)
            model = vx.load(
                f"openai:{tmp_path / 'leaning'}",
                base_url=f"http://127.0.0.1:{port}/v1",
                api_key_env=None,
                answers=ANSWERS,
                sample=40,
                cache=tmp_path / "kept",
                # It is greedy unless its own configuration says otherwise.
                request={
                    "max_tokens": 1,
                    "extra_body": {"generation_config": '{"do_sample": true, "top_k": 0}'},
                },
            )
            how: dict[str, Any] = {"method": "leave_one_out", "players": "question"}
            why = vx.explain(model, picture, QUESTION, target="yes", **how)
        finally:
            serving.terminate()
    first_tokens = plain_calls(network, processor)
    texts = [QUESTION, "red?", "Is?", "Is red"]
    logs = [first_tokens([Image.fromarray(picture)], asking(text))[numbers[0]] for text in texts]
    truth = np.array([float(logs[0] - one) for one in logs[1:]])
    errors = np.array([word.error for word in why.words], dtype=float)
    assert (np.abs(np.array([word.value for word in why.words]) - truth) < 4 * errors).all()
    found = {one.text: one.probability for one in why.answers}
    assert found["yes"] == pytest.approx(float(logs[0].exp()), abs=0.32)  # 4 standard errors of 40
    assert errors.max() < 1


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int, serving: Any) -> None:
    """Until something listens at a port."""
    import socket

    while serving.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("transformers serve ended")
