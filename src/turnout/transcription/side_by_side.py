"""Batches of a small model decoded two at a time: what Python does for one, such as choosing tokens
and timing words, leaves the cores to the other's products. A large model's products take them by
themselves, and a second batch of it would take as much memory again.

Segments are taken a batch ahead, so that those of a batch can be of like length: what pads them is
computed like sound. Which make a batch depends on nobody's pace: answers are given, and segments
taken, in a fixed order. Slow twin: `Transcriber._results`, one batch after the other as they come.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from turnout.config import ModelConfig
from turnout.decoding.requests import Decoded, Utterance
from turnout.errors import TurnoutError
from turnout.progress import Heard
from turnout.text.transcript import Transcript
from turnout.transcription.recordings import OpenRecordings, Taken

AT_ONCE = 2
"""Batches: one whose products run, and one that Python works on."""
LARGEST_WIDTH = 256
"""Of a small model's encoder."""

Decode = Callable[[Sequence[Utterance]], list[Decoded]]


def pays(config: ModelConfig, threads: int | None) -> bool:
    """Whether a model of this shape gains by it; one that may use a single thread is left to it."""
    return config.encoder.d_model <= LARGEST_WIDTH and threads != 1


def results(
    recordings: OpenRecordings, decode: Decode, heard: Heard
) -> Iterator[Transcript | TurnoutError]:
    """What became of each recording, in order; a batch that is being decoded is waited for,
    whatever ends it. `heard` is told how far everything is through."""
    held: list[Taken] = []
    going: deque[tuple[list[Taken], Future[list[Decoded]]]] = deque()
    with closing(recordings), ThreadPoolExecutor(AT_ONCE, "decodes") as pool:
        while True:
            while len(going) < AT_ONCE and (batch := next_batch(recordings, held, bool(going))):
                utterances = [taken.utterance for taken in batch]
                going.append((batch, pool.submit(decode, utterances)))
            # Behind the batches that were begun: they run while their caller writes.
            yield from recordings.finished()
            if recordings.cancelled is not None:
                for batch, answers in going:  # which end soon
                    recordings.give(batch, answers.result())
                yield from recordings.begun()
                raise recordings.cancelled
            if going:
                batch, answers = going.popleft()
                recordings.give(batch, answers.result())
                heard(batch[0].segment.end)
            elif not recordings.waiting:
                return


def next_batch(recordings: OpenRecordings, held: list[Taken], ahead: bool) -> list[Taken]:
    """The segment that was taken first of those that are held, and those of the most similar
    lengths, which are held no more; none where there are none. `ahead` is whether there is time to
    take another batch first."""
    most = recordings.batch_size
    while len(held) < (2 * most if ahead else 1) and (taken := recordings.take()):
        held += taken
    lengths = [one.utterance.frames for one in held]
    # Of equals the first, so that nothing waits for ever.
    alike = sorted(range(len(held)), key=lambda i: abs(lengths[i] - lengths[0]))[:most]
    batch = [held[i] for i in sorted(alike)]
    held[:] = [one for i, one in enumerate(held) if i not in alike]
    return batch
