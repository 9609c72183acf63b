"""A Kaldi data directory: `wav.scp` and `text`, with `utt2spk`, `utt2lang`, `segments` if there.

Kaldi runs commands that `wav.scp` names; they are refused here, unrun.
"""

from functools import partial
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entry, EntryStream
from turnout.corpora.manifest import LANGUAGE_CODE, MOST_SECONDS, Place, each, text_lines
from turnout.corpora.spelling import beside
from turnout.errors import ManifestError

OPTIONAL = ("utt2spk", "utt2lang", "segments")
Column = dict[str, tuple[Place, str]]
"""The rest of a line, with its place, by the line's first word."""


Columns = dict[str, Column]
"""By the name of the file, of those that are there."""


def read_kaldi(source: Path, config: PrepareConfig) -> EntryStream:
    """Entries of a Kaldi data directory, in the order of `text`."""
    errors: list[ManifestError] = []
    optional = [name for name in OPTIONAL if (source / name).is_file()]
    columns = {name: _column(source / name, errors) for name in ("wav.scp", *optional, "text")}
    yield from errors
    texts = columns["text"]
    made = partial(_entry, source=source, columns=columns, config=config)
    yield from each(texts, made)
    for name, (place, _) in (columns.get("segments") or columns["wav.scp"]).items():
        if name not in texts:
            yield place.error(None, f"names '{name}', which {source / 'text'} does not")


def _column(path: Path, errors: list[ManifestError]) -> Column:
    column: Column = {}
    for line in text_lines(path):
        if isinstance(line, ManifestError):
            errors.append(line)
            continue
        place, text = line
        name, _, rest = text.strip().replace("\t", " ", 1).partition(" ")
        if name in column:
            errors.append(place.error(None, f"names '{name}' a second time"))
        else:
            column[name] = (place, rest.strip())
    return column


def _entry(name: str, source: Path, columns: Columns, config: PrepareConfig) -> Entry:
    place, text = columns["text"][name]
    recording, offset, duration = _segment(name, source, columns)
    if recording not in columns["wav.scp"]:
        raise place.error(None, f"names '{recording}', which {source / 'wav.scp'} does not")
    at, location = columns["wav.scp"][recording]
    language = _of(name, source, columns, "utt2lang") or config.language
    if language is not None and not LANGUAGE_CODE.fullmatch(language):
        raise place.error(
            "utt2lang", f"is '{language}' for '{name}': a language code such as 'en' was expected"
        )
    return Entry(
        id=name,
        audio=_audio(at, location, source),
        place=columns["segments"][name][0] if "segments" in columns else at,
        text=text,
        language=language,
        speaker=_of(name, source, columns, "utt2spk"),
        offset=offset,
        duration=duration,
        audio_field="wav.scp",
        language_field="utt2lang",
    )


def _audio(place: Place, location: str, folder: Path) -> Path:
    if location.endswith("|") or location.startswith("|"):
        raise place.error(
            None, "is a pipe, which would run a command: the path of an audio file was expected"
        )
    if not location:
        raise place.error(None, "names no file: '<name> <path>' was expected")
    return beside(folder, location)


def _of(name: str, source: Path, columns: Columns, file: str) -> str | None:
    """What `utt2spk` or `utt2lang` says of an utterance; None where there is no such file."""
    if file not in columns:
        return None
    place, said = columns["text"][name][0], columns[file].get(name, (None, ""))[1]
    if not said:
        raise place.error(None, f"names '{name}', of which {source / file} says nothing")
    return said


def _segment(name: str, source: Path, columns: Columns) -> tuple[str, float, float | None]:
    """The recording of an utterance, where it begins in that, and how long it is."""
    if "segments" not in columns:
        return name, 0.0, None
    if name not in columns["segments"]:
        place = columns["text"][name][0]
        raise place.error(None, f"names '{name}', which {source / 'segments'} does not")
    at, line = columns["segments"][name]
    words = line.split()
    try:
        start, end = float(words[1]), float(words[2])
    except (IndexError, ValueError):
        start, end = 0.0, 0.0
    # Kaldi writes -1 for the recording's end
    known = 0 <= start <= MOST_SECONDS and (start < end <= MOST_SECONDS or end == -1)
    if len(words) != 3 or not known or "_" in "".join(words[1:]):
        raise at.error(None, f"is '{name} {line}': '<name> <recording> <start> <end>' was expected")
    return words[0], start, None if end == -1 else end - start
