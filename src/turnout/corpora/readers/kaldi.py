"""A Kaldi data directory: `wav.scp` and `text`, with `utt2spk`, `utt2lang`, `segments` if there.

Kaldi runs commands that `wav.scp` names; they are refused here, unrun.
"""

from dataclasses import dataclass
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.entry import Entries, Entry
from turnout.corpora.manifest import LANGUAGE_CODE, Place, beside, each, text_lines
from turnout.errors import ManifestError

Column = dict[str, tuple[Place, str]]
"""The rest of a line, with its place, by the line's first word."""


@dataclass(frozen=True)
class _Directory:
    folder: Path
    wavs: Column
    speakers: Column | None
    languages: Column | None
    segments: Column | None


def read_kaldi(source: Path, config: PrepareConfig) -> Entries:
    """Entries of a Kaldi data directory, in the order of `text`."""
    errors: list[ManifestError] = []
    directory = _Directory(
        source,
        _column(source / "wav.scp", errors),
        *(
            _column(source / name, errors) if (source / name).is_file() else None
            for name in ("utt2spk", "utt2lang", "segments")
        ),
    )
    texts = _column(source / "text", errors)
    yield from errors
    yield from each(texts.items(), lambda item: _entry(item[0], *item[1], directory, config))
    for name, (place, _) in (directory.segments or directory.wavs).items():
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


def _entry(
    name: str, place: Place, text: str, directory: _Directory, config: PrepareConfig
) -> Entry:
    recording, offset, duration = _segment(name, place, directory)
    if recording not in directory.wavs:
        wavs = directory.folder / "wav.scp"
        raise place.error(None, f"names '{recording}', which {wavs} does not")
    at, location = directory.wavs[recording]
    language = _of(name, place, "utt2lang", directory.folder, directory.languages)
    language = language or config.language
    if language is not None and not LANGUAGE_CODE.fullmatch(language):
        raise place.error(
            "utt2lang", f"is '{language}' for '{name}': a language code such as 'en' was expected"
        )
    return Entry(
        id=name,
        audio=_audio(at, location, directory.folder),
        place=at,
        text=text,
        language=language,
        speaker=_of(name, place, "utt2spk", directory.folder, directory.speakers),
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


def _of(name: str, place: Place, file: str, folder: Path, column: Column | None) -> str | None:
    """What `utt2spk` or `utt2lang` says of an utterance; None where there is no such file."""
    if column is None:
        return None
    if name not in column or not column[name][1]:
        raise place.error(None, f"names '{name}', of which {folder / file} says nothing")
    return column[name][1]


def _segment(name: str, place: Place, directory: _Directory) -> tuple[str, float, float | None]:
    """The recording of an utterance, where it begins in that, and how long it is."""
    if directory.segments is None:
        return name, 0.0, None
    if name not in directory.segments:
        raise place.error(None, f"names '{name}', which {directory.folder / 'segments'} does not")
    at, line = directory.segments[name]
    words = line.split()
    try:
        start, end = float(words[1]), float(words[2])
    except (IndexError, ValueError):
        start, end = 0.0, 0.0
    # Kaldi writes -1 for the recording's end
    if len(words) != 3 or not 0 <= start < float("inf") or not (start < end or end == -1):
        raise at.error(None, f"is '{name} {line}': '<name> <recording> <start> <end>' was expected")
    return words[0], start, None if end == -1 else end - start
