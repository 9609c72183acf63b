"""What decoding is asked and what it answers, and whether a model can serve it: every impossible
wish is refused here, with the choices named. No backend and no file here.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from turnout.audio.features import FRAME_SECONDS
from turnout.config import ModelConfig, RoutingConfig, TranscriptionOptions
from turnout.config.bounds import above_zero, at_least, require, share
from turnout.errors import Cancelled, GuidanceError, TurnoutError
from turnout.guidance import FINDABLE, Bandwidth, Guidance, Guide, Task, Window
from turnout.text.transcript import Word

CHARACTERS_PER_SECOND = 25
"""Longest text of a second of audio, transcript or translation: faster than people go on. One in a
hundred utterances of read English reaches 20, of read German 21 (counted by hand). Mandarin's 5
syllables a second are as many characters, Spanish's and Japanese's 8 about 20 letters (Pellegrino
et al. 2011)."""
FEWEST_SECONDS = 0.5
"""As which shorter audio counts: a word may be said in a tenth of it, and the word that translates
it may be longer."""

MOST_PAIRS = 8
"""Of languages, named in an error."""
SPARE_TOKENS = 8
"""Allowed to every row beyond its share by length, so that a short word can be spelled."""


def most_characters(seconds: float) -> int:
    """Longest text of so much audio, fractions of a second as fractions."""
    return int(CHARACTERS_PER_SECOND * max(seconds, FEWEST_SECONDS))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is wanted of one utterance."""

    tasks: tuple[Task, ...] = (Task.TRANSCRIBE,)
    """One hypothesis each, in this order; one encoder pass serves all of them."""
    bandwidth: Bandwidth = Bandwidth.WIDEBAND
    """Measured, or said by the caller."""
    language: str | None = None
    """Spoken language; found by the decoder where it is None."""
    target_language: str | None = None
    """Of the translation; where None, the only one the model has for the spoken language."""
    domain: str | None = None
    """One of the model's; where None, its first."""
    window: Window = Window.PADDED
    """How much of a window the features are of."""
    initial_prompt: str | None = None
    """Stands before every text, for models with a token for previous texts."""
    previous: tuple[tuple[int, ...], ...] = ()
    """For each of the tasks, ids of what was written before this utterance; they stand behind the
    initial prompt. Empty where nothing was."""


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How hypotheses are searched for. All but two are the caller's (`TranscriptionOptions`); these
    are what decoding is tried and tested with."""

    beam_size: int = 1
    """Hypotheses kept per row; 1 is greedy."""
    ctc_weight: float = 0.3
    """Share of CTC in the score of transcripts: of a beam's hypotheses, and of CTC's best path
    beside the decoder's text. Translations have none."""
    word_timestamps: bool = False
    """Whether the transcript's words get times (by CTC alignment)."""
    decoder_routing: bool = False
    """Whether the transcript's tokens tell what the decoder's learned routers did, by backends that
    can."""
    max_tokens_per_second: float = 25.0
    """Longest text per second of audio; a few tokens more are allowed to short utterances. As many
    as characters: a token may be a letter, or a byte of a script that has fewer of them."""
    temperatures: tuple[float, ...] = (0.0,)
    """Of the attempts at a text, in order, by Whisper's models: 0 is the search, above it texts are
    sampled. The next one is made where the last was refused."""
    best_of: int = 5
    """Texts sampled in an attempt, of which the most probable is taken."""
    compression_ratio_threshold: float | None = 2.4
    """Above which a text is refused."""
    logprob_threshold: float | None = -1.0
    """Mean log-probability below which a text is refused."""
    no_speech_threshold: float | None = 0.6
    """No-speech probability above which a text that is refused for its log-probability is no text
    at all; the further above, the more probable a text must be."""

    def __post_init__(self) -> None:
        at_least(1, self, "", "beam_size", "best_of")
        require(len(self.temperatures) > 0, "temperatures must name at least one")
        share(self, "", "ctc_weight")
        above_zero(self, "", "max_tokens_per_second")

    @classmethod
    def of(cls, options: TranscriptionOptions) -> "DecodingOptions":
        """Those that these options imply."""
        return cls(
            beam_size=options.beam_size,
            word_timestamps=options.word_timestamps,
            temperatures=options.temperatures,
            best_of=options.best_of,
            compression_ratio_threshold=options.compression_ratio_threshold,
            logprob_threshold=options.logprob_threshold,
            no_speech_threshold=options.no_speech_threshold,
        )


@dataclass(frozen=True)
class Utterance:
    """A part of a recording, ready for the encoder, with all that is wanted of it: its batch-mates
    may want something else."""

    log_mel: NDArray[np.float32]
    """[frames, mels], of this utterance alone: padding is `decode`'s."""
    request: Request
    options: DecodingOptions = field(default_factory=DecodingOptions)
    num_frames: int | None = None
    """Frames of sound, where silence up to the model's window lies behind them; None is all."""
    is_cancelled: Callable[[], bool] | None = None
    """Asked at every step; once it says True, this utterance is given up, and its batch-mates go
    on."""

    @property
    def frames(self) -> int:
        """Frames of sound."""
        return len(self.log_mel) if self.num_frames is None else self.num_frames


def most_tokens(utterance: Utterance) -> int:
    """The most that a text of this utterance may have, whatever writes it."""
    seconds = utterance.frames * FRAME_SECONDS
    return ceil(seconds * utterance.options.max_tokens_per_second) + SPARE_TOKENS


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What one decoder row wrote, or CTC alone."""

    task: Task
    language: str | None
    """Of the text: the spoken or the target language; None where a CTC-only model of several
    was not told."""
    tokens: tuple[int, ...]
    """Ids of the text alone: no prompt, no end."""
    text: str
    log_prob: float
    """Natural logarithm of the probability of the tokens, and of the end where `ended`, under the
    decoder (under CTC where there is no decoder)."""
    token_log_probs: tuple[float, ...] = ()
    """Of each token: the decoder's, or where CTC alone wrote the text, CTC's."""
    ended: bool = True
    """Whether `log_prob` is also of the end: CTC knows none, a row that was stopped has none."""
    cut: bool = False
    """Whether the text was stopped: longer than its audio has room for, or repeating itself."""
    failed: bool = False
    """Whether every attempt was refused, so that this text is the least bad: it is cut, repeats
    itself or is improbable. Only of Whisper's models."""
    temperature: float | None = None
    """Of the attempt that wrote the text; None of models other than Whisper's, as the next is."""
    compression_ratio: float | None = None
    """Bytes of the text for each that zlib needs for it."""
    no_speech_prob: float | None = None
    """How probable the model finds it that nothing is said; None where it has no token for that."""
    words: tuple[Word, ...] = ()
    """Transcripts only, where word times were asked for; seconds from the utterance's start."""
    start: float | None = None
    """Where speech begins, in seconds, by CTC or by the words' times; None without text, and where
    there is neither."""
    end: float | None = None
    """Where speech ends, in seconds."""
    token_frames: NDArray[np.int64] | None = field(default=None, compare=False)
    """[2, tokens]: first and last hidden frame of each token, of transcripts with word times."""
    router_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)
    """[routings, tokens, experts]: of the decoder's learned routers while each token was written;
    only where it was asked for and the backend tells."""
    heard_until: float | None = None
    """Where the decoder attended to the last words, in seconds: what lies far behind it was passed
    over. Only of Whisper's transcripts, of utterances of some length."""
    unheard: tuple[float, float] | None = None
    """The longest stretch before those in which it attended to no word, in seconds, likewise."""

    @property
    def avg_log_prob(self) -> float:
        """Mean over the tokens, and the end where it was scored."""
        return average_log_prob(self.log_prob, len(self.tokens), self.ended)


def average_log_prob(log_prob: float, tokens: int, ended: bool) -> float:
    """Mean over the tokens, and the end where it was scored."""
    return log_prob / max(tokens + ended, 1)


def compression_ratio(text: str) -> float:
    """Bytes of the text for each that zlib needs for it: a text that repeats itself has many."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data))


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The answer for one utterance."""

    language: str | None
    """Spoken: given, the model's only one, or found by the decoder; None where a CTC-only model of
    several was not told."""
    hypotheses: tuple[Hypothesis, ...]
    """One per task, in the request's order; none where there is an error."""
    language_probability: float | None = None
    """Among the model's languages; None where the language was not found by the decoder."""
    error: TurnoutError | None = None
    """Why nothing was decoded: Cancelled, GuidanceError for a request that this model cannot serve,
    or not for the language that was found, or ModelFolderError where its path cannot be opened."""
    expert_index: NDArray[np.int64] | None = field(default=None, compare=False)
    """[routings, hidden frames]: the encoder's expert of each frame of sound, in order of depth;
    None where nothing was encoded."""
    router_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)
    """[routings, hidden frames, experts]: how probable the encoder's learned routers found each;
    None where nothing is learned or the backend does not tell."""


def cancelled(language: str | None) -> Decoded:
    """The answer for an utterance that was cancelled."""
    return Decoded(language=language, hypotheses=(), error=Cancelled("decoding was cancelled"))


def guides_of(routing: RoutingConfig) -> frozenset[Guide]:
    """What this stack's experts are chosen by."""
    return frozenset(routing.guided_by if routing.guided else ())


def check_request(request: Request, config: ModelConfig) -> None:
    """Raise GuidanceError where this model can never do what is asked, whatever is spoken."""
    vocabulary = config.vocabulary
    if not request.tasks:
        raise GuidanceError(f"no task was given: choose from {', '.join(Task)}")
    if request.language is not None and request.language not in vocabulary.languages:
        raise GuidanceError(
            f"the language '{request.language}' is unknown to this model: choose one of "
            f"{', '.join(vocabulary.languages)}, or leave it out"
        )
    if request.domain is not None and request.domain not in config.domains:
        raise GuidanceError(
            f"the domain '{request.domain}' is unknown to this model: choose one of "
            f"{', '.join(config.domains)}, or leave it out"
        )
    if Task.TRANSLATE in request.tasks:
        check_translation(request, config)
    for task in request.tasks:
        if task not in config.tasks:
            left = ", ".join(config.tasks)
            raise GuidanceError(f"this model does not {task}: it was cut out to {left} alone")
    if request.language is None:
        check_findable(config)


def check_translation(request: Request, config: ModelConfig) -> None:
    """Raise GuidanceError where no translation can come of this request."""
    if config.decoder.num_layers == 0 or not config.vocabulary.translations:
        raise GuidanceError("this model does not translate: the only task is transcribe")
    language = known_language(request, config)
    if language is not None:
        target_of(request, language, config)
        return
    targets = dict.fromkeys(target for _, target in config.vocabulary.translations)
    if request.target_language is not None and request.target_language not in targets:
        raise GuidanceError(
            f"this model does not translate to '{request.target_language}': "
            f"choose one of {', '.join(targets)}"
        )


def check_findable(config: ModelConfig) -> None:
    """Raise GuidanceError where the language must be said, since it chooses among experts none of
    which is for finding it."""
    stacks = (config.encoder.routing, config.decoder.routing)
    used = stacks if config.decoder.num_layers else stacks[:1]
    # A base finds it; CTC alone finds none.
    needing = [one for one in used if not (one.experts_for and config.decoder.num_layers)]
    guides = frozenset[Guide]().union(*map(guides_of, needing))
    if len(config.vocabulary.languages) > 1 and not guides.isdisjoint(FINDABLE):
        raise GuidanceError(
            "the spoken language selects this model's experts and was not given: choose one of "
            f"{', '.join(config.vocabulary.languages)}"
        )


def target_of(request: Request, language: str, config: ModelConfig) -> str:
    """The language to translate to: the one asked for, or the only one there is.

    Raises GuidanceError, naming the choices.
    """
    targets = config.vocabulary.targets_of(language)
    if not targets:
        pairs = [f"{a} to {b}" for a, b in config.vocabulary.translations]
        more = f" and {len(pairs) - MOST_PAIRS} more" if len(pairs) > MOST_PAIRS else ""
        named = ", ".join(pairs[:MOST_PAIRS]) + more
        raise GuidanceError(f"this model does not translate from '{language}', only {named}")
    if request.target_language is None and len(targets) > 1:
        raise GuidanceError(
            f"this model translates '{language}' to several languages and no target language "
            f"was given: choose one of {', '.join(targets)}"
        )
    if request.target_language is None:
        return next(iter(targets))
    if request.target_language not in targets:
        raise GuidanceError(
            f"this model does not translate '{language}' to '{request.target_language}': "
            f"choose one of {', '.join(targets)}"
        )
    return request.target_language


def row_guidance(
    request: Request, task: Task, language: str | None, config: ModelConfig
) -> Guidance:
    """All that is known of one task of a request; a transcript's target is what is spoken."""
    target = language
    if task is Task.TRANSLATE and language is not None:
        target = target_of(request, language, config)
    return Guidance(
        bandwidth=request.bandwidth,
        task=task,
        language=language,
        target_language=target,
        domain=request.domain or config.domains[0],
        window=request.window,
    )


def known_language(request: Request, config: ModelConfig) -> str | None:
    """The language that was given, or the model's only one; None where it is to be found."""
    return request.language or config.vocabulary.only_language
