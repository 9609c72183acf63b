"""Stand-ins with known answers, shared by the tests of several rooms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.audio.bandwidth import STEP
from turnout.audio.silero import CHUNK_SAMPLES
from turnout.audio.voice import LENIENT, SpeechFinder
from turnout.config import DecoderConfig, ModelConfig, VocabularyConfig
from turnout.decoding.backend import (
    Backend,
    DecoderState,
    Encoded,
    StepOutput,
    StepQuery,
    from_whole_vocabulary,
)
from turnout.decoding.requests import Request, Utterance
from turnout.guidance import Guidance, Task
from turnout.text.sentencepieces import SentencePieceTokenizer

WORDS = ("one", "two", "three", "four", "five", "yes", "no", "stop")
ARABIC = ("واحد", "اثنان", "ثلاثة", "أربعة", "خمسة", "نعم", "لا", "توقف")
GERMAN = ("eins", "zwei", "drei", "vier", "fünf", "ja", "nein", "halt")
SURE = 0.98


@cache
def tokenizer() -> SentencePieceTokenizer:
    """A fixed small tokenizer: Arabic and English spoken, German written; words are whole."""
    texts = [*WORDS, *ARABIC, *GERMAN] * 20
    return SentencePieceTokenizer.train(texts, VocabularyConfig(size=512))


def model_config(**changes: object) -> ModelConfig:
    """The default shape with the fixed tokenizer's vocabulary; `changes` replace fields."""
    vocabulary = replace(VocabularyConfig(), size=tokenizer().size)
    base = ModelConfig(vocabulary=vocabulary)
    return replace(base, **changes)  # type: ignore[arg-type]


CTC_ONLY = DecoderConfig(num_layers=0)


def tone(
    seconds: float, *, frequency_hz: float = 440.0, amplitude: float = 0.5, rate: int = 16_000
) -> NDArray[np.float32]:
    """A sine [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


class Probabilities:
    """As `SpeechProbabilities`, by a rule instead of a network."""

    def __init__(self, rule: Callable[[int, NDArray[np.float32]], float]) -> None:
        self._rule = rule
        self._waiting = np.zeros(0, np.float32)
        self._chunks = 0

    def add(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the whole chunks."""
        self._waiting = np.concatenate((self._waiting, samples))
        whole = len(self._waiting) // CHUNK_SAMPLES
        chunks = self._waiting[: whole * CHUNK_SAMPLES].reshape(whole, CHUNK_SAMPLES)
        found = [self._rule(self._chunks + i, chunk) for i, chunk in enumerate(chunks)]
        self._waiting = self._waiting[whole * CHUNK_SAMPLES :]
        self._chunks += whole
        return np.array(found, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Of the rest."""
        rest = [self._rule(self._chunks, self._waiting)] if len(self._waiting) else []
        return np.array(rest, np.float32)


def scripted_finder(probabilities: Sequence[float]) -> SpeechFinder:
    """One that is told how probable speech is in each chunk."""
    return ruled_finder(lambda chunk, _: probabilities[chunk])


def hears_every_sound(*_: object) -> SpeechFinder:
    """One that takes for speech whatever is not silent, such as a tone."""
    return ruled_finder(lambda _, samples: float(samples.max() - samples.min() > 2 * STEP))


def ruled_finder(rule: Callable[[int, NDArray[np.float32]], float]) -> SpeechFinder:
    """One whose probabilities follow a rule."""
    finder = SpeechFinder(LENIENT)
    finder._heard = Probabilities(rule)  # type: ignore[assignment]
    return finder


@dataclass(frozen=True)
class Script:
    """What is said in one utterance, and what each head makes of it."""

    transcript: str = ""
    translations: Mapping[str, str] = field(default_factory=dict)
    language: str = "ar"
    heard: str | None = None
    """What CTC's best path says; the transcript by default."""
    heard_with: float = 0.999
    """CTC's probability of its best path in each frame."""
    next_tokens: Mapping[tuple[int, ...], Mapping[int, float]] = field(default_factory=dict)
    """Transcript tokens so far -> probabilities of the next token, instead of the transcript."""


def scripted_utterance(
    index: int, request: Request, seconds: float = 2.0, **more: Any
) -> Utterance:
    """An utterance that `ScriptedBackend` recognises as its script of that index; `more` are
    fields of Utterance."""
    log_mel = np.zeros((round(seconds * 100), 80), dtype=np.float32)
    log_mel[:, 0] = index
    return Utterance(log_mel, request, **more)


class Once:
    """The cache of a DecoderState, which may be taken out once: a backend may write into it."""

    def __init__(self, content: Any) -> None:
        self._content = [content]

    def take(self) -> Any:
        """What is inside, the first time."""
        assert self._content, "this DecoderState was used before"
        return self._content.pop()


@dataclass
class ScriptedBackend:
    """A `Backend` that says what its scripts say, whatever the batch looks like."""

    scripts: Sequence[Script]
    config: ModelConfig = field(default_factory=model_config)
    tokenizer: SentencePieceTokenizer = field(default_factory=tokenizer)
    encoded_batches: list[tuple[Guidance, ...]] = field(default_factory=list)
    """The guidance of every call of `encode`."""
    steps: list[int] = field(default_factory=list)
    """How many rows each call of `step` had."""

    def encode(
        self,
        log_mel: NDArray[np.float32],
        frame_mask: NDArray[np.bool_],
        guidance: Sequence[Guidance],
    ) -> Encoded:
        """Finds each utterance's script by the index in its first mel band."""
        self.encoded_batches.append(tuple(guidance))
        factor = self.config.encoder.subsampling_factor
        for known in guidance:
            self.config.expert_map(self.config.encoder.routing).index(known)
        lengths = -(-frame_mask.sum(axis=1) // factor)
        mask = np.arange(lengths.max()) < lengths[:, None]
        indices = log_mel[:, 0, 0].astype(int)
        ctc = None
        if self.config.ctc:
            ctc = np.full((*mask.shape, self.config.vocabulary.size), -7.0, dtype=np.float32)
            for row, (index, length) in enumerate(zip(indices, lengths, strict=True)):
                ctc[row, :length] = self.emissions(self.scripts[index], int(length))
        return Encoded(mask, ctc, np.zeros((0, *mask.shape), dtype=np.int64), indices)

    def emissions(self, script: Script, frames: int) -> NDArray[np.float32]:
        """[frames, vocabulary]: one frame per token, evenly spread, blank elsewhere."""
        text = script.transcript if script.heard is None else script.heard
        tokens = self.tokenizer.encode(text)
        path = np.full(frames, self.tokenizer.blank)
        path[(2 * np.arange(len(tokens)) + 1) * frames // (2 * max(len(tokens), 1))] = tokens
        return np.stack([self.log_probs({int(token): script.heard_with}) for token in path])

    def log_probs(self, probabilities: Mapping[int, float]) -> NDArray[np.float32]:
        """[vocabulary]: these probabilities, the rest spread over all other tokens."""
        size = self.config.vocabulary.size
        rest = max(1 - sum(probabilities.values()), 1e-9)
        result = np.full(size, rest / (size - len(probabilities)))
        for token, probability in probabilities.items():
            result[token] = probability
        return np.log(result).astype(np.float32)

    def start(
        self, encoded: Encoded, rows: NDArray[np.int64], guidance: Sequence[Guidance]
    ) -> DecoderState:
        """Rows without history."""
        for known in guidance:
            self.config.expert_map(self.config.decoder.routing).index(known)
        scripts = [self.scripts[index] for index in encoded.hidden[rows]]
        cache = [(script, g, ()) for script, g in zip(scripts, guidance, strict=True)]
        return DecoderState(rows, Once(cache))

    def step(
        self,
        state: DecoderState,
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
        query: StepQuery,
    ) -> tuple[StepOutput, DecoderState]:
        """What each row's script says after its history."""
        self.steps.append(len(tokens))
        assert len(tokens) == len(state.rows) == len(counts)
        log_probs = np.zeros((*tokens.shape, self.config.vocabulary.size), dtype=np.float32)
        cache = []
        for row, (script, guidance, history) in enumerate(state.cache.take()):
            for position in range(int(counts[row])):
                history = (*history, int(tokens[row, position]))  # noqa: PLW2901
                log_probs[row, position] = self.log_probs(self.next(script, guidance, history))
            cache.append((script, guidance, history))
        return from_whole_vocabulary(log_probs, query), DecoderState(state.rows, Once(cache))

    def next(
        self, script: Script, guidance: Guidance, history: tuple[int, ...]
    ) -> Mapping[int, float]:
        """Probabilities of the next token; off its script, a row ends."""
        if history == (self.tokenizer.start,):
            return {self.tokenizer.language(script.language): SURE}
        prompt = tuple(self.tokenizer.prompt(guidance, self.config.task_token))
        if history[: len(prompt)] != prompt:
            assert prompt[: len(history)] == history, f"{history} does not begin with {prompt}"
            return {}
        written = history[len(prompt) :]
        if guidance.task is Task.TRANSCRIBE and written in script.next_tokens:
            return script.next_tokens[written]
        target = guidance.target_language or ""
        translating = guidance.task is Task.TRANSLATE
        text = script.translations[target] if translating else script.transcript
        tokens = (*self.tokenizer.encode(text), self.tokenizer.end)
        on_script = tokens[: len(written)] == written
        return {tokens[len(written)] if on_script else self.tokenizer.end: SURE}

    def keep(self, state: DecoderState, counts: NDArray[np.int64]) -> DecoderState:
        """So many tokens of each row's history."""
        cache = [
            (script, guidance, history[:count])
            for (script, guidance, history), count in zip(
                state.cache.take(), counts.tolist(), strict=True
            )
        ]
        return DecoderState(state.rows, Once(cache))

    def attention(
        self,
        encoded: Encoded,
        rows: NDArray[np.int64],
        guidance: Sequence[Guidance],  # noqa: ARG002 - a script has one text
        tokens: NDArray[np.int64],
        counts: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Token after token, evenly spread over the row's frames."""
        heads = max(len(self.config.decoder.alignment_heads), 1)
        frames = encoded.frame_mask[rows].sum(axis=1)
        weights = np.zeros((len(rows), heads, tokens.shape[1], encoded.frame_mask.shape[1]))
        for row, count in enumerate(counts):
            places = np.arange(count) * frames[row] // max(count, 1)
            weights[row, :, np.arange(count), places] = 1
        return weights.astype(np.float32)

    def select(self, state: DecoderState, rows: NDArray[np.int64]) -> DecoderState:
        """These rows."""
        cache = state.cache.take()
        return DecoderState(state.rows[rows], Once([cache[row] for row in rows]))


def whole_step(
    backend: Backend, state: DecoderState, tokens: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], DecoderState]:
    """A step that asks for everything: log-probabilities [rows, new, vocabulary]."""
    size = backend.config.vocabulary.size
    query = StepQuery(
        positions=np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape),
        allowed=np.ones((len(tokens), size), dtype=bool),
        best=size,
        scored=np.zeros(tokens.shape, dtype=np.int64),
    )
    found, grown = backend.step(state, tokens, counts, query)
    log_probs = np.empty_like(found.log_probs)
    np.put_along_axis(log_probs, found.tokens, found.log_probs, axis=2)
    return log_probs, grown
