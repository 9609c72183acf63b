"""How far Whisper's word times are from the truth, beside faster-whisper's with the same weights.

    python benchmarks/whisper_word_times.py --weights FOLDER [--utterances 12] [--kept FILE]

Single words joined as benchmarks/word_times.py joins them (the truth is where: each word was
trimmed to its energy): English digits at 8 kHz and Arabic commands, 10 to 18 of one speaker in a
row, without any pause and with pauses of 50 to 300 ms. Nothing is trained here, so the speakers of
every split are taken. Both systems are told the language and the same previous text (which spells
digits as words), greedy, temperature 0. turnout's detector of speech drops before decoding what it
takes for none, which are whole clips of short words too; faster-whisper has no detector here, as by
default, so that fewer matched words of turnout's need not be its decoder's fault. What they write
is paired with what was said, so that the letters agree best; pairs that agree by half are matched.
Counted is by how much the begin and the end of a matched word are off, of each system's own matches
and of those that both have. Needs faster-whisper beside the test environment. With --kept what was
heard is written to a file as it comes, and what was heard with the same weights is not heard again.
Writes results/whisper_word_times.json.
"""

import argparse
import json
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from heard import Heard, weights_in
from numpy.typing import NDArray
from origin import ROOT, origin
from word_times import PAUSES, SEED, Joined, as_wav, joined, speakers_of

import turnout
from turnout.audio.waveform import Waveform, read_audio
from turnout.hub.convert import convert

RATE = 16_000
SPLITS = ("train", "dev", "test")
WORDS = (10, 18)
SETS = {
    "english digits": ("fsdd", "en", "narrowband", "four, nine, zero, two, seven, one."),
    "arabic commands": ("arabic_commands", "ar", "wideband", "يمين يسار نعم لا"),
}
DIGITS = dict(
    enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
)
AGREES = 0.5
"""Similarity of two words from which they are the same word, spelled otherwise or misheard."""

Words = list[tuple[str, float, float]]
"""Each as it is written, with its begin and end in seconds."""
Hears = Callable[[NDArray[np.float32], str, str], Words]
"""Samples, language, previous text -> words."""


def plain(word: str) -> str:
    """Letters and digits alone, in lower case, without vowel signs; a digit as a word."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", word.casefold()) if c.isalnum())
    return DIGITS.get(int(letters), letters) if letters.isdecimal() else letters


def pairs(said: Sequence[str], found: Sequence[str]) -> list[tuple[int, int]]:
    """Places of words that belong together: in order, and so that they agree best."""
    alike = np.array([[SequenceMatcher(None, a, b).ratio() for b in found] for a in said])
    alike = np.where(alike >= AGREES, alike, 0.0).reshape(len(said), len(found))
    best = np.zeros((len(said) + 1, len(found) + 1))
    for i in range(len(said)):
        for j in range(len(found)):
            best[i + 1, j + 1] = max(best[i, j] + alike[i, j], best[i, j + 1], best[i + 1, j])
    i, j = len(said), len(found)
    chosen = []
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            chosen.append((i, j))
    return chosen[::-1]


def errors_of(truth: Joined, found: Words) -> dict[int, tuple[float, float]]:
    """By how many seconds the begin and the end of each matched word are off, by its place."""
    matched = pairs([plain(word) for word in truth.words], [plain(word) for word, *_ in found])
    return {
        i: (abs(found[j][1] - truth.spans[i][0]), abs(found[j][2] - truth.spans[i][1]))
        for i, j in matched
    }


def ours(model: turnout.Transcriber) -> Hears:
    """turnout's words."""

    def hear(samples: NDArray[np.float32], language: str, before: str) -> Words:
        found = model.transcribe(
            Waveform(samples, RATE),
            language=language,
            initial_prompt=before,
            temperature_increment_on_fallback=None,
            word_timestamps=True,
        )
        return [(w.word, w.start, w.end) for segment in found.segments for w in segment.words]

    return hear


def theirs(model: Any) -> Hears:
    """faster-whisper's words."""

    def hear(samples: NDArray[np.float32], language: str, before: str) -> Words:
        segments, _ = model.transcribe(
            samples,
            language=language,
            initial_prompt=before,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
        )
        return [(w.word, float(w.start), float(w.end)) for s in segments for w in s.words]

    return hear


def summary(errors: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Medians and 95th percentiles in seconds: of begins, ends, and both."""
    off = np.array(errors).reshape(-1, 2)
    if not len(off):
        return {"words": 0}
    parts = {"begins": off[:, 0], "ends": off[:, 1], "both": off}
    found: dict[str, float] = {"words": len(off)}
    for name, values in parts.items():
        found[f"{name}, median"] = round(float(np.median(values)), 4)
        found[f"{name}, p95"] = round(float(np.percentile(values, 95)), 4)
    return found


def samples_of(utterance: Joined, bandwidth: str) -> NDArray[np.float32]:
    """As the file has it, at 16 kHz: both systems are given the same samples."""
    return read_audio(as_wav(utterance.samples, bandwidth)).samples


def heard_by(
    systems: dict[str, Hears], heard: Heard, data: Path, count: int
) -> list[dict[str, Any]]:
    """The rows: each set with each kind of pause."""
    rows = []
    for name, (corpus, language, bandwidth, before) in SETS.items():
        place = data / f"{corpus}.tar"
        speakers = [one for split in SPLITS for one in speakers_of(place, split)]
        for kind, pauses in PAUSES.items():
            found: dict[str, list[tuple[float, float]]] = {system: [] for system in systems}
            shared: dict[str, list[tuple[float, float]]] = {system: [] for system in systems}
            said = 0
            for number, truth in enumerate(joined(speakers, count, pauses, WORDS)):
                samples = samples_of(truth, bandwidth)
                said += len(truth.words)
                off = {}
                for system, hear in systems.items():
                    ask = partial(hear, samples, language, before)
                    text = heard.text(
                        system, f"{name} {kind} {number}", lambda ask=ask: json.dumps(ask())
                    )
                    off[system] = errors_of(truth, json.loads(text))
                both = set.intersection(*(set(places) for places in off.values()))
                for system, places in off.items():
                    found[system] += places.values()
                    shared[system] += [places[place] for place in sorted(both)]
            row: dict[str, Any] = {"set": name, "pauses": kind, "utterances": count, "said": said}
            for system in systems:
                row[system] = {
                    "matched": round(len(found[system]) / said, 4),
                    "own": summary(found[system]),
                    "matched by both": summary(shared[system]),
                }
            print(json.dumps(row, indent=1), flush=True)
            rows.append(row)
    return rows


def main() -> None:
    from faster_whisper import WhisperModel  # noqa: PLC0415 - not in the test environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--utterances", type=int, default=12, help="of each set and pause")
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime", "faster-whisper", "ctranslate2")
    with tempfile.TemporaryDirectory() as place:
        model = turnout.load(convert(arguments.weights, Path(place) / "model"), threads=1)
    peer = WhisperModel(str(arguments.weights), device="cpu", compute_type="float32")
    systems = {"turnout": ours(model), "faster-whisper": theirs(peer)}
    heard = Heard(arguments.kept, f"weights {weights_in(arguments.weights)}")
    rows = heard_by(systems, heard, arguments.data, arguments.utterances)
    target = Path(__file__).parent / "results" / "whisper_word_times.json"
    target.write_text(json.dumps({**made_by, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
