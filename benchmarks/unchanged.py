"""Whether the model that ships still writes what it wrote.

    python benchmarks/unchanged.py [--write] [--data ../shared/data]

Transcribes and translates every recording of examples/ and 36 connected utterances, greedily and by
beam search, with word times, on every backend that is installed, and compares texts, languages,
bandwidths, times and log-probabilities with results/unchanged.json beside this file (`--write`
writes it anew). Status 1 where anything differs: a change of structure must change no text.

The utterances are of the dev speakers of Arabic Speech Commands and the Free Spoken Digit Dataset,
2 to 6 words joined with pauses, from a fixed seed: 12 wideband, the same 12 at 8 kHz and mu-law
coded, 12 of digits at 8 kHz. This file needs NumPy, soundfile, soxr and the public interface alone,
so that it outlives every move of what lies behind.
"""

import argparse
import io
import json
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from origin import ROOT, origin

import turnout

SEED = 20_261_125
UTTERANCES = 12
FEWEST_WORDS, MOST_WORDS = 2, 6
PAUSE_SECONDS = (0.08, 0.3)
NOISE = 3e-4
RATE = 16_000
TELEPHONE_RATE = 8_000
LARGEST_DIFFERENCE = 1e-4
"""Of a log-probability: graphs that are laid out anew add up in another order."""
RESULT = Path(__file__).parent / "results" / "unchanged.json"
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"task": "both", "word_timestamps": True},
    "beam": {"task": "both", "word_timestamps": True, "beam_size": 4},
}

Samples = NDArray[np.float32]


def words_of(corpus: Path, split: str) -> dict[str, list[bytes]]:
    """The encoded recordings of a split's single words, by speaker, in the manifest's order."""
    name = corpus.stem
    with tarfile.open(corpus) as archive:
        manifest = archive.extractfile(f"{name}/manifest.jsonl")
        assert manifest is not None
        lines = [json.loads(line) for line in manifest.read().decode().splitlines()]
        chosen = [line for line in lines if line["split"] == split]
        found: defaultdict[str, list[bytes]] = defaultdict(list)
        for line in chosen:
            member = archive.extractfile(f"{name}/{line['audio_filepath']}")
            assert member is not None
            found[line["speaker"]].append(member.read())
    return dict(found)


def decoded(data: bytes) -> Samples:
    """The samples at 16 kHz."""
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return soxr.resample(samples, rate, RATE).astype(np.float32)


def connected(words: dict[str, list[bytes]], seed: int) -> Iterator[Samples]:
    """Utterances of 2 to 6 words of one speaker, the speakers in turn, with faint noise."""
    speakers = sorted(words)
    for index in range(UTTERANCES):
        rng = np.random.default_rng((seed, index))
        spoken = words[speakers[index % len(speakers)]]
        count = int(rng.integers(FEWEST_WORDS, MOST_WORDS + 1))
        parts: list[Samples] = []
        for choice in rng.integers(len(spoken), size=count).tolist():
            pause = np.zeros(round(rng.uniform(*PAUSE_SECONDS) * RATE), dtype=np.float32)
            parts += [pause, decoded(spoken[choice])]
        samples = np.concatenate(parts)
        yield samples + NOISE * rng.standard_normal(len(samples)).astype(np.float32)


def as_wav(samples: Samples, rate: int, subtype: str) -> bytes:
    """A WAV file; its samples are at `rate` already."""
    out = io.BytesIO()
    soundfile.write(out, np.clip(samples, -1, 1), rate, format="WAV", subtype=subtype)
    return out.getvalue()


def recordings(data: Path) -> Iterator[tuple[str, Path | bytes]]:
    """The recordings of examples/, then the 36 utterances, each with a name."""
    for path in sorted((ROOT / "examples").glob("*-*.*")):
        yield path.name, path
    arabic = list(connected(words_of(data / "arabic_commands.tar", "dev"), SEED))
    english = list(connected(words_of(data / "fsdd.tar", "dev"), SEED + 1))
    for index, samples in enumerate(arabic):
        yield f"arabic-wideband-{index}", as_wav(samples, RATE, "PCM_16")
    for index, samples in enumerate(arabic):
        narrow = soxr.resample(samples, RATE, TELEPHONE_RATE)
        yield f"arabic-narrowband-{index}", as_wav(narrow, TELEPHONE_RATE, "ULAW")
    for index, samples in enumerate(english):
        narrow = soxr.resample(samples, RATE, TELEPHONE_RATE)
        yield f"english-narrowband-{index}", as_wav(narrow, TELEPHONE_RATE, "PCM_16")


def said(transcript: turnout.Transcript) -> dict[str, Any]:
    """What must not change of a transcript."""
    content: dict[str, Any] = {
        "text": transcript.text,
        "language": transcript.language,
        "bandwidth": str(transcript.bandwidth),
        "segments": [
            {
                "text": segment.text,
                "times": [round(segment.start, 2), round(segment.end, 2)],
                "words": [[word.word, word.start, word.end] for word in segment.words],
                "avg_logprob": segment.avg_logprob,
            }
            for segment in transcript.segments
        ],
    }
    if transcript.translation is not None:
        content["translation"] = said(transcript.translation)
    return content


def everything(data: Path) -> dict[str, Any]:
    """What is written now, by backend, search and recording."""
    backends = ["onnx", "torch"] if find_spec("torch") else ["onnx"]
    heard = dict(recordings(data))
    found: dict[str, Any] = {}
    for backend in backends:
        model = turnout.load(backend=backend, threads=1)  # type: ignore[arg-type]
        for search, options in OPTIONS.items():
            results = model.transcribe_files(list(heard.values()), **options)
            texts: dict[str, Any] = {}
            for name, result in zip(heard, results, strict=True):
                if isinstance(result, turnout.TurnoutError):
                    raise result
                texts[name] = said(result)
            found[f"{backend}, {search}"] = texts
    return found


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """A line for each place where two results differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from differences(before.get(key), now.get(key), f"{place}/{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{place}[{index}]")
    elif place.endswith("avg_logprob") and None not in (before, now):
        if abs(before - now) > LARGEST_DIFFERENCE:
            yield f"{place}: {before} -> {now}"
    elif before != now:
        yield f"{place}: {before!r} -> {now!r}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime")
    now = everything(arguments.data)
    if arguments.write:
        content = {**made_by, "written": now}
        RESULT.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf-8")
        return 0
    before = json.loads(RESULT.read_text("utf-8"))["written"]
    before = {place: texts for place, texts in before.items() if place in now}
    lines = list(differences(before, now))
    for line in lines:
        print(line)
    count = sum(map(len, now.values()))
    print(f"{len(lines)} differences in {count} transcripts (log-probabilities: 1e-4 allowed)")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
