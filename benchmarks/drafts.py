"""How much of the decoder's work drafts save: what CTC hears, verified in one step.

    python benchmarks/drafts.py [--quick] [--rounds 15] [--data ../shared/data]

The model that ships transcribes words of the dev speakers of Arabic Speech Commands and the Free
Spoken Digit Dataset, joined with pauses from a fixed seed: 2 to 6 words, as it was taught, and 10,
which are cut into windows. The language is given, the search is greedy, batches are of 1 and of 8,
on ONNX Runtime with one thread. It does so as it is, and with drafts that hold no token: each with
the same graphs and the same code.

In every round each is timed once and the one without drafts once more, in an order that rotates:
the ratio of its own two is the control, which says what a ratio of this machine is worth. Given are
medians over the rounds and 95 % intervals of them (rounds resampled); a ratio above 1 means that
drafts are faster. One round before the first is not counted. Times are the process's on the CPU.

"decoder": all that is done in decoder rows, from their start to the choice between the decoder's
text and CTC's. "all": from the files' bytes to transcripts. "steps": runs of the decoder's graph,
"right": the share of the proposed tokens that the decoder wrote, "foreseen": the share of what it
wrote that was proposed, its ends not counted. Texts have to be the same; where one is not, it is
counted. Writes results/drafts.json; with --quick nothing.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from origin import ROOT, origin
from unchanged import NOISE, PAUSE_SECONDS, RATE, TELEPHONE_RATE, as_wav, decoded, soxr, words_of
from whisper_speed import middle, rotated

import turnout
from turnout.backends.onnx import OnnxBackend
from turnout.decoding import decode, greedy
from turnout.decoding.drafts import Draft

SEED = 20_261_126
UTTERANCES, QUICK_UTTERANCES = 32, 8
BATCHES = (1, 8)
AIM = 3.0
"""How many times as fast the decoder's part is to be."""
WITH, WITHOUT, AGAIN = "with drafts", "without", "without, again"

Timed = dict[str, list[float]]
"""Seconds of every round, by whom."""


@dataclass
class Seen:
    """What one run had to do."""

    all_seconds: float = 0.0
    decoder_seconds: float = 0.0
    steps: int = 0
    written: int = 0
    proposed: int = 0
    right: int = 0
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Speech:
    """Recordings of one kind, and their language."""

    kind: str
    language: str
    recordings: list[bytes]


def sentences(
    words: dict[str, list[bytes]], lengths: tuple[int, int], count: int, rate: int
) -> Iterator[bytes]:
    """Recordings of so many words of one speaker, the speakers in turn, with pauses and faint
    noise."""
    speakers = sorted(words)
    for index in range(count):
        rng = np.random.default_rng((SEED, index))
        spoken, parts = words[speakers[index % len(speakers)]], []
        for choice in rng.integers(len(spoken), size=rng.integers(lengths[0], lengths[1] + 1)):
            pause = np.zeros(round(rng.uniform(*PAUSE_SECONDS) * RATE), dtype=np.float32)
            parts += [pause, decoded(spoken[choice])]
        samples = np.concatenate(parts)
        samples = samples + NOISE * rng.standard_normal(len(samples)).astype(np.float32)
        yield as_wav(soxr.resample(samples, RATE, rate), rate, "PCM_16")


def speech(data: Path, count: int) -> list[Speech]:
    """What is transcribed."""
    arabic = words_of(data / "arabic_commands.tar", "dev")
    english = words_of(data / "fsdd.tar", "dev")
    return [
        Speech("2 to 6 Arabic words", "ar", list(sentences(arabic, (2, 6), count, RATE))),
        Speech(
            "2 to 6 English digits, telephone",
            "en",
            list(sentences(english, (2, 6), count, TELEPHONE_RATE)),
        ),
        Speech("10 Arabic words", "ar", list(sentences(arabic, (10, 10), count // 2, RATE))),
    ]


@contextmanager
def watched(seen: Seen, *, drafts: bool) -> Iterator[None]:
    """Decoding that is timed, with drafts or without."""
    search, step, verify = decode.search, OnnxBackend.step, greedy.Text.verify

    def timed_search(*given: Any) -> Any:
        began = time.process_time()
        found = search(*given)
        seen.decoder_seconds += time.process_time() - began
        return found

    def counted_step(self: OnnxBackend, *given: Any) -> Any:
        seen.steps += 1
        return step(self, *given)

    def counted_verify(self: greedy.Text, proposed: Sequence[int], *given: Any) -> int | None:
        before = self.length
        right = verify(self, proposed, *given)
        new = self.tokens[before:]
        seen.written += sum(token != given[-1] for token in new)
        seen.proposed += len(proposed)
        pairs = zip(proposed, new, strict=False)
        seen.right += sum(one == other for one, other in pairs)
        return right

    def no_drafts(_: Any, rows: Sequence[Any]) -> list[Draft]:
        return [Draft() for _ in rows]

    with (
        patch.object(decode, "search", timed_search),
        patch.object(OnnxBackend, "step", counted_step),
        patch.object(greedy.Text, "verify", counted_verify),
        patch.object(greedy, "drafts_of", greedy.drafts_of if drafts else no_drafts),
    ):
        yield


def once(model: turnout.Transcriber, spoken: Speech, batch: int, *, drafts: bool) -> Seen:
    """All recordings of a kind."""
    seen = Seen()
    with watched(seen, drafts=drafts):
        began = time.process_time()
        found = list(
            model.transcribe_files(spoken.recordings, language=spoken.language, batch_size=batch)
        )
        seen.all_seconds = time.process_time() - began
    for transcript in found:
        if isinstance(transcript, turnout.TurnoutError):
            raise transcript
        seen.texts.append(transcript.text)
    return seen


def compared(model: turnout.Transcriber, spoken: Speech, batch: int, rounds: int) -> dict[str, Any]:
    """One row: what was done, seconds, ratios round by round, and the control."""
    acts: dict[str, Callable[[], Seen]] = {
        WITH: lambda: once(model, spoken, batch, drafts=True),
        WITHOUT: lambda: once(model, spoken, batch, drafts=False),
        AGAIN: lambda: once(model, spoken, batch, drafts=False),
    }
    decoder: Timed = {name: [] for name in acts}
    everything: Timed = {name: [] for name in acts}
    last: dict[str, Seen] = {}
    for number in range(rounds + 1):
        for name in rotated(list(acts), number):
            last[name] = acts[name]()
            if number:
                decoder[name].append(last[name].decoder_seconds)
                everything[name].append(last[name].all_seconds)
    drafted, plain = last[WITH], last[WITHOUT]
    pairs = zip(drafted.texts, plain.texts, strict=True)
    row = {
        "what": f"{spoken.kind}, batch {batch}",
        "tokens": round(plain.written / len(plain.texts), 2),
        "texts that differ": sum(one != other for one, other in pairs),
        "right": round(drafted.right / max(drafted.proposed, 1), 4),
        "foreseen": round(drafted.right / max(drafted.written, 1), 4),
        "steps": {WITH: drafted.steps, WITHOUT: plain.steps},
        "decoder": ratios(decoder),
        "all": ratios(everything),
    }
    return row | {"aim": AIM, "reached": row["decoder"]["ratio"]["median"] >= AIM}


def ratios(timed: Timed) -> dict[str, Any]:
    """Medians of seconds and of the ratios round by round."""
    seconds = {name: np.array(values) for name, values in timed.items()}
    return {
        **{name: middle(values) for name, values in seconds.items()},
        "ratio": middle(seconds[WITHOUT] / seconds[WITH]),
        "control": middle(seconds[WITHOUT] / seconds[AGAIN]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few recordings and rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 15)
    count = QUICK_UTTERANCES if arguments.quick else UTTERANCES
    made_by = origin(SEED, "numpy", "onnxruntime")
    model = turnout.load(threads=1)
    rows = []
    for spoken in speech(arguments.data, count):
        for batch in BATCHES:
            rows.append(compared(model, spoken, batch, rounds))
            print(json.dumps(rows[-1]), flush=True)
    if arguments.quick:
        return
    result = {**made_by, "rounds": rounds, "recordings": count, "threads": 1, "rows": rows}
    target = Path(__file__).parent / "results" / "drafts.json"
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
