"""NeMo's JSON lines: one utterance a line, or one line per task of an utterance (Canary)."""

from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream, utterance_id
from turnout.corpora.manifest import Fields, each, json_lines
from turnout.corpora.spelling import beside

TRANSCRIPTION_TASKS = ("asr", "transcribe")
TRANSLATION_TASKS = ("ast", "translate", "s2t_translation", "st")
TASKS = ("taskname", "task")

LANGUAGES = ("lang", "source_lang", "language")
TARGETS = ("target_lang", "target_language")


def read_nemo(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a NeMo manifest; audio paths are relative to its folder."""
    return each(json_lines(source), lambda fields: _entry(fields, source.parent, config))


def _entry(fields: Fields, folder: Path, config: PrepareConfig) -> Entry:
    path = fields.needed("audio_filepath")
    offset = fields.seconds("offset") or 0.0
    language = fields.language(*LANGUAGES, default=config.language)
    text, translations = _texts(fields, language, config)
    return Entry(
        id=fields.word("id", "utt_id") or utterance_id(path, offset),
        audio=beside(folder, path),
        place=fields.place,
        text=text,
        language=language,
        speaker=fields.word("speaker"),
        translations=translations,
        split=fields.split(),
        bandwidth=fields.bandwidth(),
        domain=fields.domain(),
        offset=offset,
        duration=fields.seconds("duration"),
        channel=fields.channel(),
        language_field=fields.given(*LANGUAGES),
        target_field=fields.given(*TARGETS),
    )


def _texts(
    fields: Fields, language: str | None, config: PrepareConfig
) -> tuple[str | None, dict[str, str]]:
    """The transcript, and the translations by target language.

    Canary's manifests have the target text in `answer` (newer) or in `text` (older), with a task
    and a target language that tell whether it is a translation.
    """
    text, answer = fields.text("text"), fields.text("answer")
    target = fields.language(*TARGETS, default=config.target_language)
    task = _task(fields)
    translation = fields.text("translation")
    if target is None or target == language:
        if translation is not None or task in TRANSLATION_TASKS:
            raise fields.place.error(
                fields.given(*TARGETS),
                "is missing: a translation's language was expected, other than "
                f"the spoken one ({language})",
            )
        return (answer if text is None else text), {}
    if translation is None:
        translation = answer
    if translation is None and task in TRANSLATION_TASKS:
        text, translation = None, text
    return text, {} if translation is None else {target: translation}


def _task(fields: Fields) -> str | None:
    """NeMo's word for what is asked of the line."""
    task = fields.word(*TASKS)
    known = TRANSCRIPTION_TASKS + TRANSLATION_TASKS
    if task is not None and task.lower() not in known:
        raise fields.place.wrong(fields.given(*TASKS), task, f"one of {', '.join(known)} was")
    return task and task.lower()
