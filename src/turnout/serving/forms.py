"""A form's fields -> what is asked of the model, and how the answer is to look.

Every field of OpenAI's API is taken or refused by name, with the reason; none is passed over. What
has no name of a field, such as a language that a model lacks, is the `Service`'s to refuse.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeVar, get_args

from turnout.config import TranscriptionOptions
from turnout.config.plain import nearest
from turnout.config.serving import ServingConfig
from turnout.config.transcription import AUTO, TaskName
from turnout.errors import shown
from turnout.guidance import Bandwidth, Task
from turnout.serving.errors import Refused
from turnout.serving.models import ServedModel

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
FORMATS: tuple[Format, ...] = get_args(Format)
STREAMED: tuple[Format, ...] = ("json", "text", "verbose_json")
BOTH_IN: tuple[Format, ...] = ("json", "verbose_json")
Include = Literal["logprobs"]
Granularity = Literal["word", "segment"]

SINGLE = ("model", "language", "to_language", "bandwidth", "task", "prompt", "response_format",
          "temperature", "stream", "chunking_strategy", "domain")  # fmt: skip
SEVERAL = ("timestamp_granularities", "include")
TAKEN: Mapping[str, None] = dict.fromkeys((*SINGLE, *SEVERAL))
KNOWN: Mapping[str, None] = {"file": None, **TAKEN}
SPEAKERS = "no model here tells speakers apart: leave it out"
NOT_TAKEN: Mapping[str, str] = {
    "known_speaker_names": SPEAKERS,
    "known_speaker_references": SPEAKERS,
    "keywords": "no model here takes keywords: names that may occur go into prompt",
    "languages": "give the one language that is spoken as language, or leave it out: it is found",
}
"""Fields of OpenAI's API that are answered, and not honoured."""
NOTHING_TRANSLATED = (
    "to_language is of a translation, and the task is transcribe: give task=translate or "
    "task=both, or leave it out"
)
LANGUAGE = re.compile(r"[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*")
LONGEST_MODEL = 200
T = TypeVar("T", bound=str)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request wants."""

    model: str | None
    """None is the server's default."""
    options: TranscriptionOptions
    format: Format = "json"
    stream: bool = False
    segments: bool = True
    """In verbose_json."""
    words: bool = False
    """In verbose_json."""
    logprobs: bool = False
    """In json."""


class Fields:
    """A form's fields by name; raises Refused for one that is unknown, or given twice."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for written, value in pairs:
            name = written.removesuffix("[]")
            if name.startswith("chunking_strategy["):
                raise chunking_refused()
            if name in NOT_TAKEN:
                raise Refused(
                    400, f"{name} is not supported: {NOT_TAKEN[name]}", param=name,
                    code="unsupported_parameter",
                )  # fmt: skip
            if name not in TAKEN:
                message = f"unknown field {shown(written)}{nearest(name, KNOWN)}"
                raise Refused(400, message, code="unknown_parameter")
            self._values.setdefault(name, []).append(value)
        for name, values in self._values.items():
            if name in SINGLE and len(values) > 1:
                raise Refused(400, f"{name} is given {len(values)} times: give it once", param=name)

    def text(self, name: str) -> str | None:
        """A field's value; None where it is left out or empty."""
        return self._values.get(name, [""])[0] or None

    def choice(self, name: str, choices: Sequence[T], default: T) -> T:
        """One of these words."""
        return chosen(name, self.text(name) or default, choices)

    def choices(self, name: str, choices: Sequence[T]) -> frozenset[T]:
        """Some of these words."""
        return frozenset(chosen(name, value, choices) for value in self._values.get(name, []))

    def language(self, name: str) -> str | None:
        """A language's code."""
        value = self.text(name)
        if value is not None and not LANGUAGE.fullmatch(value):
            what = "a code such as en is wanted"
            raise Refused(400, f"{name} is {shown(value)}: {what}", param=name)
        return value

    def model(self) -> str | None:
        """A model's name."""
        value = self.text("model")
        if value is not None and (len(value) > LONGEST_MODEL or not value.isprintable()):
            raise Refused(
                404, f"there is no model {shown(value)}: GET /v1/models names those there are",
                param="model", code="model_not_found",
            )  # fmt: skip
        return value

    def temperature(self) -> float:
        """From 0 to 1."""
        value = self.text("temperature") or "0"
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not isfinite(number) or not 0 <= number <= 1:
            message = f"temperature is {shown(value)}: a number from 0 to 1 is wanted"
            raise Refused(400, message, param="temperature")
        return number

    def flag(self, name: str) -> bool:
        """True or false."""
        value = (self.text(name) or "false").lower()
        return chosen(name, value, ("true", "false")) == "true"


def chosen(name: str, value: str, choices: Sequence[T]) -> T:
    """The one of the choices that was named; raises Refused."""
    for choice in choices:
        if choice == value:
            return choice
    raise Refused(400, f"{name} is {shown(value)}: choose one of {', '.join(choices)}", param=name)


def asked_of(pairs: Sequence[tuple[str, str]], endpoint: Task, config: ServingConfig) -> Asked:
    """What a form asks for of /transcriptions or /translations; raises Refused."""
    fields = Fields(pairs)
    task = task_of(fields, endpoint)
    chunking = fields.text("chunking_strategy")
    if chunking not in (None, AUTO):
        raise chunking_refused()
    kind = format_of(fields)
    include = fields.choices("include", get_args(Include))
    granularities = fields.choices("timestamp_granularities", get_args(Granularity))
    words = "word" in granularities
    asked = Asked(
        model=fields.model(),
        options=TranscriptionOptions(
            task=task,
            language=fields.language("language") or AUTO,
            target_language=fields.language("to_language"),
            domain=fields.text("domain"),
            bandwidth=fields.choice("bandwidth", (AUTO, *Bandwidth), AUTO),  # type: ignore[arg-type]
            word_timestamps=words,
            initial_prompt=fields.text("prompt"),
            temperature=fields.temperature(),
            max_duration=config.max_duration,
            batch_size=config.batch_limit,
        ),
        format=kind,
        stream=fields.flag("stream"),
        segments=not granularities or "segment" in granularities,
        words=words,
        logprobs="logprobs" in include,
    )
    check(asked, has_granularities=bool(granularities))
    return asked


def task_of(fields: Fields, endpoint: Task) -> TaskName:
    """What is written: /translations only translates."""
    tasks: tuple[TaskName, ...] = get_args(TaskName)
    task = chosen("task", fields.text("task") or endpoint.value, tasks)
    if endpoint is Task.TRANSLATE and task != Task.TRANSLATE:
        raise Refused(
            400,
            f"task is '{task}', and /v1/audio/translations only translates: send it to "
            "/v1/audio/transcriptions",
            param="task",
        )
    return task


def format_of(fields: Fields) -> Format:
    """The answer's format."""
    if fields.text("response_format") == "diarized_json":
        raise Refused(
            400,
            f"response_format is diarized_json, and {SPEAKERS.partition(':')[0]}: choose one of "
            f"{', '.join(FORMATS)}",
            param="response_format",
            code="unsupported_parameter",
        )
    return fields.choice("response_format", FORMATS, "json")


def check(asked: Asked, *, has_granularities: bool) -> None:
    """Raise Refused where what is asked for does not go together."""
    kind, options = asked.format, asked.options
    if options.target_language is not None and options.task == Task.TRANSCRIBE:
        raise Refused(400, NOTHING_TRANSLATED, param="to_language")
    wrong: Sequence[tuple[bool, str, str, str]] = (
        (has_granularities and kind != "verbose_json", "timestamp_granularities",
         "timestamp_granularities", "verbose_json"),
        (asked.logprobs and kind != "json", "include", "include[]=logprobs", "json"),
        (asked.stream and kind not in STREAMED, "stream", "stream", ", ".join(STREAMED)),
        (options.task == "both" and kind not in BOTH_IN, "task",
         "task=both, of which two texts come,", " or ".join(BOTH_IN)),
    )  # fmt: skip
    for is_wrong, param, what, formats in wrong:
        if is_wrong:
            message = f"response_format is {kind}, and {what} needs {formats}"
            raise Refused(400, message, param=param)


def check_model(asked: Asked, model: ServedModel) -> None:
    """Raise Refused where the model would have to pass over what is asked."""
    facts = model.facts
    if facts is None:  # nobody has looked at it yet
        return
    options, others = asked.options, "choose a model that does, such as Whisper's"
    wrong: Sequence[tuple[bool, str, str]] = (
        (bool(options.initial_prompt) and not facts.prompts, "prompt",
         f"takes no text before what is said: leave it out, or {others}"),
        (options.temperature > 0 and not facts.attempts, "temperature",
         f"does not sample texts: leave it out, or {others}"),
        (asked.words and not facts.word_timestamps, "timestamp_granularities",
         "gives words no times: ask for segment"),
    )  # fmt: skip
    for is_wrong, param, why in wrong:
        if is_wrong:
            raise Refused(400, f"{param}: the model {model.name} {why}", param=param)


def chunking_refused() -> Refused:
    """Of what is said about where recordings are cut."""
    return Refused(
        400,
        "chunking_strategy: recordings are always cut where nobody speaks, and how is not to be "
        "set: leave it out, or give auto",
        param="chunking_strategy",
        code="unsupported_parameter",
    )
