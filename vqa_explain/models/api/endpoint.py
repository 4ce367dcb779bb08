"""Chat-completion endpoints: log-probabilities of first tokens, or sampled answers."""

import base64
import io
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np

from vqa_explain._numbers import checked_whole
from vqa_explain.cost import Requests
from vqa_explain.errors import InvalidInput, Unanswered, Unsupported, VQAExplainError
from vqa_explain.models.api.adapter import ApiModel
from vqa_explain.models.api.frequencies import bare, scores_of
from vqa_explain.models.api.kept import KeptAnswers, key_of
from vqa_explain.models.api.questions import Message, Question
from vqa_explain.target import folded

log = logging.getLogger("vqa_explain")
T = TypeVar("T")

MOST_TOP = 20  # log-probabilities of tokens that an endpoint gives, at most
SAMPLED_TOKENS = 16  # of each sampled answer, at most
# Endpoints give this for a token whose log-probability they do not say.
NOT_SAID = -9999.0
SECONDS = 60.0  # that one request may take
RETRIES = 5
# Estimates of what is sent: characters of a token of English, and the tokens of a picture that is
# read in tiles of 512 pixels, 170 each and 85 for the whole.
CHARACTERS = 4
TILE, TILE_TOKENS, WHOLE_TOKENS = 512, 170, 85
LONGEST, SHORTEST = 2048, 768  # sides of a picture, in pixels, to which it is shrunk before
ABOUT_A_MESSAGE = 4  # tokens of each message besides its content


class EndpointSettings(TypedDict, total=False):
    """How a chat-completion endpoint is asked.

    Attributes:
        answers: the texts to choose among.
        base_url: where the endpoint is, such as "http://127.0.0.1:8000/v1"; by default where the
            `openai` client looks.
        api_key_env: the environment variable that holds the key; `None` for an endpoint that needs
            none. The key itself is never kept, written or shown.
        sample: how many answers are sampled for each score; `None` reads log-probabilities.
        answers_per_request: how many sampled answers one request asks for (`n`); not every
            endpoint knows it.
        first_tokens: answer → its first token, for answers of several tokens.
        top_logprobs: how many of the likeliest first tokens are asked for, at most 20.
        max_requests: more requests than these end in an error; what came until then is kept.
        concurrency: requests at a time.
        cache: the folder of answers that are kept; by default one in the user's cache folder.
        timeout: seconds that a request may take.
        retries: how often a request is sent again, each time later, after a limit of rate, an
            error of the server, a time-out or a connection that was cut.
        request: further parameters of each request, such as {"max_completion_tokens": 8}; `None`
            leaves one out that is sent by default.
    """

    answers: Any
    base_url: str | None
    api_key_env: str | None
    sample: int | None
    answers_per_request: int
    first_tokens: Mapping[str, str]
    top_logprobs: int
    max_requests: int | None
    concurrency: int
    cache: str | Path | None
    timeout: float
    retries: int
    request: Mapping[str, Any]


def load_endpoint(
    name: str,
    *,
    answers: Any = None,
    concurrency: int = 8,
    sample: int | None = None,
    **settings: Any,
) -> ApiModel:
    """The model behind an endpoint; nothing is asked yet.

    Args:
        name: "openai:" and the endpoint's name of the model.
        answers, concurrency, sample: see `EndpointSettings`.
        **settings: the others.

    Raises:
        InvalidInput: a setting is missing or cannot be used, or the client is not installed.
    """
    if answers is None:
        raise InvalidInput(
            f"model {name!r} needs answers= to choose among, such as answers=['yes', 'no']"
        )
    endpoint = Endpoint(name, sample=sample, **settings)
    model = ApiModel(endpoint, answers, samples=sample, concurrency=concurrency, name=name)
    endpoint.check_answers(model.labels)
    return model


class Endpoint:
    """A chat-completion endpoint; see `EndpointSettings` for its arguments.

    A request is sent only for what no file of the cache answers, and, where the work was not
    announced, after saying what it costs.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        sample: int | None = None,
        answers_per_request: int = 1,
        first_tokens: Mapping[str, str] | None = None,
        top_logprobs: int = MOST_TOP,
        max_requests: int | None = None,
        cache: str | Path | None = None,
        timeout: float = SECONDS,
        retries: int = RETRIES,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.model = name, name.partition(":")[2]
        if not self.model:
            raise InvalidInput(f"{name!r} names no model; write such as 'openai:gpt-4o-mini'")
        self._key_name = api_key_env
        self._key()  # before anything is computed
        self._base_url = base_url
        self._sample = sample
        self._at_once = checked_whole("answers_per_request", answers_per_request, 1)
        self._first_tokens = dict(first_tokens or {})
        if checked_whole("top_logprobs", top_logprobs, 1) > MOST_TOP:
            raise InvalidInput(f"top_logprobs is at most {MOST_TOP}, not {top_logprobs}")
        self._most = (
            None if max_requests is None else checked_whole("max_requests", max_requests, 1)
        )
        self._timeout = _checked_seconds(timeout)
        self._retries = checked_whole("retries", retries, 0)
        self._parameters = self._read_parameters(top_logprobs, request or {})
        self._kept = KeptAnswers(cache)
        self._place = _place_of(base_url)
        self.is_announced = False
        self.requests = Requests()
        self._sent = 0
        self._client: Any = None
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self.given = {"model": self.model, "base_url": key_of(base_url), "how": self._parameters}
        _client_class()  # told at once where it is missing

    def __repr__(self) -> str:
        return f"<endpoint of {self.name!r}>"

    def __getstate__(self) -> dict[str, Any]:
        # A client holds the key and open connections, neither of which leaves the process.
        kept = {key: value for key, value in vars(self).items() if key not in ("_client", "_lock")}
        return {**kept, "_asking": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client, self._lock = None, threading.Lock()

    def __call__(
        self, pictures: list[Any], messages: list[Message], answers: list[str]
    ) -> list[float | None]:
        """As `ApiModel` asks a function."""
        return self.answered(Question.of([np.asarray(one) for one in pictures], messages), answers)

    def _read_parameters(self, top: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of each request besides model and messages.

        The temperature is 1 in both ways: scores are those of the model's own distribution.
        """
        if self._sample is None:
            own: dict[str, Any] = {"logprobs": True, "top_logprobs": top, "max_tokens": 1}
        else:
            own = {"max_tokens": SAMPLED_TOKENS, "top_p": 1.0}
            if self._at_once > 1:
                own["n"] = self._at_once
        if self._sample is not None and more.get("seed") is not None:
            raise InvalidInput(
                "request= sets a seed, with which each request gives the same answers again, so "
                "that they are no samples; leave 'seed' out"
            )
        found = {"temperature": 1.0, **own, **more}
        return {key: value for key, value in found.items() if value is not None}

    def check_answers(self, answers: Sequence[str]) -> None:
        """Refuses answers that the endpoint cannot tell apart.

        Raises:
            InvalidInput: two of them begin with the same token, or read alike.
        """
        strange = next((one for one in self._first_tokens if one not in answers), None)
        if strange is not None:
            raise InvalidInput(f"first_tokens names {strange!r}, which is none of the answers")
        first: dict[str, str] = {}
        for one in answers:
            token = bare(one) if self._sample else folded(self._first_token(one))
            if token in first:
                what = "read alike" if self._sample else f"share the first token {token!r}"
                raise InvalidInput(
                    f"the answers {first[token]!r} and {one!r} {what}, so the endpoint cannot tell "
                    "them apart; leave one out, or sample answers (sample=)"
                )
            first[token] = one

    def _first_token(self, answer: str) -> str:
        return answer if self._sample else self._first_tokens.get(answer, answer)

    def answered(self, question: Question, answers: Sequence[str]) -> list[float | None]:
        """The score of each answer.

        Raises:
            Unsupported: it gives no log-probabilities, or not of all answers.
            InvalidInput: it cannot be reached, refuses, gives something else, or has been asked
                `max_requests` times.
        """
        if self._sample is None:
            top = self._from_cache(question, 0, self._top_of)
            return [self._score(answer, top) for answer in answers]
        texts: list[str] = []
        for part in range(self._parts):
            texts += self._from_cache(question, part, self._texts_of)
        return list(scores_of(texts[: self._sample], answers))

    @property
    def _parts(self) -> int:
        """The number of requests that one question needs."""
        return math.ceil((self._sample or 1) / self._at_once)

    def _score(self, answer: str, top: Sequence[Sequence[Any]]) -> float:
        """The log-probability of an answer's first token, however it is written.

        Tokens that differ only in case and blanks are one answer, so that their probabilities add
        up, as far as they are among the likeliest.
        """
        wanted = folded(self._first_token(answer))
        said = [(token, value) for token, value in top if value > NOT_SAID]
        found = [value for token, value in said if folded(token) == wanted]
        if not found:
            likeliest = ", ".join(repr(token) for token, _ in said[:5])
            raise Unsupported(
                f"{wanted!r}, the first token of the answer {answer!r}, is not among the "
                f"{len(said)} likeliest of model {self.name!r} ({likeliest}, …), so its score is "
                "not known; sample answers (sample=), or give first_tokens= where the answer has "
                "several tokens"
            )
        return float(np.logaddexp.reduce(found))

    def _from_cache(self, question: Question, part: int, read: Callable[[Any], T]) -> T:
        """What a request gave, asked now unless it is kept."""
        key = self._key_of(question, part)
        with self._lock:
            turn = self._asking.setdefault(key, threading.Lock())
        with turn:  # a second thread that asks the same waits for the first
            kept = self._kept.get(key)
            if not isinstance(kept, list):  # nothing, or a file that somebody changed
                self._tell(question)
                kept = read(self._send(question))
                self._kept.put(key, kept)
        return cast(T, kept)

    def _key_of(self, question: Question, part: int) -> str:
        return key_of(self._place, self.model, self._parameters, question.key, part)

    def price(self, question: Question) -> Requests:
        total = Requests()
        for part in range(self._parts):
            kept = self._key_of(question, part) in self._kept
            total += Requests(kept=1) if kept else self._estimate(question)
        return total

    def _estimate(self, question: Question) -> Requests:
        """One request, with about as many tokens as it has."""
        tokens = sum(map(_tokens_of_message, question.messages))
        tokens += sum(_tokens_of_picture(one.shape[:2]) for one in question.pictures)
        out = 1 if self._sample is None else self._at_once * SAMPLED_TOKENS
        return Requests(1, 0, tokens, out)

    @contextmanager
    def announced(self, requests: Requests, work: str) -> Iterator[None]:
        """Says what a piece of work costs; inside, it is said no more."""
        self._say(requests, work)
        before, self.is_announced = self.is_announced, True
        try:
            yield
        finally:
            self.is_announced = before

    def _tell(self, question: Question) -> None:
        if not self.is_announced:
            self._say(self._estimate(question), "one question")

    def _say(self, requests: Requests, work: str) -> None:
        left = "" if self._most is None else f"; max_requests allows {self._most - self._sent:,}"
        log.warning("model %r is asked for %s: at most %s%s", self.name, work, requests, left)

    def _key(self) -> str:
        """The key, read from the environment each time: nothing here holds it."""
        if self._key_name is None:
            return "none"
        key = os.environ.get(self._key_name, "")
        if not key:
            raise Unanswered(
                f"the environment variable {self._key_name!r} is not set; put the endpoint's key "
                "there, name another by api_key_env=, or give api_key_env=None where none is needed"
            )
        return key

    def _send(self, question: Question) -> Any:
        """The endpoint's answer to one request."""
        import openai

        with self._lock:
            if self._most is not None and self._sent >= self._most:
                raise Unanswered(
                    f"model {self.name!r} was asked {self._sent:,} times, as max_requests= allows; "
                    "its answers are kept, so call again with a larger max_requests= to go on"
                )
            self._sent += 1
            if self._client is None:
                self._client = _client_class()(
                    api_key=self._key(),
                    base_url=self._base_url,
                    timeout=self._timeout,
                    max_retries=self._retries,
                )
        messages = _for_endpoint(question)
        try:
            found = self._client.chat.completions.create(
                model=self.model, messages=messages, **self._parameters
            )
        except openai.OpenAIError as error:
            told = self._explained(error)
        except (ValueError, TypeError, RecursionError) as error:  # a body that is no JSON
            told = self._malformed(type(error).__name__)
        else:
            self._count(found)
            return found
        # Not chained: what a client or a server says may hold the key.
        raise told from None

    def _count(self, found: Any) -> None:
        usage = getattr(found, "usage", None)
        spent = [getattr(usage, one, None) for one in ("prompt_tokens", "completion_tokens")]
        with self._lock:
            self.requests += Requests(1, 0, *(n if isinstance(n, int) else 0 for n in spent))

    def _explained(self, error: Exception) -> VQAExplainError:
        """What went wrong, in one sentence."""
        import openai

        where = f"the endpoint of model {self.name!r} at {self._place_shown}"
        if isinstance(error, openai.APITimeoutError):
            return Unanswered(
                f"{where} did not answer within {self._timeout:g} s, asked "
                f"{self._retries + 1} times; raise timeout= or lower concurrency=, and what it "
                "answered before is kept"
            )
        if isinstance(error, openai.APIConnectionError):
            return Unanswered(
                f"{where} cannot be reached or cut the connection, asked {self._retries + 1} "
                "times; check base_url= and the network, and what it answered before is kept"
            )
        if isinstance(error, openai.APIResponseValidationError):
            return self._malformed(type(error).__name__)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return Unanswered(
                f"{where} refuses the key in the environment variable {self._key_name!r} (status "
                f"{error.status_code}); check it"
            )
        if isinstance(error, openai.APIStatusError):
            may_pass = error.status_code in (408, 429) or error.status_code >= 500
            return (Unanswered if may_pass else InvalidInput)(
                f"{where} refuses with status {error.status_code}: {self._redacted(error)}; "
                f"{_remedy(error.status_code)}"
            )
        return InvalidInput(f"{where} cannot be asked: {self._redacted(error)}; check its settings")

    @property
    def _place_shown(self) -> str:
        """The host, without what an address may hold of names and passwords."""
        return urlsplit(self._place).netloc.rpartition("@")[2] or "its usual address"

    def _redacted(self, error: Exception) -> str:
        """The server's words in one short line, without the key."""
        told = " ".join(str(getattr(error, "message", error)).split())
        secret = self._key()
        return told.replace(secret, "…")[:200] if self._key_name else told[:200]

    def _malformed(self, what: str) -> InvalidInput:
        return InvalidInput(
            f"the endpoint of model {self.name!r} at {self._place_shown} gave no chat completion "
            f"({what}); check base_url=, which mostly ends in /v1"
        )

    def _texts_of(self, found: Any) -> list[str]:
        """The texts of sampled answers."""
        texts = []
        for choice in self._choices_of(found):
            message = getattr(choice, "message", None)
            content = getattr(message, "content", None)
            if message is None or not (content is None or isinstance(content, str)):
                raise self._malformed("a choice without a message")
            texts.append(content or "")  # an answer may be empty, or a refusal
        if len(texts) != self._at_once:
            raise InvalidInput(
                f"model {self.name!r} gave {len(texts)} answers to a request for {self._at_once}; "
                "give answers_per_request=1"
            )
        return texts

    def _choices_of(self, found: Any) -> list[Any]:
        choices = getattr(found, "choices", None)
        if not isinstance(choices, list) or not choices:
            raise self._malformed("no choices")
        return choices

    def _top_of(self, found: Any) -> list[list[Any]]:
        """The likeliest first tokens, (text, log-probability) each.

        Raises:
            Unsupported: it gives none.
        """
        logprobs = getattr(self._choices_of(found)[0], "logprobs", None)
        content = getattr(logprobs, "content", None)
        top = getattr(content[0], "top_logprobs", None) if content else None
        if not top:
            raise Unsupported(
                f"model {self.name!r} gives no log-probabilities of tokens; sample its answers "
                "instead (sample=20)"
            )
        pairs = [(getattr(one, "token", None), getattr(one, "logprob", None)) for one in top]
        for token, value in pairs:
            if not isinstance(token, str) or not isinstance(value, int | float):
                raise self._malformed("a token without a log-probability")
        return [list(pair) for pair in pairs]


def _client_class() -> Any:
    """The client of the package `openai`.

    Raises:
        InvalidInput: it is not installed.
    """
    try:
        from openai import OpenAI
    except ImportError as error:
        raise InvalidInput(
            "endpoints need the package openai; install it with pip install 'vqa_explain[api]'"
        ) from error
    return OpenAI


def _checked_seconds(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise InvalidInput(f"timeout must be seconds above 0, not {value!r}")
    return float(value)


def _place_of(base_url: str | None) -> str:
    """Where the client goes: as given, or as it is told by its own environment variable."""
    return base_url or os.environ.get("OPENAI_BASE_URL") or ""


def _remedy(status: int) -> str:
    """What may help after a refusal of the server's, by its status."""
    if status == 429:
        return "wait, or lower concurrency=, and what it answered before is kept"
    if status >= 500:
        return "try again later, and what it answered before is kept"
    if status == 404:
        return "check the model's name and base_url="
    return "check the settings, of which request={name: None} leaves one out"


def _for_endpoint(question: Question) -> list[Message]:
    """The messages with their pictures as PNG files."""
    images, messages = question.with_images()
    following = iter(images)
    return [_message_for_endpoint(message, following) for message in messages]


def _message_for_endpoint(message: Message, following: Iterator[Any]) -> Message:
    if isinstance(message["content"], str):
        return message
    parts = [
        part if "text" in part else _picture_part(next(following)) for part in message["content"]
    ]
    return {**message, "content": parts}


def _picture_part(image: Any) -> Message:
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _tokens_of_message(message: Message) -> int:
    """About how many tokens the texts of a message are."""
    content = message["content"]
    texts = [content] if isinstance(content, str) else [one.get("text", "") for one in content]
    return ABOUT_A_MESSAGE + sum(-(-len(text) // CHARACTERS) for text in texts)


def _tokens_of_picture(size: tuple[int, ...]) -> int:
    """About how many tokens a picture (H, W) is, where it is read in tiles."""
    shrunk = min(1.0, LONGEST / max(size))
    shrunk *= min(1.0, SHORTEST / (min(size) * shrunk))
    tiles = [max(1, math.ceil(round(side * shrunk, 6) / TILE)) for side in size]
    return WHOLE_TOKENS + TILE_TOKENS * tiles[0] * tiles[1]
