"""How fast a converted Whisper checkpoint runs, beside CTranslate2 with the same weights.

    python benchmarks/whisper_speed.py --weights FOLDER [--rounds 15] [--minutes 5]
        [--precision float32 | int8] [--parts steps,files]

Both in the same precision with two threads each. Encoder: the same frames of LibriSpeech, windows
of 30 s, batches of 1 and 8; turnout's encoder also works out what the decoder attends to, which
CTranslate2 does in its decoder, so that the sum of both is given too. Decoder: greedy, 50 tokens
forced (the end may not be written). Both tasks: transcript and translation, 50 tokens each, from
one pass of turnout's encoder, beside its transcript alone. Whole files: a recording of some minutes
with pauses, greedy, temperature 0, the language given, with a detector of speech before all
(Silero's, each with settings of its own), beside faster-whisper's sequential and its batched
pipeline, which write time stamps and write none, as they come. These are whole programs and not the
same work: how many windows a recording becomes differs, and so does what is done about a window
whose text ends early. What each got wrong stands beside it. --parts picks steps (all but whole
files) or files, whose results then have a file of their own.

In every round each is timed once and turnout once more, in an order that rotates: the ratio of
turnout's own two is the control, which says what a ratio of this machine is worth. Given are
medians over the rounds and 95 % intervals of them (rounds resampled); a ratio above 1 means that
turnout takes longer. One round before the first is not counted. Needs faster-whisper beside the
test environment, and a machine that does nothing else. Writes
results/whisper_speed[-int8][-PARTS].json.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from origin import ROOT, origin
from whisper_long import NORMAL, joined
from whisper_speech import RATE, from_corpus
from word_errors import rate, word_errors

import turnout
from turnout.audio.features import model_features
from turnout.audio.waveform import Waveform
from turnout.decoding.backend import Encoded, StepQuery
from turnout.guidance import Guidance, Task
from turnout.hub.convert import convert

SEED = 0
WHOLE_FILE = "whole file, greedy, a detector of speech before all"
PARTS = ("steps", "files")
THREADS = 2
TOKENS = 50
BATCHES = (1, 8)
PAUSES = (0.2, 2.0)
RESAMPLES = 2000
GUIDANCE = Guidance(task=Task.TRANSCRIBE, language="en", target_language="en")
BOTH = (GUIDANCE, replace(GUIDANCE, task=Task.TRANSLATE))

Floats = NDArray[np.float32]
Timed = dict[str, dict[str, list[float]]]
"""Seconds of every round, by what was done and by whom."""


class Ours:
    """turnout's graphs on ONNX Runtime."""

    def __init__(self, model: turnout.Transcriber) -> None:
        self.model, self.config = model, model.backend.config
        self.tokenizer, self.backend = model.tokenizer, model.backend

    def encode(self, log_mel: Floats) -> Encoded:
        """Of [batch, frames, mels]."""
        mask = np.ones(log_mel.shape[:2], dtype=bool)
        return self.backend.encode(log_mel, mask, [GUIDANCE] * len(log_mel))

    def decode(
        self, encoded: Encoded, batch: int, tasks: Sequence[Guidance] = (GUIDANCE,)
    ) -> list[list[int]]:
        """So many tokens of each, for each task."""
        guidance = [task for _ in range(batch) for task in tasks]
        rows = np.repeat(np.arange(batch), len(tasks))
        allowed = np.zeros((len(rows), self.config.vocabulary.size), dtype=bool)
        allowed[:, : self.tokenizer.size] = self.tokenizer.text_mask
        allowed[:, list(self.config.decoder.suppressed)] = False
        first = allowed.copy()
        first[:, list(self.config.decoder.suppressed_first)] = False
        new = np.array([self.tokenizer.prompt(one, self.config.task_token) for one in guidance])
        state = self.backend.start(encoded, rows, guidance)
        written = []
        for step in range(TOKENS):
            last = np.full((len(rows), 1), new.shape[1] - 1)
            query = StepQuery(
                positions=last,
                allowed=allowed if step else first,
                best=1,
                scored=np.full((len(rows), 1), self.tokenizer.end),
            )
            found, state = self.backend.step(state, new, np.full(len(rows), new.shape[1]), query)
            new = found.tokens[:, -1]
            written.append(new[:, 0])
        return np.stack(written, axis=1).tolist()


class Theirs:
    """CTranslate2, given what `Ours` is given."""

    def __init__(self, whisper: Any, ours: Ours) -> None:
        from ctranslate2 import StorageView  # noqa: PLC0415 - not in the test environment

        self.view, self.model = StorageView.from_array, whisper.model
        config, tokenizer = ours.config, ours.tokenizer
        self.prompt = tokenizer.prompt(GUIDANCE, config.task_token)
        texts = np.flatnonzero(tokenizer.text_mask)
        others = set(range(config.vocabulary.size)) - set(texts.tolist())
        self.suppressed = sorted(others | set(config.decoder.suppressed))

    def encode(self, log_mel: Floats) -> Any:
        """Of [batch, frames, mels]."""
        return self.model.encode(self.view(np.ascontiguousarray(log_mel.transpose(0, 2, 1))))

    def decode(self, encoded: Any, batch: int) -> list[list[int]]:
        """So many tokens of each."""
        # It takes the lesser of half of max_length and what the prompt leaves of it.
        found = self.model.generate(
            encoded,
            [self.prompt] * batch,
            beam_size=1,
            max_length=2 * TOKENS,
            suppress_tokens=self.suppressed,
        )
        return [one.sequences_ids[0] for one in found]


def windows(data: Path, model: turnout.Transcriber, count: int) -> Floats:
    """[count, frames, mels]: joined utterances of 30 s."""
    spoken = list(from_corpus(data, "librispeech", 12 * count, SEED))
    seconds = model.backend.config.window_seconds
    samples, _ = joined(spoken, count * seconds, PAUSES, np.random.default_rng(SEED))
    parts = samples[: round(count * seconds * RATE)].reshape(count, -1)
    return np.stack([model_features(part, model.backend.config) for part in parts])


def seconds_of(act: Callable[[], Any]) -> tuple[float, Any]:
    """How long it takes, and what comes of it."""
    began = time.perf_counter()
    found = act()
    return time.perf_counter() - began, found


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: whoever comes first in one comes last in the next."""
    return [*names[number % len(names) :], *names[: number % len(names)]]


def parts_timed(
    ours: Ours, theirs: Theirs, log_mel: Floats, number: int
) -> Iterator[tuple[str, str, float]]:
    """One round of a batch: what was done, by whom, seconds; turnout's second time is `again`."""
    batch = len(log_mel)
    texts = {}
    systems = {"turnout": ours, "ctranslate2": theirs, "again": ours}
    for name in rotated(list(systems), number):
        system = systems[name]
        encoding, encoded = seconds_of(lambda system=system: system.encode(log_mel))
        decoding, texts[name] = seconds_of(
            lambda system=system, encoded=encoded: system.decode(encoded, batch)
        )
        yield f"encoder, batch {batch}", name, encoding
        yield f"decoder, batch {batch}", name, decoding
        yield f"both, batch {batch}", name, encoding + decoding
    for name, text in texts.items():
        if [len(row) for row in text] != [TOKENS] * batch:
            raise SystemExit(f"{name} wrote {[len(row) for row in text]} tokens, not {TOKENS}")
    same = sum(a == b for a, b in zip(texts["turnout"], texts["ctranslate2"], strict=True))
    yield f"rows with the same tokens, batch {batch}", "turnout", same


def tasks_timed(ours: Ours, log_mel: Floats, number: int) -> Iterator[tuple[str, str, float]]:
    """One round of both tasks from one pass of the encoder, beside one task."""
    tasks = {"turnout": BOTH, "one task": BOTH[:1], "again": BOTH}
    for name in rotated(list(tasks), number):
        taken, _ = seconds_of(
            lambda name=name: ours.decode(ours.encode(log_mel), len(log_mel), tasks[name])
        )
        yield f"both tasks, batch {len(log_mel)}", name, taken


def files_timed(
    model: turnout.Transcriber, whisper: Any, samples: Floats, number: int, texts: dict[str, str]
) -> Iterator[tuple[str, str, float]]:
    """One round of a whole recording; what each wrote goes into `texts`."""
    from faster_whisper import (  # noqa: PLC0415 - not in the test environment
        BatchedInferencePipeline,
    )

    greedy = {"language": "en", "beam_size": 1}
    batched = BatchedInferencePipeline(whisper)

    def ours() -> str:
        return model.transcribe(
            Waveform(samples, RATE), temperature_increment_on_fallback=None, **greedy
        ).text

    def sequential() -> str:
        found, _ = whisper.transcribe(
            samples,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=True,
            **greedy,
        )
        return " ".join(one.text for one in found)

    def in_batches() -> str:
        found, _ = batched.transcribe(samples, temperature=0.0, batch_size=8, **greedy)
        return " ".join(one.text for one in found)

    acts: dict[str, Callable[[], str]] = {
        "turnout": ours,
        "faster-whisper, sequential": sequential,
        "faster-whisper, batched": in_batches,
        "again": ours,
    }
    for name in rotated(list(acts), number):
        taken, texts[name] = seconds_of(acts[name])
        yield WHOLE_FILE, name, taken


def middle(values: NDArray[np.float64]) -> dict[str, Any]:
    """The median, and the interval in which it lies when rounds are resampled."""
    rng = np.random.default_rng(SEED)
    resampled = np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
    ends = [round(float(end), 4) for end in np.percentile(resampled, (2.5, 97.5))]
    return {"median": round(float(np.median(values)), 4), "interval": ends}


def table(timed: Timed) -> list[dict[str, Any]]:
    """A row for everything that was done: seconds, ratios round by round, and the control."""
    rows = []
    for what, by in timed.items():
        row: dict[str, Any] = {"what": what}
        if set(by) == {"turnout"}:
            rows.append(row | {"fewest": min(by["turnout"])})
            continue
        seconds = {name: np.array(values) for name, values in by.items()}
        for name, values in seconds.items():
            row[name] = middle(values)
            if name not in ("turnout", "again"):
                row[f"turnout over {name}"] = middle(seconds["turnout"] / values)
        row["control"] = middle(seconds["turnout"] / seconds["again"])
        rows.append(row)
    return rows


def wrong(texts: dict[str, str], said: Sequence[str]) -> dict[str, Any]:
    """Word error rates of the whole file, in percent, by whom."""
    row: dict[str, Any] = {"what": f"{WHOLE_FILE}: words wrong, %"}
    for name, text in texts.items():
        counts = word_errors(" ".join(said), NORMAL(text))
        row[name] = round(rate(np.array(counts, dtype=float)), 2)
    return row


def written(texts: dict[str, str], said: Sequence[str]) -> dict[str, Any]:
    """How many words each wrote: fewer than were said where windows end early."""
    words = {name: len(NORMAL(text).split()) for name, text in texts.items()}
    return {"what": f"{WHOLE_FILE}: words", "said": len(" ".join(said).split()), **words}


def main() -> None:
    from faster_whisper import WhisperModel  # noqa: PLC0415 - not in the test environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts {arguments.parts}: choose from {', '.join(PARTS)}")
    made_by = origin(SEED, "numpy", "onnxruntime", "faster-whisper", "ctranslate2")
    precision = arguments.precision
    with tempfile.TemporaryDirectory() as place:
        stored = "int8" if precision == "int8" else "stored"
        folder = convert(arguments.weights, Path(place) / "model", precision=stored)
        model = turnout.load(folder, threads=THREADS)
    whisper = WhisperModel(
        str(arguments.weights), device="cpu", compute_type=precision, cpu_threads=THREADS
    )
    ours = Ours(model)
    theirs = Theirs(whisper, ours)
    log_mel = windows(arguments.data, model, max(BATCHES))
    spoken = list(from_corpus(arguments.data, "librispeech", 200, SEED))
    recording, said = joined(spoken, arguments.minutes * 60, PAUSES, np.random.default_rng(SEED))
    timed: Timed = {}
    texts: dict[str, str] = {}
    for number in range(arguments.rounds + 1):
        found: list[tuple[str, str, float]] = []
        for size in BATCHES if "steps" in parts else ():
            found += parts_timed(ours, theirs, log_mel[:size], number)
            found += tasks_timed(ours, log_mel[:size], number)
        if "files" in parts:
            found += files_timed(model, whisper, recording, number, texts)
        for what, name, taken in found if number else ():
            timed.setdefault(what, {}).setdefault(name, []).append(taken)
        print(f"round {number} of {arguments.rounds}", flush=True)
    rows = [*table(timed), *([wrong(texts, said), written(texts, said)] if texts else [])]
    for row in rows:
        print(json.dumps(row))
    result = {
        **made_by,
        "precision": precision,
        "rounds": arguments.rounds,
        "threads": THREADS,
        "minutes": arguments.minutes,
    }
    of = [precision] if precision != "float32" else []
    name = "-".join(["whisper_speed", *of, *(parts if len(parts) < len(PARTS) else [])])
    target = Path(__file__).parent / "results" / f"{name}.json"
    target.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
