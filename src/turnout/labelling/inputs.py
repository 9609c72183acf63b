"""What is to be labelled: cuts, a manifest or a folder of recordings -> entries without a text, in
parts of some minutes, the same ones at every call.

What a source says of a text is not read: it is about to be written.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import WHOLE_SECONDS
from turnout.corpora.cuts import Cut, parse_cut
from turnout.corpora.entry import Entry, UniqueIds, utterance_id
from turnout.corpora.manifest import Fields, Place, each, json_lines
from turnout.corpora.readers.lhotse import entry_of
from turnout.corpora.readers.nemo import read_nemo
from turnout.data.channel import ENDINGS
from turnout.errors import ManifestError, MissingManifest, UsageError
from turnout.files import sha256_of
from turnout.shards.manifest import json_of
from turnout.shards.origins import Origin, Origins, is_shards

LINES = (".jsonl", ".jsonl.gz", ".json", ".ndjson")
OF_CUTS = frozenset({"supervisions", "recording"})
BYTES_PER_SECOND = 32_000
"""Of 16-bit sound at 16 kHz: how long a recording is taken to be, where nothing says it."""
MOST_OF_A_PART = 10_000
"""Inputs, however short they are."""
UNSTATED = PrepareConfig()


@dataclass(frozen=True, kw_only=True)
class Input:
    """A recording, or a part of one, that is to be labelled."""

    entry: Entry
    whole: bool
    """Whether it is all of its file, which is then read in blocks, however long it is."""
    seconds: float
    """How long it is, or may be."""


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """An utterance of a shard, or a part of one, that is to be labelled."""

    origin: Origin
    seconds: float
    """How long it may be."""
    span: tuple[float, float] | None = None
    """From where to where it is heard, in seconds; None is all of it."""

    def __str__(self) -> str:
        """As a line tells it."""
        return f"{self.origin.shard.name}: utterance {self.origin.utterance} of it"


Line = Input | Sharded | ManifestError
"""An input, or the error in the place of a line that is none."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A source, which may be read again and again."""

    digest: str
    """Of the file of lines; of a folder's names and sizes."""
    read: Callable[[], Iterator[Line]]
    shards: Origins | None = None
    """Where it is shards."""


def open_inputs(source: Path | str) -> Inputs:
    """The inputs of a file of cuts, of a manifest in JSON lines, of a folder of recordings, or of
    shards in a folder or at an address.

    Raises UsageError for what is none of these, MissingManifest where there is nothing, and as
    `open_shards` does.
    """
    if is_shards(str(source)):
        return _of_shards(str(source))
    source = Path(source)
    if source.is_dir():
        return _of_folder(source)
    if not source.is_file():
        reason = "no such file or folder: cuts, JSON lines or a folder of recordings are needed"
        raise MissingManifest(str(source), None, None, reason)
    if not source.name.lower().endswith(LINES):
        raise UsageError(
            f"{source}: is neither cuts (*.jsonl.gz) nor JSON lines (*.jsonl) nor a folder: single "
            "recordings are for 'turnout transcribe'"
        )
    first = next((line for line in json_lines(source) if isinstance(line, Fields)), None)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if first is not None and OF_CUTS.isdisjoint(first.values):
        return Inputs(digest=digest, read=lambda: _apart(_of_manifest(source)))
    return Inputs(digest=digest, read=lambda: _apart(cut_inputs(json_lines(source), source.parent)))


def _apart(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines, their inputs with ids of their own: several may be of one recording."""
    apart = UniqueIds()
    for line in lines:
        yield replace(line, entry=apart(line.entry)) if isinstance(line, Input) else line


def cut_inputs(lines: Iterable[Fields | ManifestError], folder: Path) -> Iterator[Line]:
    """One for each supervision of each cut, or for the cut where it has none; audio paths are
    relative to `folder`."""
    for cut in each(lines, lambda line: parse_cut(line, folder)):
        if isinstance(cut, ManifestError):
            yield cut
        elif cut.transformed:
            reason = "changes the audio: untransformed recordings were expected"
            yield cut.place.error("recording.transforms", reason)
        else:
            entries = each(cut.supervisions, partial(entry_of, cut, config=UNSTATED))
            yield from each(entries if cut.supervisions else [cut], partial(_of_cut, cut))


def parts_of(lines: Iterable[Line], seconds: float) -> Iterator[list[Line]]:
    """The inputs in parts of at least so much sound, in order; none is of two shards."""
    part: list[Line] = []
    held = 0.0
    for line in lines:
        if part and _shard(line) != _shard(part[0]):
            yield part
            part, held = [], 0.0
        part.append(line)
        held += 0.0 if isinstance(line, ManifestError) else line.seconds
        if held >= seconds or len(part) == MOST_OF_A_PART:
            yield part
            part, held = [], 0.0
    if part:
        yield part


def _shard(line: Line) -> int | None:
    return line.origin.number if isinstance(line, Sharded) else None


def _of_shards(address: str) -> Inputs:
    origins = Origins.at(address)

    def read() -> Iterator[Line]:
        for origin in origins:
            # On average: a manifest names no utterances, and parts are to follow from it alone.
            seconds = origin.shard.seconds / origin.shard.utterances
            yield Sharded(origin=origin, seconds=seconds)

    return Inputs(digest=sha256_of(json_of(origins.manifest)), read=read, shards=origins)


def _of_cut(cut: Cut, entry: Entry | Cut) -> Input:
    if isinstance(entry, Cut):
        entry = _bare(cut)
    duration = cut.duration if entry.duration is None else entry.duration
    behind = cut.recording_duration - (entry.offset + duration)
    whole = entry.offset < WHOLE_SECONDS and behind < WHOLE_SECONDS
    return Input(entry=_unspoken(entry, whole), whole=whole, seconds=duration)


def _bare(cut: Cut) -> Entry:
    """The entry of a cut that has nothing but its sound."""
    custom = Fields(cut.custom, cut.place)
    return Entry(
        id=cut.id,
        audio=cut.audio,
        place=cut.place,
        text=None,
        language=custom.language("language"),
        split=custom.split(),
        bandwidth=custom.bandwidth(),
        domain=custom.domain(),
        offset=cut.start,
        duration=cut.duration,
        channel=cut.channel,
        audio_field="recording.sources",
    )


def _unspoken(entry: Entry, whole: bool) -> Entry:
    """The entry without its text; all of a file is heard to its end, whatever its line says."""
    if whole:
        entry = replace(entry, offset=0.0, duration=None)
    # Whoever hears it may be at home in another folder.
    return replace(entry, text=None, audio=entry.audio.absolute())


def _of_manifest(source: Path) -> Iterator[Line]:
    def made(entry: Entry | str) -> Input:
        assert isinstance(entry, Entry)  # remarks are other readers'
        whole = not entry.offset and entry.duration is None
        guess = _size(entry.audio) / BYTES_PER_SECOND if entry.duration is None else entry.duration
        return Input(entry=_unspoken(entry, whole), whole=whole, seconds=guess)

    return each(read_nemo(source, UNSTATED), made)


def _of_folder(folder: Path) -> Inputs:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        raise UsageError(f"{folder}: holds no recordings (*.wav, *.flac, *.mp3 and the like)")
    sizes = [_size(path) for path in paths]
    named = "".join(f"{path.absolute()}\0{size}\n" for path, size in zip(paths, sizes, strict=True))
    digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()
    return Inputs(digest=digest, read=partial(_of_paths, folder, paths, sizes))


def _of_paths(folder: Path, paths: list[Path], sizes: list[int]) -> Iterator[Line]:
    seen: set[str] = set()
    for path, size in zip(paths, sizes, strict=True):
        relative = str(path.relative_to(folder))
        name = utterance_id(relative)
        # Two may differ in their endings alone.
        name = next(one for one in _names(name, path.suffix[1:]) if one not in seen)
        seen.add(name)
        entry = Entry(id=name, audio=path, place=Place(str(path)), text=None)
        yield Input(entry=_unspoken(entry, True), whole=True, seconds=size / BYTES_PER_SECOND)


def _names(name: str, ending: str) -> Iterator[str]:
    yield name
    yield f"{name}-{ending}"
    number = 2
    while True:
        yield f"{name}-{ending}-{number}"
        number += 1


def _size(path: Path) -> int:
    """Bytes; 0 where it cannot be looked up, which whoever opens it will say."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
