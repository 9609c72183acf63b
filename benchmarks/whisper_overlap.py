"""Whether windows that hear something of their neighbours are better where no pause parts them.

    python benchmarks/whisper_overlap.py --weights FOLDER [--minutes 30] [--kept FILE]
        [--data ../shared/data]

A recording without any pause, made as `whisper_long` makes it of LibriSpeech utterances that are
not in its own: those of the dev split first, then of train. It is cut into windows as turnout cuts
it; the windows are heard as they are, with more of the recording behind each cut in the midst of
speech, and with more on both sides of it, greedily and with word times; what was passed over is
decoded anew as `turnout transcribe` does it. Texts are joined at the word nearest to the cut that
both windows heard, and where there is none by the middles of the words. Said of each: word error
rate and its difference with an interval, in how many windows something was decoded anew, and how
many errors lie near a cut. With --kept
every window's words are written to a file as they come, and not heard again. Writes
results/whisper_overlap.json.
"""

import argparse
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jiwer
import numpy as np
import whisper_long
from heard import weights_in
from numpy.typing import NDArray
from origin import ROOT, origin
from whisper_long import NORMAL, RATE, Samples, joined
from whisper_speech import from_corpus, rows_of

import turnout
from turnout.audio.features import SAMPLE_RATE
from turnout.decoding.requests import Decoded, DecodingOptions, Request, Utterance
from turnout.evaluation.intervals import RESAMPLES, interval
from turnout.hub.convert import convert
from turnout.transcription import recordings as mending
from turnout.transcription.segments import AudioSegment, finder
from turnout.transcription.transcriber import Transcriber
from turnout.transcription.windows import Window, WindowCutter

Counts = NDArray[np.int64]
SEED = 1
NO_PAUSE = 4
"""Of `whisper_long`'s recordings the one without a pause."""
THEIRS = 200
"""Utterances in its order, of which it takes 157."""
BATCH = 4
NEAR_SECONDS = 1.5
"""Of a cut, for errors that it may have made."""
SAME_SECONDS = 0.3
"""Between the middles of a word as two windows heard it."""
AS_THEY_ARE = "as they are"
KINDS = {
    AS_THEY_ARE: (0.0, 0.0),
    "1 s more behind a cut": (0.0, 1.0),
    "1 s more on both sides of a cut": (1.0, 1.0),
}
"""Seconds more before a window's beginning and behind its end, where these are such cuts."""


class Said(NamedTuple):
    """A word, and its middle in seconds of the recording."""

    word: str
    middle: float


@dataclass(frozen=True)
class Heard:
    """What was written of a window."""

    words: tuple[Said, ...]
    anew: int
    """How many of its parts were decoded anew, since something had been passed over."""


@dataclass(frozen=True, eq=False)
class Cut:
    """The recording and its windows."""

    samples: Samples
    windows: tuple[Window, ...]

    def end(self, number: int) -> int:
        """The sample behind a window."""
        window = self.windows[number]
        return window.begin + len(window.samples)

    def in_speech(self, number: int) -> bool:
        """Whether this window ends at a cut in the midst of speech."""
        return self.windows[number].spoken is not None

    def extended(self, number: int, before: float, behind: float) -> tuple[int, int]:
        """A window's first sample and the one behind its last, with so much more on its sides; it
        gets no longer than a window may be."""
        begin, end = self.windows[number].begin, self.end(number)
        if number and self.in_speech(number - 1):
            begin -= round(before * RATE)
        if self.in_speech(number):
            end += round(behind * RATE)
        return begin, min(end, begin + 30 * RATE)


def recording(data: Path, minutes: float) -> tuple[Samples, tuple[str, ...]]:
    """Samples and texts of utterances that `whisper_long` does not join without pauses."""
    with tarfile.open(data / "librispeech.tar") as tar:
        every = rows_of(tar, "librispeech", whisper_long.SEED, ("train", "dev", "test"))
    order = np.random.default_rng((whisper_long.SEED, NO_PAUSE)).permutation(len(every))
    theirs = {f"librispeech/{every[i]['audio_filepath']}" for i in order[:THEIRS]}
    pool = [
        one
        for split, count in (("dev", 40), ("train", 250))
        for one in from_corpus(data, "librispeech", count, SEED, (split,))
        if one.id not in theirs
    ]
    rng = np.random.default_rng((SEED, NO_PAUSE))
    return joined(pool, minutes * 60, (0.0, 0.0), rng)


def hear(
    model: Transcriber, cut: Cut, numbers: Sequence[int], before: float, behind: float
) -> Iterator[tuple[int, Heard]]:
    """What is written of these windows."""
    waiting = []
    for number in numbers:
        begin, end = cut.extended(number, before, behind)
        segment = AudioSegment.of(begin, cut.samples[begin:end], model.backend.config)
        spoken = cut.windows[number].spoken
        if spoken is not None:
            spoken = (cut.windows[number].begin + spoken - begin) / SAMPLE_RATE
        waiting.append((number, replace(segment, spoken=spoken)))
    words: dict[int, list[Said]] = {number: [] for number in numbers}
    anew = dict.fromkeys(numbers, 0)
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        answers = decoded([segment for _, segment in batch], model)
        for (number, segment), answer in zip(batch, answers, strict=True):
            found, parts = mended(segment, answer, model)
            words[number] += found
            anew[number] += len(parts)
            waiting += [(number, part) for part in parts]
    for number in numbers:
        ordered = sorted(words[number], key=lambda said: said.middle)
        yield number, Heard(tuple(ordered), anew[number])


def decoded(segments: Sequence[AudioSegment], model: Transcriber) -> list[Decoded]:
    """Greedily, as turnout does by default."""
    options = replace(DecodingOptions.of(turnout.TranscriptionOptions()), word_timestamps=True)
    asked = []
    for segment in segments:
        assert segment.log_mel is not None
        request = Request(language="en")
        asked.append(Utterance(segment.log_mel, request, options, segment.num_frames))
    return model.decode(asked)


def mended(
    segment: AudioSegment, answer: Decoded, model: Transcriber
) -> tuple[list[Said], tuple[AudioSegment, ...]]:
    """The words that stand, and the parts that are decoded anew, as `transcription.recordings` has
    it."""
    config = model.backend.config
    if mending.has_failed(answer) and segment.end - segment.start > mending.LEAST_HALVED_SECONDS:
        return [], segment.halves(config)
    begin, end = mending.unheard(answer) or (0.0, 0.0)
    if end - begin >= mending.LEAST_UNHEARD_SECONDS:
        early = begin < mending.LEAST_REST_SECONDS
        return [], segment.parted_before(end, config) if early else segment.parted(begin, config)
    start = segment.start
    words = answer.hypotheses[0].words
    said = [Said(one.word, start + (one.start + one.end) / 2) for one in words]
    point = mending.passed_over(segment, answer)
    return said, () if point is None else segment.parted(point, config)[1:]


def joined_words(cut: Cut, heard: Sequence[Heard], overlap: bool) -> list[Said]:
    """The words of all windows, those that two of them heard once."""
    first, last = [0] * len(heard), [len(one.words) for one in heard]
    for number in range(len(heard) - 1):
        if overlap and cut.in_speech(number):
            left, right = heard[number].words, heard[number + 1].words
            last[number], first[number + 1] = seam(left, right, cut.end(number) / RATE)
    return [
        said
        for one, a, b in zip(heard, first, last, strict=True)
        for said in one.words[a : max(a, b)]
    ]


def seam(left: Sequence[Said], right: Sequence[Said], place: float) -> tuple[int, int]:
    """How many words of the window before a cut stand, and from which of the one behind it on."""
    same = [
        (abs(a.middle + b.middle - 2 * place), i + 1, j + 1)
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if abs(a.middle - b.middle) < SAME_SECONDS and NORMAL(a.word) == NORMAL(b.word)
    ]
    if same:
        return min(same)[1:]
    kept = sum(said.middle < place for said in left)
    return kept, sum(said.middle < place for said in right)


def errors_of(
    words: Sequence[Said], texts: Sequence[str], places: Sequence[float]
) -> tuple[Counts, dict[str, int]]:
    """Errors of each utterance, and of each kind, those near a cut among them."""
    found = [(word, said.middle) for said in words for word in NORMAL(said.word).split()]
    aligned = jiwer.process_words(" ".join(texts), " ".join(word for word, _ in found))
    begins = np.cumsum([0, *(len(text.split()) for text in texts)])
    counts = np.zeros(len(texts), np.int64)
    near = 0
    for chunk in aligned.alignments[0]:
        if chunk.type == "equal":
            continue
        length = max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
        utterance = np.searchsorted(begins, chunk.ref_start_idx, side="right") - 1
        counts[min(utterance, len(texts) - 1)] += length
        middle = found[min(chunk.hyp_start_idx, len(found) - 1)][1]
        near += length * (min(abs(middle - place) for place in places) < NEAR_SECONDS)
    kinds = {
        "substituted": aligned.substitutions,
        "deleted": aligned.deletions,
        "inserted": aligned.insertions,
        "errors near a cut": near,
    }
    return counts, kinds


def more(counts: Counts, plain: Counts, lengths: Counts) -> tuple[float, ...] | None:
    """The 95 % interval of how much higher the word error rate is, in points."""
    table = np.stack((counts - plain, lengths), axis=1).astype(np.float64)
    found = interval(table, lambda total: 100 * total[0] / total[1], None, RESAMPLES)
    return found and tuple(round(end, 2) for end in found)


class Kept:
    """Windows by kind and number, in a file of JSON lines; of this run alone without a path."""

    def __init__(self, path: Path | None, made_with: str) -> None:
        self.path, self.made_with = path, made_with
        self.found: dict[tuple[str, int], Heard] = {}
        if path is not None and path.exists():
            for row in map(json.loads, path.read_text().splitlines()):
                if row["with"] == made_with:
                    words = tuple(Said(*said) for said in row["words"])
                    self.found[row["kind"], row["window"]] = Heard(words, row["anew"])

    def add(self, kind: str, number: int, heard: Heard) -> None:
        """One more."""
        self.found[kind, number] = heard
        row = {"with": self.made_with, "kind": kind, "window": number, "anew": heard.anew}
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({**row, "words": heard.words}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = turnout.load(convert(arguments.weights, Path(place) / "model"))
    samples, texts = recording(arguments.data, arguments.minutes)
    config = model.backend.config
    cutter = WindowCutter(round(config.window_seconds * SAMPLE_RATE), finder(config))
    cut = Cut(samples, (*cutter.add(samples), *cutter.finish()))
    made_with = f"weights {weights_in(arguments.weights)}, {arguments.minutes:g} minutes"
    kept = Kept(arguments.kept, made_with)
    total = len(cut.windows)
    for start, (kind, sides) in product(range(0, total, BATCH), KINDS.items()):
        numbers = range(start, min(start + BATCH, total))
        missing = [number for number in numbers if (kind, number) not in kept.found]
        for number, heard in hear(model, cut, missing, *sides):
            kept.add(kind, number, heard)
        print(kind, start, "of", total, flush=True)
    places = [cut.end(number) / RATE for number in range(total) if cut.in_speech(number)]
    lengths = np.array([len(text.split()) for text in texts])
    found: dict[str, Counts] = {}
    rows: dict[str, Any] = {}
    for kind, sides in KINDS.items():
        heard = [kept.found[kind, number] for number in range(total)]
        words = joined_words(cut, heard, any(sides))
        found[kind], kinds = errors_of(words, texts, places)
        rows[kind] = {
            "wer": round(100 * found[kind].sum() / lengths.sum(), 2),
            "more than as they are": more(found[kind], found[AS_THEY_ARE], lengths),
            **kinds,
            "windows decoded anew in part": sum(one.anew > 0 for one in heard),
        }
        print(kind, rows[kind])
    written = {
        **origin(SEED, "numpy", "onnxruntime"),
        "minutes": round(len(samples) / RATE / 60, 1),
        "utterances": len(texts),
        "words": int(lengths.sum()),
        "windows": total,
        "cuts in the midst of speech": len(places),
        "share of the time near a cut": round(
            2 * NEAR_SECONDS * len(places) * RATE / len(samples), 3
        ),
        "rows": rows,
    }
    target = Path(__file__).parent / "results" / "whisper_overlap.json"
    target.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
