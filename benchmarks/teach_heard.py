"""What the models of the teaching benchmark hear, and whether adapters leave alone what they are
not for.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from heard import Heard
from numpy.typing import NDArray
from whisper_speech import RATE, Spoken

import turnout
from turnout.audio.waveform import Source, Waveform
from turnout.backends.paths import Part
from turnout.decoding.backend import Encoded
from turnout.guidance import Bandwidth, Guidance, Task, Window

ENCODED = 10
"""Utterances of which the encoder's outputs are compared, spread over all."""
BATCH = 64
"""Utterances that a GPU hears at once."""
CPU = "cpu"
SHORT_SECONDS, SPREAD = 10, 8
"""Of utterances whose encoding is timed: how long at most, and one of so many."""


@lru_cache(maxsize=2)
def loaded(
    folder: Path, adapters: tuple[Path, ...], threads: int, device: str
) -> turnout.Transcriber:
    """A model with its adapters; the base and one other stay in memory."""
    return turnout.load(folder, adapters=adapters, threads=threads, device=device)


@dataclass(frozen=True)
class Listener:
    """A model that is loaded when something is heard that was not kept."""

    name: str
    folder: Path
    threads: int
    adapters: tuple[Path, ...] = ()
    window: Window = Window.PADDED
    device: str = CPU
    """Another than the CPU hears in batches, on PyTorch."""
    bandwidth: Bandwidth | None = None
    """That is told; measured where it is None."""

    @property
    def model(self) -> turnout.Transcriber:
        """Ready."""
        return loaded(self.folder, self.adapters, self.threads, self.device)

    @property
    def key(self) -> str:
        """Under which its texts are kept: the name, the digest of all files that it is made of,
        how much of a window it hears, and where that is not the CPU, on what; the bandwidth that
        it is told."""
        digest = hashlib.sha256()
        for folder in (self.folder, *self.adapters):
            digest.update((folder / "SHA256SUMS").read_bytes())
        place = "" if self.device == CPU else f" {self.device}"
        told = "" if self.bandwidth is None else f" {self.bandwidth}"
        return f"{self.name} {digest.hexdigest()[:16]} {self.window}{place}{told}"

    def hear_ahead(
        self, spoken: Sequence[Spoken], heard: Heard, task: Task = Task.TRANSCRIBE
    ) -> None:
        """Keep what it writes of these, in batches, where that is faster."""
        key = f"{self.key} {task}"
        missing = [one for one in spoken if self.device != CPU and heard.lacks(key, one.id)]
        for language in dict.fromkeys(one.language for one in missing):
            own = [one for one in missing if one.language == language]
            waves: list[Source] = [Waveform(one.samples, RATE) for one in own]
            options = {**self.options(language, task), "batch_size": BATCH}
            for one, found in zip(own, self.model.transcribe(waves, **options), strict=True):
                heard.text(key, one.id, partial(str, found.text))

    def text(self, spoken: Spoken, heard: Heard, task: Task = Task.TRANSCRIBE) -> str:
        """What it writes, or once wrote."""
        key = f"{self.key} {task}"
        return heard.text(key, spoken.id, partial(self.hear, spoken, task))

    def hear(self, spoken: Spoken, task: Task = Task.TRANSCRIBE) -> str:
        """What it writes now; greedy, temperature 0, the language given."""
        wave = Waveform(spoken.samples, RATE)
        return self.model.transcribe(wave, **self.options(spoken.language, task)).text

    def options(self, language: str, task: Task) -> dict[str, Any]:
        """How it is asked."""
        return {
            "task": task.value,
            "language": language,
            "target_language": "en" if task is Task.TRANSLATE else None,
            "window": self.window.value,
            "bandwidth": self.bandwidth and self.bandwidth.value,
            "beam_size": 1,
            "temperature_increment_on_fallback": None,
        }

    def encoded(self, spoken: Spoken) -> list[NDArray[np.float32]]:
        """What its encoder makes of each segment: all that the decoder attends to."""
        return [array for one in self.listened(spoken) for array in attended(self.encode(*one))]

    def encode(self, log_mel: NDArray[np.float32], guidance: Guidance) -> Encoded:
        """A segment, alone."""
        mask = np.ones((1, len(log_mel)), dtype=bool)
        return self.model.backend.encode(log_mel[None], mask, [guidance])

    def listened(self, spoken: Spoken) -> Iterator[tuple[NDArray[np.float32], Guidance]]:
        """Features of each segment, and what its encoder is told of it."""
        backend = self.model.backend
        wave = Waveform(spoken.samples, RATE)
        segments = self.model.listen(wave, language=spoken.language, window=self.window.value)
        for segment in segments:
            guidance = Guidance(
                bandwidth=segments.bandwidth,
                task=Task.TRANSCRIBE,
                language=spoken.language,
                target_language=spoken.language,
                domain=backend.config.domains[0],
                window=self.window,
            )
            assert segment.log_mel is not None
            yield segment.log_mel, guidance


def attended(encoded: Encoded) -> list[NDArray[np.float32]]:
    """Keys, values and mask of one utterance, whichever path it took."""
    hidden: Any = encoded.hidden
    if isinstance(hidden[0], Part):
        hidden = hidden[0].encoded.hidden
    return list(hidden)


def equal(
    base: Listener, other: Listener, spoken: Sequence[Spoken], heard: Heard
) -> dict[str, Any]:
    """Of how many utterances the other writes what the base writes, by source, and of how many its
    encoder gives the same numbers, to the last bit, on the CPU."""
    found: dict[str, Any] = {"different": []}
    for source in dict.fromkeys(one.source for one in spoken):
        own = [one for one in spoken if one.source == source]
        differ = [one.id for one in own if base.text(one, heard) != other.text(one, heard)]
        found[source] = f"{len(own) - len(differ)} of {len(own)}"
        found["different"] += differ
    if other.device != CPU:  # graphs give bits to compare
        return found
    said = [one for one in spoken if base.text(one, heard)]  # else nothing may be encoded
    few = said[:: max(1, len(said) // ENCODED)][:ENCODED]
    same = sum(same_arrays(base.encoded(one), other.encoded(one)) for one in few)
    return found | {"encoder outputs": f"{same} of {len(few)}"}


def encoder_share(padded: Listener, short: Listener, spoken: Sequence[Spoken]) -> dict[str, Any]:
    """Processor time of the encoder over utterances of up to ten seconds, in turn: a window that
    ends with the speech over a padded one. Nothing where another device hears, and of a single
    utterance, since the first pays for what is opened once."""
    few = [one for one in spoken if len(one.samples) <= SHORT_SECONDS * RATE][::SPREAD]
    if short.device != CPU or len(few) < 2:
        return {}
    taken: dict[Window, list[float]] = {one.window: [] for one in (padded, short)}
    for one in few:
        for listener in (padded, short):
            segments = list(listener.listened(one))
            began = time.process_time()
            for segment in segments:
                listener.encode(*segment)
            taken[listener.window].append(time.process_time() - began)
    seconds = {window: round(sum(own[1:]), 2) for window, own in taken.items()}
    ratio = seconds[short.window] / seconds[padded.window]
    return {"utterances": len(few) - 1, **seconds, "ratio": round(ratio, 3)}


def same_arrays(one: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> bool:
    """Whether there are any, and all are equal to the last bit."""
    pairs = zip(one, other, strict=False)
    return 0 < len(one) == len(other) and all(np.array_equal(a, b) for a, b in pairs)
