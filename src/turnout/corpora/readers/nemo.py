"""NeMo's JSON lines: one utterance a line, or one line per task of an utterance (Canary)."""

from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, Read, Record, beside, utterance_id
from turnout.corpora.readers.lines import json_lines
from turnout.errors import ManifestError, shown

TRANSCRIPTION_TASKS = ("asr", "transcribe")
TRANSLATION_TASKS = ("ast", "translate", "s2t_translation", "st")
TASKS = ("taskname", "task")

LANGUAGES = ("lang", "source_lang", "language")
TARGETS = ("target_lang", "target_language")


def read_nemo(source: Path, config: PrepareConfig) -> Read:
    """Entries of a NeMo manifest; audio paths are relative to its folder."""
    for record in json_lines(source):
        if isinstance(record, ManifestError):
            yield record
            continue
        try:
            yield _entry(record, source.parent, config)
        except ManifestError as error:
            yield error


def _entry(record: Record, folder: Path, config: PrepareConfig) -> Entry:
    path = record.needed("audio_filepath")
    offset = record.seconds("offset") or 0.0
    language = record.language(*LANGUAGES, default=config.language)
    text, translations = _texts(record, language, config)
    return Entry(
        id=record.word("id", "utt_id") or utterance_id(path, offset),
        audio=beside(folder, path),
        place=record.place,
        text=text,
        language=language,
        speaker=record.word("speaker"),
        translations=translations,
        split=record.split(),
        bandwidth=record.bandwidth(),
        offset=offset,
        duration=record.seconds("duration"),
        channel=record.channel(),
        language_field=record.given(*LANGUAGES),
        target_field=record.given(*TARGETS),
    )


def _texts(
    record: Record, language: str | None, config: PrepareConfig
) -> tuple[str | None, dict[str, str]]:
    """The transcript, and the translations by target language.

    Canary's manifests have the target text in `answer` (newer) or in `text` (older), with a task
    and a target language that tell whether it is a translation.
    """
    text, answer = record.text("text"), record.text("answer")
    target = record.language(*TARGETS, default=config.target_language)
    task = _task(record)
    translates = target is not None and target != language
    translation = record.text("translation")
    if not translates:
        if translation is not None or task in TRANSLATION_TASKS:
            raise record.place.error(
                record.given(*TARGETS),
                "is missing: a translation's language was expected, other than "
                f"the spoken one ({language})",
            )
        return (answer if text is None else text), {}
    if translation is None:
        translation = answer
    if translation is None and task in TRANSLATION_TASKS:
        text, translation = None, text
    return text, {} if translation is None or target is None else {target: translation}


def _task(record: Record) -> str | None:
    """NeMo's word for what is asked of the line."""
    task = record.word(*TASKS)
    known = TRANSCRIPTION_TASKS + TRANSLATION_TASKS
    if task is not None and task.lower() not in known:
        raise record.place.error(
            record.given(*TASKS), f"is {shown(task)}: one of {', '.join(known)} was expected"
        )
    return task and task.lower()
