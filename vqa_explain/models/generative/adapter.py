"""Vision-language models that write: LLaVA, Qwen-VL, Gemma, Idefics, Florence-2 and their like.

Most of them put picture tokens among the word embeddings and hand the sequence to a decoder. The
adapter reads that sequence where the decoder receives it: words are changed there, hidden from
attention there, and absent picture tokens leave it there. The vision encoder runs once for each
state of each picture. Where that would be wrong, the network runs as a whole: see `whole`. Which
way is right is measured, so that no family needs code of its own. Pictures, texts and videos come
in any number, as a prompt or a chat.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput, StillThinking, Unsupported, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.features.base import (
    Feature,
    Input,
    Present,
    distinct_together,
    named,
    present_elements,
)
from vqa_explain.features.image import DROP, FILLS, ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.regions import grid_regions
from vqa_explain.features.text import Text, TextFeature, called
from vqa_explain.models.attending import Attention, Positions, SelfLayer, Streams
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.candidates import Candidates, first_tokens, written
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.generative.conversation import (
    Conversation,
    Visual,
    read_conversation,
)
from vqa_explain.models.generative.decoding import Decoding, Language, Prompted, with_lists
from vqa_explain.models.generative.lengths import VideoLengths
from vqa_explain.models.generative.memory import PictureMemory
from vqa_explain.models.generative.prompts import Prompt, read_prompt, visual_tokens
from vqa_explain.models.generative.reading import Form, LeftOut, Shown, VisualReader
from vqa_explain.models.generative.second import SecondSequence, SecondTokens, find_second
from vqa_explain.models.generative.sequences import Sequences, alone
from vqa_explain.models.generative.whole import DECODER, ENCODER, Forwarding
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.places import shows_cells
from vqa_explain.models.sentences import (
    with_sequences,
    with_some_before,
    with_words,
    without_words,
)
from vqa_explain.models.sharing import holds_network, network_held
from vqa_explain.models.thinking import NOTHING, Marks, Thought, find_marks, parted, thought_nothing
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.unwrapping import home_of, placed
from vqa_explain.models.wording import stand_in, text_feature
from vqa_explain.models.writing import Draws, Writing, best_of, own_setting, sampled

log = logging.getLogger("vqa_explain")
OTHER_WORDS = "no red"  # with which is tried what another word changes
MASKED = TextFeature(fills=("mask",), default_fill="mask")  # of words that cannot be hidden


@dataclass
class _State:
    """What the adapter keeps of an example.

    Attributes:
        inputs: the processor's tensors, on the model's device.
        prompt: which of the prompt's tokens are of what.
        visuals: the pictures and videos.
        shown: input name → where that picture or frame is in the tensors.
        lists: the tensors that the network takes as lists of numbers.
        second: another sequence of tokens in which words reach the network.
        written: texts that the model wrote by itself → their tokens.
        thought: what it thought before it wrote the last of them.
        language: how the network is run.
        memory: what the vision side made of pictures in this game; `None` outside games.
    """

    inputs: dict[str, Any]
    prompt: Prompt
    visuals: tuple[Visual, ...]
    shown: dict[str, Shown]
    lists: frozenset[str]
    second: SecondSequence | None = None
    written: dict[str, tuple[int, ...]] = field(default_factory=dict)
    thought: Thought = NOTHING
    language: Any = None
    memory: PictureMemory | None = None

    @property
    def sequences(self) -> Sequences:
        """How these tensors become those of other pictures."""
        return Sequences(self.inputs, self.shown)

    @property
    def form(self) -> Form:
        return tuple(one.form for one in self.visuals)

    def second_tokens(self, name: str) -> SecondTokens | None:
        """Where a text is in the second sequence; `None` if it is in none."""
        return self.second.texts.get(name) if self.second else None

    def positions(self, name: str) -> np.ndarray:
        """The positions of an input's tokens; frames of a video may share theirs."""
        if name not in self.shown:
            return self.prompt.places[name]
        visual = self.visuals[self.shown[name].visual]
        whole = self.prompt.places[visual.name]
        many = len(visual.frames)
        each = len(whole) // many
        # What is left over, such as a token for a line break, stands behind the last.
        if not each or len(whole) - each * many > 1:
            return whole
        number = visual.names.index(name)
        return whole[number * each : (number + 1) * each]


@holds_network
class GenerativeModel:
    """Adapter of `AutoModelForImageTextToText` with its processor; see `models.base.OpenModel`.

    Args:
        beams: how many answers the model writes when none are given, by beam search; 1 is greedy.
        lengths: how an answer's tokens make its score, "sum" or "mean": see `models.candidates`.
        writing: what is asked of what it writes.
    """

    family = "generative"
    kind = "log_probabilities"
    labels = None
    open_inputs = True  # pictures, texts and videos of any number
    capabilities: frozenset[str] = frozenset({"gradients", "pixels", "drop", "attention", "flow"})

    __repr__ = described

    def __init__(
        self,
        module: Any,
        processor: Any,
        name: str,
        device: torch.device,
        *,
        beams: int = 1,
        lengths: str = "sum",
        writing: Writing = Writing(),  # noqa: B008  # frozen
    ) -> None:
        self.name, self.writing = name, writing
        self.module = placed(module, device, name)
        self.device = home_of(self.module, device)
        self.processor, self.beams, self.lengths = processor, beams, lengths
        # How it is run, by whether there are pictures and texts: found with the first example.
        self._languages: dict[tuple[bool, bool], Language] = {}
        known = inspect.signature(self.module.forward).parameters
        takes_words = "input_ids" in known and _reads_text(processor)
        marks = visual_tokens(self.module.config, videos=True)
        self._reader = VisualReader(processor, name, marks, wordless=not takes_words)
        # What was measured of the network, by the sizes of what is shown.
        self._places: dict[tuple[Any, ...], bool] = {}
        self._apart: dict[Form, bool] = {}
        fills = text_feature(processor.tokenizer).fills
        # A mask token means nothing to most decoders.
        self._text = TextFeature(fills=fills, default_fill="pad")
        self._picture = ImageFeature(fills=(*FILLS, DROP))
        both: tuple[Feature, ...] = (self._picture, self._text)
        self.features = both if takes_words else (self._picture,)

    def encode(self, example: Example) -> Encoded:
        conversation = read_conversation(example, self.name)
        if self._reader.videos_alone:
            self._lengths.check(conversation.visuals)
        self._reader.check_videos(conversation.visuals)
        conversation = self._reader.marked(conversation)
        prompt, inputs = self._read(conversation)
        limit = self._window
        if limit is not None and prompt.length > limit:
            raise InvalidInput(
                f"the question and picture have {prompt.length} tokens and model {self.name!r} "
                f"takes {limit}; shorten the texts, or give fewer or smaller pictures or frames"
            )
        moved, lists = self._tensors(inputs)
        second = find_second(self.processor, prompt, inputs) if prompt.texts else None
        second = second.to(self.device) if second else None
        state = _State(moved, prompt, conversation.visuals, {}, lists, second)
        try:
            state.shown.update(self._shown(conversation, inputs, state))
        except LeftOut:
            if self._reader.reads_every_frame(conversation.visuals):
                return self.encode(example)
            raise
        form = (bool(state.visuals), bool(prompt.texts))
        if form not in self._languages:
            try:
                self._languages[form] = self._chosen(state)
            except Unsupported:
                known = inspect.signature(self.module.forward).parameters
                if prompt.texts and self._reader.ask_more(conversation.visuals, known):
                    return self.encode(example)
                raise
            self._offer(self._languages[form])
        state.language = self._languages[form]
        return Encoded(example, tuple(self._inputs(conversation, state)), state=state)

    @property
    def video_length(self) -> int | None:
        """How many frames a video has, where the network takes videos and no pictures."""
        return self._lengths.fewest if self._reader.videos_alone else None

    @cached_property
    def _lengths(self) -> VideoLengths:
        """The lengths of videos that the network reads."""

        def logits(visuals: Sequence[Visual]) -> Tensor:
            inputs = with_lists(*self._tensors(self._reader.plain(visuals)))
            with network_held(self.module), torch.no_grad():
                found: Tensor = self.module.generate(**inputs, **first_tokens()).logits[-1]
            return found

        return VideoLengths(self.name, logits)

    @property
    def _window(self) -> int | None:
        """How many tokens the network takes; `None` where its configuration does not say."""
        found = getattr(self.module.config.get_text_config(), "max_position_embeddings", None)
        return None if found is None else int(found)

    def _chosen(self, state: _State) -> Language:
        """How the network is run: its decoder alone, or all of it where that would be wrong.

        Raises:
            Unsupported: it cannot be run in either way; the message says why.
        """
        if not state.prompt.texts and not self._describes:
            return self._without_words(state)
        second = state.second
        known = {second.name, second.mask} if second else set()
        elsewhere = [n for n in self._reader.words_elsewhere(state.visuals) if n not in known]
        if elsewhere:
            raise Unsupported(
                f"model {self.name!r} cannot be run: its words reach it by "
                f"{' and '.join(elsewhere)} besides input_ids, which no adapter can follow; "
                "wrap it in vqa_explain.CustomModel"
            )
        places = [
            position
            for name, text in state.prompt.texts.items()
            for position, token in zip(state.prompt.places[name], text.tokens, strict=True)
            if token.word >= 0
        ]
        try:
            # What comes before the decoder reads the words of a second sequence.
            decoding = Decoding(self.module, state.lists) if second is None else None
            if decoding is not None and decoding.agrees(state.inputs, places):
                return decoding
        except (VQAExplainError, AttributeError, *FAILURES) as error:
            log.info("the decoder of model %r does not run alone: %s", self.name, error)
        axes = self._reader.token_axes(state.visuals)
        # A second sequence may be as long, but no answer goes behind it.
        axes = {name: axis for name, axis in axes.items() if name not in known}
        where = torch.tensor(places, device=self.device)
        try:
            return self._as_a_whole(state, axes, where)
        except Unsupported as error:
            raise Unsupported(f"model {self.name!r} cannot be run: {error}") from error

    def _without_words(self, state: _State) -> Forwarding:
        """The network called with pictures alone.

        Raises:
            InvalidInput: it takes words too, and does not run without.
            Unsupported: it takes none, and cannot be run.
        """
        try:
            return self._as_a_whole(state, {}, None)
        except Unsupported as error:
            if len(self.features) == 1:
                raise
            raise self._lacks_question() from error

    def _lacks_question(self) -> InvalidInput:
        return InvalidInput(
            f"model {self.name!r} answers questions, and the example has none; give a question"
        )

    def _as_a_whole(
        self, state: _State, axes: Mapping[str, int], texts: Tensor | None
    ) -> Forwarding:
        """The network called as a whole; see there."""
        others = (0, 0) if texts is None else _other_words(self.processor.tokenizer)
        second = state.second
        more = (second, _other_words(second.tokenizer)) if second else None
        language = Forwarding(self.module, state.inputs, axes, texts, others, state.lists, more)
        frames = {name: one.layout.frame for name, one in state.shown.items()}
        # What reads a second sequence of words sees pictures anew for each.
        if frames and second is None:
            two = {name: torch.cat([one, 2 * one.mean() - one]) for name, one in frames.items()}
            language.find_vision(state.inputs, state.sequences.showing(two), texts, others)
        return language

    def _offer(self, language: Language) -> None:
        """States what the network can do, now that it is known how it is run."""
        if not isinstance(language, Forwarding):
            return
        takes_words = len(self.features) > 1
        attends = {"attention", "flow"} if language.attends else set()
        flows = {"flow"} if language.flows else set()
        self.capabilities = frozenset({"gradients", "pixels", *attends, *flows})
        self._picture = ImageFeature(fills=FILLS)
        if not language.hides:
            # A token that stands for nothing is all that is left.
            self._text = MASKED
        self.features = (self._picture, self._text) if takes_words else (self._picture,)

    def _tensors(self, inputs: Mapping[str, Any]) -> tuple[dict[str, Tensor], frozenset[str]]:
        """What the processor gives, on the model's device, and the names of what is in lists."""
        lists = self._lists(inputs)
        tensors = {**inputs, **{name: torch.tensor(inputs[name]) for name in lists}}
        moved = {k: self._moved(v) for k, v in tensors.items() if isinstance(v, Tensor)}
        return moved, lists

    def _lists(self, inputs: Mapping[str, Any]) -> frozenset[str]:
        """What the processor gives as lists of whole numbers, and the network takes."""
        known = inspect.signature(self.module.forward).parameters
        return frozenset(
            name
            for name, value in inputs.items()
            if isinstance(value, list) and name in known and _whole_numbers(value)
        )

    def _moved(self, value: Tensor) -> Tensor:
        """A tensor of the processor on the model's device; real numbers in its number type."""
        value = value.to(self.device)
        return value.to(self.module.dtype) if value.is_floating_point() else value

    def _read(self, conversation: Conversation) -> tuple[Prompt, dict[str, Any]]:
        """The prompt and the processor's tensors.

        Raises:
            InvalidInput: there are texts and the model takes none, or the other way round.
        """
        visuals = conversation.visuals
        if not conversation.texts and not self._describes:
            return self._read_alone(visuals)
        if len(self.features) == 1:
            raise InvalidInput(f"model {self.name!r} takes pictures alone; leave the question out")
        return read_prompt(
            self.processor,
            conversation,
            lambda prompt: self._reader.process(prompt, visuals),
            self.module.config,
        )

    def _read_alone(self, visuals: Sequence[Visual]) -> tuple[Prompt, dict[str, Any]]:
        """The same of pictures without words, as captions are asked for."""
        inputs = {} if self._chats else self._reader.process(None, visuals)
        if not inputs or "input_ids" in inputs:
            raise self._lacks_question()
        nowhere = np.zeros(0, dtype=np.int64)
        return Prompt(0, {one.name: nowhere for one in visuals}, {}), inputs

    @property
    def bare_prompt(self) -> bool:
        """Whether a decoder reads texts as they are, with no chat template around them."""
        return not (
            self._chats
            or self.module.config.is_encoder_decoder
            or self.features == (self._picture,)
        )

    @property
    def _describes(self) -> bool:
        """Whether its configuration says that it describes pictures which come without a question.

        Most chat models would write something too, but were never trained on such a prompt.
        """
        return self._chats and bool(getattr(self.module.config, "question_optional", False))

    @property
    def _chats(self) -> bool:
        return bool(getattr(self.processor, "chat_template", None))

    def _shown(
        self, conversation: Conversation, inputs: dict[str, Any], state: _State
    ) -> dict[str, Shown]:
        """Input name → where each picture and frame is in the tensors, and lies there."""
        visuals = conversation.visuals
        slots = self._reader.slots(conversation, inputs)
        found: dict[str, Shown] = {}
        for number, visual in enumerate(visuals):
            tokens = len(state.prompt.places[visual.name]) // len(visual.frames)
            for frame, name in enumerate(visual.names):
                own = slots[number][frame]
                where = (visuals, number, frame, own)
                # Places are found in full precision, and the network sees its own.
                exact = self._reader.layout(*where, inputs, tokens)
                places = self._reader.locate(visuals, number, frame, exact, slots)
                layout = self._reader.layout(*where, state.inputs, tokens, exact)
                found[name] = Shown(number, own, layout, places)
        return found

    def _inputs(self, conversation: Conversation, state: _State) -> list[Input]:
        """The inputs in the order in which they were given."""
        visuals = {one.name: one for one in conversation.visuals}
        found = []
        for given in conversation.given:
            if given.name not in visuals:
                text = self._text_of(given.name, conversation, state)
                feature = self._text_feature(given.name, text, state)
                found.append(Input(named(feature, given.name), text, given.fixed))
                continue
            visual = visuals[given.name]
            group = visual.name if visual.is_video else ""
            for frame, name in zip(visual.frames, visual.names, strict=True):
                layout, places = state.shown[name].layout, state.shown[name].geometries
                picture = Picture(frame, layout.frame, places[0], layout.grid)
                found.append(Input(named(self._picture, name), picture, given.fixed, group))
        return found

    def _text_feature(self, name: str, text: Text, state: _State) -> TextFeature:
        """What can be done with a text.

        A word from whose own state the answer is read cannot be hidden: no other token attends to
        it, but it still says what it is.
        """
        read = state.language.read_from(state.prompt.length)
        own = zip(state.prompt.places[name], text.tokens, strict=True)
        if not any(place == read and token.word >= 0 for place, token in own):
            return self._text
        return MASKED

    def _text_of(self, name: str, conversation: Conversation, state: _State) -> Text:
        tokens = state.prompt.texts[name]
        ids = torch.tensor([tokens.ids], device=self.device)
        return Text(conversation.texts[name], ids, tokens.tokens, tokens.words)

    def generate(
        self, encoded: Encoded, asked: Writing | None = None, streamer: Any = None
    ) -> tuple[str, ...]:
        state: _State = encoded.state
        tokenizer = self.processor.tokenizer
        found = self._wrote(encoded, asked, best_of(self.beams), streamer)
        both = [self.parted(encoded, row) for row in found.tolist()]
        state.thought = both[0][0]
        if not state.thought.closed:
            raise self._still_thinking(found[0].tolist(), asked)
        now = written(tokenizer, [answer for _, answer in both], self.name)
        state.written.update(now)
        return tuple(now)

    def _still_thinking(self, ids: Sequence[int], asked: Writing | None) -> StillThinking:
        """That a thought of these tokens has no end, and what to do."""
        tokenizer = self.processor.tokenizer
        stops = self._asked(asked).stop
        stops = own_setting(self.module, "stop_strings") or () if stops is None else stops
        stops = (stops,) if isinstance(stops, str) else stops
        last = tokenizer.decode(list(ids[-1:]), skip_special_tokens=False)
        text = tokenizer.decode(list(ids), skip_special_tokens=False)
        # The last token may go on behind the stop string.
        ending = [one for one in stops if one in text[-len(one) - len(last) :]]
        if ending:
            return StillThinking(
                f"the thought of model {self.name!r} has the stop string {ending[0]!r}, which ended "
                "it before an answer; give another stop=, or stop=[] for none"
            )
        return StillThinking(
            f"model {self.name!r} is still thinking after {len(ids)} tokens, and has written no "
            "answer; give more by max_new_tokens="
        )

    def _asked(self, asked: Writing | None) -> Writing:
        """What is asked, and else what the model was loaded with."""
        return self.writing if asked is None else asked.over(self.writing)

    def _wrote(
        self, encoded: Encoded, asked: Writing | None, how: dict[str, Any], streamer: Any = None
    ) -> Tensor:
        """(N, A) the tokens that the network writes."""
        state: _State = encoded.state
        writing = self._asked(asked)
        start = state.language.answer_start(state.prompt.length)
        taken = self._taken(state)
        room = None if self._window is None else self._window - taken
        tokenizer = self.processor.tokenizer
        settings = writing.settings(self.module, tokenizer, self.name, taken, room)
        inputs = with_lists(state.inputs, state.lists)
        with torch.no_grad(), self._failing_in_words():
            found: Tensor = self.module.generate(**inputs, **settings, **how, streamer=streamer)
        return found[:, start:]

    def _taken(self, state: _State) -> int:
        """How many tokens stand before an answer, in the sequence that it belongs to."""
        start = state.language.answer_start(state.prompt.length)
        # `generate` may return no prompt, and counts it nevertheless.
        behind_prompt = not start and not self.module.config.is_encoder_decoder
        return state.prompt.length if behind_prompt else start

    def sample(
        self, encoded: Encoded, asked: Writing | None, draws: Draws
    ) -> list[tuple[int, ...]]:
        def write(how: dict[str, Any]) -> Tensor:
            if encoded.state.language.forced:
                # Every answer is scored behind the tokens that it must begin with.
                how = {name: how[name] for name in how if name != "forced_bos_token_id"}
            return self._wrote(encoded, asked, how)

        return sampled(write, self.module, self.processor.tokenizer, draws)

    def as_sequences(
        self, encoded: Encoded, ids: Sequence[tuple[int, ...]], temperature: float
    ) -> Encoded:
        found = with_sequences(encoded, ids, self.processor.tokenizer, temperature)
        behind_pictures = not self.module.config.is_encoder_decoder
        if behind_pictures and isinstance(encoded.state.language, Forwarding):
            self._refuse_pictures(candidates_of(found), encoded.state)
        return found

    @cached_property
    def marks(self) -> Marks | None:
        """The marks around what the model thinks; `None` where its processor declares none."""
        return find_marks(self.processor)

    def parted(self, encoded: Encoded, ids: Sequence[int]) -> tuple[Thought, tuple[int, ...]]:
        prompt = encoded.state.prompt.written.rstrip()
        opened = self.marks is not None and prompt.endswith(self.marks.opening)
        return parted(self.processor.tokenizer, ids, self.marks, opened)

    def thought(self, encoded: Encoded) -> Thought:
        found: Thought = encoded.state.thought
        return found

    def as_thought(self, encoded: Encoded) -> Encoded:
        found = self.thought(encoded)
        if not found.text:
            raise thought_nothing(self.name)
        encoded = self.with_answers(encoded, [found.text], None, {found.text: found.ids})
        candidates = replace(candidates_of(encoded), history=found.before, thinking="")
        return replace(encoded, candidates=candidates)

    @contextmanager
    def _failing_in_words(self) -> Iterator[None]:
        """Where the network itself fails on an example that its processor made, this says so.

        Raises:
            InvalidInput: it fails, and not because memory is short.
        """
        try:
            yield
        except FAILURES as error:
            if lacks_memory(error):
                raise
            raise InvalidInput(
                f"model {self.name!r} fails on this example: {type(error).__name__} "
                f"{str(error)[:200]}; give pictures of another size, or other texts"
            ) from error

    def plain_scores(self, encoded: Encoded) -> Tensor:
        state: _State = encoded.state
        steps = 1 + state.language.forced
        inputs = with_lists(state.inputs, state.lists)
        with self._failing_in_words():
            found = self.module.generate(**inputs, **first_tokens(steps))
        return candidates_of(encoded).firsts(found.logits[-1])

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        state: _State = encoded.state
        known = {**state.written, **(known or {})}
        candidates = Candidates.of(texts, self.processor.tokenizer, token, self.lengths, known)
        thought = state.thought
        candidates = replace(candidates, history=thought.history, thinking=thought.text)
        candidates.check_room(self._taken(state), self._window, self.name)
        self._refuse_pictures(candidates, state)
        return replace(encoded, labels=candidates.texts, candidates=candidates)

    def as_words(self, encoded: Encoded, answer: int) -> Encoded:
        return with_words(encoded, answer, self.processor.tokenizer)

    def with_earlier_words(self, encoded: Encoded, word: int, kept: np.ndarray) -> Encoded:
        return with_some_before(encoded, word, kept, self.processor.tokenizer)

    def without_earlier_words(self, encoded: Encoded) -> Encoded:
        return without_words(encoded, self.processor.tokenizer)

    def _refuse_pictures(self, candidates: Candidates, state: _State) -> None:
        """Refuses answers with a token that stands for a picture or a video.

        Where the whole network is called, it would look for another picture there.

        Raises:
            InvalidInput: an answer has such a token.
        """
        marks = set(visual_tokens(self.module.config, videos=True))
        for text, ids in zip(candidates.texts, candidates.ids, strict=True):
            spelled = next((number for number in ids if number in marks), None)
            if spelled is None:
                continue
            mark = self.processor.tokenizer.decode([spelled])
            if text in state.written:
                raise InvalidInput(
                    f"model {self.name!r} writes {mark!r} into its answer, which stands for a "
                    "picture; give answers=['yes', 'no'] or the like"
                )
            raise InvalidInput(
                f"the answer {text!r} contains {mark!r}, which stands for a picture; leave it out"
            )

    def leaves(self, encoded: Encoded) -> Leaves:
        return {
            one.name: self._embedded(encoded, one, None, "").detach()
            if isinstance(one.content, Text)
            else one.content.pixels.clone()
            for one in encoded.inputs
        }

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        found = {}
        for one in encoded.inputs:
            fill = fills[one.name]
            if isinstance(one.content, Text):
                special = torch.tensor([[token.word < 0 for token in one.content.tokens]])
                words = self._embedded(encoded, one, special.to(self.device), fill)
                found[one.name] = words.detach()
            else:
                found[one.name] = baseline(one.content.pixels, one.content.geometry, fill, seed)
        return found

    def _embedded(self, encoded: Encoded, one: Input, present: Tensor | None, fill: str) -> Tensor:
        """(B, T, D) what the tokens of a text are to the network.

        Args:
            encoded: the example.
            one: the text.
            present: (B, T) bool, which of them are there; `None` for all.
            fill: what stands for those that are not.
        """
        language, content = encoded.state.language, one.content
        second = encoded.state.second_tokens(one.name)
        ids = content.ids
        if present is not None:
            ids = torch.where(present, ids, stand_in(self.processor.tokenizer, fill))
        embedded: Tensor = language.embed(ids)
        if second is None:
            return embedded
        ids = second.ids[None]
        if present is not None:
            absent = stand_in(encoded.state.second.tokenizer, fill)
            ids = torch.where(present[..., None], ids, absent)
        return torch.cat([embedded, language.embed_second(ids, second.there)], dim=-1)

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        with parameters_frozen(self.module):
            given = self._received(encoded, leaves)
            language: Language = encoded.state.language
            given = self._with_words(encoded, given, leaves)
            return language.answer(given, candidates_of(encoded))

    def _received(self, encoded: Encoded, leaves: Mapping[str, Tensor]) -> Any:
        """What the decoder receives for the leaves that are frames; the texts are as they were."""
        return encoded.state.language.received(encoded.state.sequences.showing(leaves))

    def missed_change(self, encoded: Encoded, other: Encoded) -> float:
        """The share of the change between two examples that frames of the other miss.

        Of the tensor that misses most. The network gets what the frame becomes, and should get its
        processor's own.
        """
        state: _State = encoded.state
        frames = {name: other[name].content.pixels for name in state.shown}
        given = state.sequences.changed(frames)
        missed = [0.0]
        for name, values in given.items():
            before, own = state.inputs[name], other.state.inputs[name]
            change = float((own - before).float().norm())
            if change:
                missed.append(float((own - values).float().norm()) / change)
        return max(missed)

    def _with_words(self, encoded: Encoded, given: Any, words: Mapping[str, Tensor]) -> Any:
        """The sequence with other embeddings (B, T, D) of the texts that `words` holds."""
        for one in encoded.inputs:
            if isinstance(one.content, Text) and one.name in words:
                where = self._where(encoded, one.name)
                second = encoded.state.second_tokens(one.name)
                if second is None:
                    given = given.put(where, words[one.name])
                else:
                    language: Forwarding = encoded.state.language
                    given = language.put_both(given, where, words[one.name], second)
        return given

    def _where(self, encoded: Encoded, name: str) -> Tensor:
        """The positions of an input's tokens."""
        state: _State = encoded.state
        return torch.from_numpy(state.positions(name)).to(self.device)

    def answer_steps(self, encoded: Encoded, columns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return candidates_of(encoded).steps(columns)

    def prompt_length(self, encoded: Encoded) -> int:
        state: _State = encoded.state
        return state.prompt.length

    def _watched(self, encoded: Encoded, place: int) -> tuple[Any, Tensor]:
        """The sequence of the example in the graph of its leaves, and each answer's token (K, 1)
        at a place.
        """
        leaves = {name: leaf.requires_grad_(True) for name, leaf in self.leaves(encoded).items()}
        given = self._with_words(encoded, self._received(encoded, leaves), leaves)
        nexts = candidates_of(encoded).nexts(place)
        return given, torch.tensor([[token] for token in nexts], device=self.device)

    def streams(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Streams:
        language: Forwarding = encoded.state.language
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            given, tokens = self._watched(encoded, len(before))
            found, layers = language.streams(given, before, tokens)
            scores = candidates_of(encoded).added(before, found)
        sizes = {
            layer.stream: layer.map.shape[-1] for layer in layers if isinstance(layer, SelfLayer)
        }
        readout = (DECODER, sizes[DECODER] - 1)
        return Streams(scores, sizes, layers, readout, whole=ENCODER)

    def attention(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Attention:
        candidates = candidates_of(encoded)
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            given, tokens = self._watched(encoded, len(before))
            seen = encoded.state.language.seen(given, before, tokens)
            scores = candidates.added(before, seen.found)
        length = self.prompt_length(encoded)
        readout = (length + len(before) - 1,)
        maps, written = seen.maps, seen.written
        return Attention(scores, maps, readout, written, seen.layers, seen.depth, length)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        state: _State = encoded.state
        valued = [one.name for one in encoded.inputs if not one.fixed]
        twice = next((name for name in valued if state.second_tokens(name)), None)
        if twice is not None:
            raise Unsupported(
                f"{called(twice)} reaches model {self.name!r} by two sequences of tokens, of which "
                "a layer's states are only one; use a method over inputs or coalitions, such as "
                "integrated_gradients"
            )
        for name in state.shown:
            if name in valued:
                self._check_places(encoded, name)
        if length != state.prompt.length:
            raise InvalidInput(
                f"a layer of {length} states does not hold one per token and patch; choose another"
            )
        return Positions({name: state.positions(name) for name in valued})

    def _check_places(self, encoded: Encoded, name: str) -> None:
        """Refuses a picture whose tokens are not the cells of its grid.

        That is measured once for each set of sizes.

        Raises:
            Unsupported: they are not.
        """
        key = (encoded.state.form, name, encoded[name].content.grid)
        if key not in self._places:
            self._places[key] = self._has_places(encoded, name)
        if not self._places[key]:
            what = "the picture" if name == "image" else repr(name)
            raise Unsupported(
                f"the tokens of {what} in model {self.name!r} have no place of their own, as "
                "those of overlapping tiles, of a resampler, or of several frames; use a method "
                "over pixels or coalitions, such as integrated_gradients, or leave the picture as "
                "it is by players="
            )

    def _has_places(self, encoded: Encoded, name: str) -> bool:
        picture: Picture = encoded[name].content
        where = self._where(encoded, name)
        cells = picture.grid[0] * picture.grid[1]
        if not encoded.state.shown[name].layout.counted or len(where) != cells:
            return False

        def tokens(frames: Tensor) -> Tensor:
            language: Language = encoded.state.language
            return language.states(self._received(encoded, {name: frames}))[:, where]

        return shows_cells(tokens, picture.pixels, picture.grid)

    def default_layer(self, encoded: Encoded) -> str:
        # The answer is read from the last token of the last layer, so pictures matter only up to
        # the one before.
        decoder: Any = encoded.state.language.decoder
        if decoder is None:
            raise Unsupported(
                f"model {self.name!r} has no list of decoder layers, so name the layer: layer=…"
            )
        path = next(name for name, part in self.module.named_modules() if part is decoder)
        return f"{path}.layers.{max(0, len(decoder.layers) - 2)}"

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        given = self._with_pictures(encoded, present, fills, seed)
        language: Language = encoded.state.language
        words: dict[str, Tensor] = {}
        for one in encoded.inputs:
            if not isinstance(one.content, Text):
                continue
            present_tokens = present[one.name].elements
            if fills[one.name] == "pad":
                where = self._where(encoded, one.name)
                second = encoded.state.second_tokens(one.name)
                if second is None:
                    given = given.hidden(where, present_tokens)
                else:
                    whole = cast(Forwarding, language)  # nothing else has a second sequence
                    given = whole.hidden_in_both(given, where, present_tokens, second)
            else:
                words[one.name] = self._embedded(encoded, one, present_tokens, fills[one.name])
        given = self._with_words(encoded, given, words)
        dropped = [name for name in encoded.state.shown if fills[name] == DROP]
        if dropped:
            given = given.kept(self._kept(encoded, present, dropped, given))
        return language.answer_coalitions(given, candidates_of(encoded))

    def for_game(self, encoded: Encoded) -> Encoded:
        return replace(encoded, state=replace(encoded.state, memory=PictureMemory()))

    def _kept(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        dropped: Sequence[str],
        given: Any,
    ) -> Tensor:
        """(B, N) bool, what stays in the sequence where absent cells of these pictures leave it."""
        kept = torch.ones_like(given.attended)
        for name in dropped:
            if encoded[name].fixed:
                continue
            self._check_places(encoded, name)
            one = present[name]
            cells = grid_regions(one.division.owner.shape, encoded[name].content.grid).owner
            first = np.unique(cells, return_index=True)[1]  # every cell is whole in one region
            owner = one.division.owner.ravel()[first]
            kept[:, self._where(encoded, name)] = present_elements(one.players, owner)
        return kept

    def _with_pictures(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Any:
        """The sequences of N coalitions: their own pictures, and the texts as they are.

        Each state of a picture goes through the vision encoder once, however many coalitions have
        it, where the encoder looks at pictures one by one. Otherwise each state of all pictures
        together does.
        """
        count = len(next(iter(present.values())))
        filled = [name for name in encoded.state.shown if fills[name] != DROP]
        if not filled:
            return self._shown_rows(encoded, _untouched()).times(_zeros(count))
        states = self._states(encoded, filled, present, fills, seed)
        if len(states) > 1 and not self._encodes_apart(encoded):
            states = [self._state_of(encoded, filled, present, fills, seed)]
        if len(states) == 1:
            return self._shown_rows(encoded, states[0]).times(states[0].which)
        return self._mixed(encoded, states)

    def _shown_rows(self, encoded: Encoded, shown: "_PictureStates") -> Any:
        """What is received for each of M states of all pictures."""
        state: _State = encoded.state
        if isinstance(state.language, Forwarding):
            given = self._received(encoded, shown.frames)
            return given.remembered(state.memory, shown.keys)
        if state.memory is None:
            return self._received(encoded, shown.frames)

        def make(fresh: list[int]) -> list[Prompted]:
            given: Prompted = self._received(encoded, shown.some(fresh))
            return [given.times(torch.tensor([row])) for row in range(len(fresh))]

        return Prompted.joined(state.memory.rows(shown.keys, make))

    def _mixed(self, encoded: Encoded, states: "Sequence[_PictureStates]") -> Prompted:
        """The sequences of N coalitions, whose pictures were each looked at alone."""
        memory = encoded.state.memory or PictureMemory()
        places = [self._where_shown(encoded, next(iter(one.frames))) for one in states]
        key = b"the first sequence"
        first: Prompted | None = memory.get(key)
        if first is None:
            frames = {name: frame for one in states for name, frame in one.some([0]).items()}
            first = self._received(encoded, frames)
            memory.keep(key, first)
            for one, where in zip(states, places, strict=True):
                memory.keep(one.keys[0], first.states[:, where])
        whole = first.times(_zeros(len(states[0].which)))
        mixed = whole.states
        for one, where in zip(states, places, strict=True):

            def make(fresh: list[int], one: _PictureStates = one) -> tuple[Tensor, ...]:
                return torch.split(self._tokens_alone(encoded, one.some(fresh)), 1)

            tokens = torch.cat(memory.rows(one.keys, make))
            mixed = mixed.index_copy(1, where, tokens[one.which])
        return replace(whole, states=mixed)

    def _states(
        self,
        encoded: Encoded,
        names: Sequence[str],
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> "list[_PictureStates]":
        """The distinct states of each picture or video."""
        state: _State = encoded.state
        together: dict[int, list[str]] = {}
        for name in names:
            together.setdefault(state.shown[name].visual, []).append(name)
        return [self._state_of(encoded, group, present, fills, seed) for group in together.values()]

    def _state_of(
        self,
        encoded: Encoded,
        names: Sequence[str],
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> "_PictureStates":
        """The same of pictures that are looked at together."""
        several, which = distinct_together([present[name] for name in names])
        named_states = dict(zip(names, several, strict=True))
        frames = {
            name: fill_in(encoded[name].content.pixels, one.elements, fills[name], seed)
            for name, one in named_states.items()
        }
        keys = _keys(named_states, fills, seed)
        return _PictureStates(frames, which.to(self.device), keys)

    def _where_shown(self, encoded: Encoded, name: str) -> Tensor:
        """The positions of the whole picture or video that an input is of."""
        state: _State = encoded.state
        visual = state.visuals[state.shown[name].visual]
        return torch.from_numpy(state.prompt.places[visual.name]).to(self.device)

    def _tokens_alone(self, encoded: Encoded, frames: Mapping[str, Tensor]) -> Tensor:
        """(B, n, D) what the decoder receives of a picture or video that is given alone."""
        state: _State = encoded.state
        number = state.shown[next(iter(frames))].visual
        part, positions = alone(
            state.sequences, state.visuals, number, state.prompt.places[state.visuals[number].name]
        )
        where = torch.from_numpy(positions).to(self.device)
        tokens: Tensor = encoded.state.language.received(part.showing(frames)).states[:, where]
        return tokens

    def _encodes_apart(self, encoded: Encoded) -> bool:
        """Whether each picture's tokens depend on nothing but that picture.

        That is measured once for each set of sizes.
        """
        state: _State = encoded.state
        if isinstance(state.language, Forwarding):  # which sees no tokens before its network does
            return False
        if state.form not in self._apart:
            try:
                found = all(self._is_apart(encoded, number) for number in range(len(state.visuals)))
            except (VQAExplainError, *FAILURES) as error:
                log.info("pictures are encoded together in model %r: %s", self.name, error)
                found = False
            self._apart[state.form] = found
        return self._apart[state.form]

    def _is_apart(self, encoded: Encoded, number: int) -> bool:
        """Whether a picture changes its own tokens alone, to what they are without the others."""
        state: _State = encoded.state
        names = [name for name, one in state.shown.items() if one.visual == number]
        frames = {}
        for name in names:
            pixels = encoded[name].content.pixels
            frames[name] = torch.cat([pixels, 2 * pixels.mean() - pixels])
        among_others = self._received(encoded, frames).states
        where = self._where_shown(encoded, names[0])
        own = among_others[:, where]
        others = torch.ones(among_others.shape[1], dtype=torch.bool, device=self.device)
        others[where] = False
        allowed = max(1e-5, 8 * torch.finfo(own.dtype).eps) * float(among_others.abs().max())
        apart = float((own - self._tokens_alone(encoded, frames)).abs().max()) <= allowed
        unmoved = (among_others[1, others] - among_others[0, others]).abs()
        return apart and float(unmoved.max()) <= allowed


@dataclass(frozen=True, eq=False)
class _PictureStates:
    """The distinct states of pictures that are looked at together.

    Attributes:
        frames: input name → (M, 3, H', W').
        which: (N,) the state that each coalition has.
        keys: what tells each of them from all others of the example.
    """

    frames: Mapping[str, Tensor]
    which: Tensor
    keys: Sequence[bytes]

    def some(self, rows: list[int]) -> dict[str, Tensor]:
        """The frames of these states."""
        return {name: frame[rows] for name, frame in self.frames.items()}


def _untouched() -> _PictureStates:
    """The one state of pictures as they are."""
    return _PictureStates({}, _zeros(1), [b"untouched"])


def _keys(states: Mapping[str, Present], fills: Mapping[str, str], seed: int) -> list[bytes]:
    """What each of M states of pictures is known by: what is present, and what fills the rest."""
    asked = repr([(name, fills[name], seed) for name in states]).encode()
    elements = [one.elements.flatten(1).cpu().numpy() for one in states.values()]
    keys = []
    for rows in zip(*elements, strict=True):
        digest = blake2b(asked)
        for row in rows:
            digest.update(row.tobytes())
        keys.append(digest.digest())
    return keys


def _other_words(tokenizer: Any) -> tuple[int, int]:
    """Two tokens of words."""
    ids = tokenizer(OTHER_WORDS, add_special_tokens=False)["input_ids"]
    return int(ids[0]), int(ids[-1])


def _reads_text(processor: Any) -> bool:
    """Whether a processor may take text: those of some captioners name pictures alone."""
    named = inspect.signature(processor.__call__).parameters
    return "text" in named or "images" not in named


def _whole_numbers(value: list[Any]) -> bool:
    """Whether a list holds nothing but whole numbers, or rows of as many each."""
    found = np.array(value, dtype=object)
    return bool(value) and all(isinstance(one, int) for one in found.ravel())


def _zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)
