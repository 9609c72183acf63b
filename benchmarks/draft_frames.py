"""What the draft head learns from: windows of speech, what a Whisper checkpoint's decoder reads of
their frames, and what it writes of them; kept on the disk as they come.

Utterances of one speaker are joined with pauses up to the model's window, as speech detection cuts
a recording. The frames are the values of the decoder's last cross-attention: a linear image of the
encoder's frames of the same width, which every encoder's graph gives already.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from whisper_speech import RATE, at_16khz, content, rows_of

import turnout
from turnout.audio.features import model_features
from turnout.decoding.decode import rows_of as rows_to_write
from turnout.decoding.encoded_batch import EncodedBatch, RowResult, encode
from turnout.decoding.greedy import greedy
from turnout.decoding.requests import Request, Utterance
from turnout.decoding.search import limits_of

SEED = 20_261_127
LANGUAGE = "en"
TEXTS = ("librispeech", "kathleen_en", "ljspeech_part")
PAUSES = (0.2, 0.8)
"""Seconds between joined utterances."""
NOISE = 1e-4
BATCH = 4
"""Windows that are heard at once."""
Frames = NDArray[np.float16]


@dataclass(frozen=True)
class Window:
    """Utterances that are heard together."""

    id: str
    source: str
    places: tuple[str, ...]
    """Of their files in the source's archive."""
    pauses: tuple[float, ...]
    """Seconds behind each."""
    seconds: float


@dataclass(frozen=True)
class Learned:
    """A window as it was heard."""

    id: str
    seconds: float
    tokens: tuple[int, ...]
    """What the model wrote: greedy, without its end."""
    path: Path
    """Of its frames."""

    def frames(self) -> Frames:
        """[hidden frames, width], those of sound alone."""
        return np.load(self.path)


def planned(data: Path, source: str, split: str, most: float) -> list[Window]:
    """All windows of a split of a source, in an order that the seed gives."""
    with tarfile.open(data / f"{source}.tar") as tar:
        rows = rows_of(tar, source, SEED, (split,))
    speakers: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        speakers.setdefault(row["speaker"], []).append(row)
    rng = np.random.default_rng(SEED)
    found = [
        Window(f"{source}/{split}/{speaker}/{number}", source, *parts)
        for speaker, own in speakers.items()
        for number, parts in enumerate(packed(own, source, most, rng))
    ]
    return [found[i] for i in rng.permutation(len(found))]


def tokens_of(model: turnout.Transcriber, data: Path) -> set[int]:
    """Those of the training texts of all English sets, with small and with capital letters."""
    found: set[int] = set()
    for source in TEXTS:
        with tarfile.open(data / f"{source}.tar") as tar:
            texts = [row["text"] for row in rows_of(tar, source, SEED, ("train",))]
        for text in texts:
            # LibriSpeech shouts.
            kinds = [] if text.isupper() else [text]
            kinds += [text.lower(), " ".join(map(str.capitalize, text.split()))]
            found.update(token for kind in kinds for token in model.tokenizer.encode(kind))
    return found


def packed(
    rows: Sequence[dict[str, Any]], source: str, most: float, rng: np.random.Generator
) -> Iterator[tuple[tuple[str, ...], tuple[float, ...], float]]:
    """One speaker's utterances, as many together as fit into so many seconds: their places, the
    pause behind each, and how long all of it is."""
    places: list[str] = []
    pauses: list[float] = []
    seconds = 0.0
    for row in rows:
        pause = float(rng.uniform(*PAUSES))
        whole = row["duration"] + pause
        if places and seconds + whole > most:
            yield tuple(places), tuple(pauses), seconds
            places, pauses, seconds = [], [], 0.0
        places.append(f"{source}/{row['audio_filepath']}")
        pauses.append(pause)
        seconds += whole
    if places:
        yield tuple(places), tuple(pauses), seconds


def samples_of(tar: tarfile.TarFile, window: Window, most: float) -> NDArray[np.float32]:
    """The sound of a window, pauses with faint noise."""
    parts = []
    for place, pause in zip(window.places, window.pauses, strict=True):
        parts += [at_16khz(content(tar, place)), np.zeros(round(pause * RATE), np.float32)]
    samples = np.concatenate(parts)[: round(most * RATE)]
    # Of the window's own name, so that no batch-mate matters.
    rng = np.random.default_rng(list(window.id.encode()))
    return samples + NOISE * rng.standard_normal(len(samples)).astype(np.float32)


def encoded(
    model: turnout.Transcriber, data: Path, windows: Sequence[Window]
) -> Iterator[tuple[tuple[Window, ...], EncodedBatch]]:
    """The windows, some at a time, after the encoder."""
    config = model.backend.config
    request = Request(language=LANGUAGE)
    for first in range(0, len(windows), BATCH):
        some, utterances = tuple(windows[first : first + BATCH]), []
        for window in some:
            with tarfile.open(data / f"{window.source}.tar") as tar:
                samples = samples_of(tar, window, config.window_seconds)
            frames = len(samples) * 100 // RATE
            log_mel = model_features(samples, config)
            utterances.append(Utterance(log_mel, request, num_frames=frames))
        yield some, encode(model.backend, model.tokenizer, utterances)


def values_of(batch: EncodedBatch, entry: int) -> NDArray[np.float32]:
    """[hidden frames, width]: what the decoder's last cross-attention takes from the frames of an
    entry's sound."""
    values = batch.encoded.hidden[1][-1, entry]
    frames = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
    return frames[batch.sound_mask[entry]]


def written(batch: EncodedBatch) -> list[RowResult]:
    """What the model writes of each utterance, greedily, in one attempt."""
    rows, _ = rows_to_write(batch, [LANGUAGE] * len(batch.utterances), ())
    return greedy(batch, rows, limits_of(batch, rows))


class Kept:
    """Windows that were heard with one model."""

    def __init__(self, place: Path, model: turnout.Transcriber) -> None:
        assert model.folder is not None
        digest = hashlib.sha256((model.folder.path / "SHA256SUMS").read_bytes()).hexdigest()
        self.place, self.model = place / digest[:16], model
        self.place.mkdir(parents=True, exist_ok=True)
        self.list = self.place / "heard.jsonl"

    def heard(self) -> dict[str, Learned]:
        """Those so far, by their ids."""
        lines = self.list.read_text().splitlines() if self.list.exists() else []
        rows = map(json.loads, lines)
        return {row["id"]: self._learned(**row) for row in rows}

    def _learned(self, id: str, seconds: float, tokens: Sequence[int]) -> Learned:  # noqa: A002 - a column's name
        path = self.place / f"{id.replace('/', '-')}.npy"
        return Learned(id, seconds, tuple(tokens), path)

    def hear(self, data: Path, windows: Sequence[Window]) -> list[Learned]:
        """All of these; those that were not heard yet are."""
        before = self.heard()
        missing = [window for window in windows if window.id not in before]
        for some, batch in encoded(self.model, data, missing):
            for entry, (window, text) in enumerate(zip(some, written(batch), strict=True)):
                one = self._learned(window.id, window.seconds, text.tokens)
                with one.path.open("wb") as file:
                    np.save(file, values_of(batch, entry).astype(np.float16))
                row = {"id": one.id, "seconds": one.seconds, "tokens": one.tokens}
                with self.list.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                before[one.id] = one
            print(f"{len(before)} windows heard", flush=True)
        return [before[window.id] for window in windows]
