"""Cuts through a transcriber: the routing of each clip, whose cut may say who speaks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from turnout.config.transcription import TranscriptionOptions
from turnout.corpora.clips import Clip
from turnout.errors import AudioError, TurnoutError, one_line
from turnout.evaluation.evaluate import parts
from turnout.evaluation.sources import ClipSource, channel_of, sources_of
from turnout.inspection.record import RoutingRecord
from turnout.inspection.trace import Heard, inspect_heard
from turnout.transcription.transcriber import Transcriber

CUTS = (".jsonl", ".jsonl.gz")
Result = tuple[Clip, RoutingRecord | TurnoutError]


def are_cuts(path: Path) -> bool:
    """Whether a file is one of cuts, by its name."""
    return path.name.endswith(CUTS)


def inspect_clips(
    transcriber: Transcriber, clips: Sequence[Clip], options: TranscriptionOptions
) -> Iterator[Result]:
    """What became of every clip; those of one recording together, which is read once."""
    for part in parts(sources_of(clips, options)):
        groups: dict[TranscriptionOptions, list[tuple[Clip, Heard]]] = defaultdict(list)
        for number, source in part:
            clip = clips[number]
            if isinstance(source, AudioError):
                yield clip, source
                continue
            heard = Heard(one_line(clip.id), source, clip.speaker, clip.language)
            groups[options_of(clip, source, options, transcriber)].append((clip, heard))
        for wanted, group in groups.items():
            records = inspect_heard(transcriber, (heard for _, heard in group), wanted)
            yield from zip((clip for clip, _ in group), records, strict=True)


def options_of(
    clip: Clip, source: ClipSource, options: TranscriptionOptions, transcriber: Transcriber
) -> TranscriptionOptions:
    """The options with what is the clip's own: its channel, where its file is yet to be read, and
    its domain, which nobody can hear."""
    known = transcriber.backend.config.domains
    domain = options.domain or (clip.domain if clip.domain in known else None)
    if isinstance(source, Path):
        return replace(options, channel=channel_of(clip, options), domain=domain)
    return replace(options, channel=None, track=None, domain=domain)
