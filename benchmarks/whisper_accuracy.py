"""Word error rates of a converted Whisper checkpoint and of faster-whisper with the same weights.

    python benchmarks/whisper_accuracy.py --weights FOLDER --prompts FOLDER
        [--utterances 400] [--each 100] [--beams 1 5] [--defaults] [--kept FILE]

So many LibriSpeech utterances, and of Asterisk's 8 kHz prompts so many of each of five languages;
the language is given to both. At temperature 0, beams of 1 and of 5, without time stamps. With
--defaults both work as they do when nothing is said to them (ours greedy, faster-whisper's beam of
5), language found, temperatures tried. Needs faster-whisper beside the test environment. Intervals
resample speakers. With --kept every text is written to a file as it comes, and one that was heard
with the same weights is not heard again. Writes results/whisper_accuracy.json, or -defaults.json.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from heard import Heard, weights_in
from origin import ROOT, origin
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer
from whisper_speech import VOICES, Spoken, from_corpus, prompts
from word_errors import rate, word_errors

import turnout
from turnout.audio.waveform import Waveform
from turnout.evaluation.intervals import RESAMPLES, interval
from turnout.hub.convert import convert

SEED = 0
Hears = Callable[[Spoken], str]
ENGLISH, OTHERS = EnglishTextNormalizer(), BasicTextNormalizer()


def utterances(data: Path, folder: Path, count: int, each: int) -> Iterator[Spoken]:
    """LibriSpeech, then the prompts of every language."""
    yield from from_corpus(data, "librispeech", count, SEED)
    for language in VOICES:
        yield from prompts(folder, language, each, SEED)


def ours(model: turnout.Transcriber, beam: int | None) -> Hears:
    """What turnout writes; by default where there is no beam."""

    def hear(spoken: Spoken) -> str:
        options: dict[str, Any] = {}
        if beam is not None:
            options = {
                "beam_size": beam,
                "temperature_increment_on_fallback": None,
                "language": spoken.language,
            }
        return model.transcribe(Waveform(spoken.samples, 16_000), **options).text

    return hear


def theirs(model: Any, beam: int | None) -> Hears:
    """What faster-whisper writes."""

    def hear(spoken: Spoken) -> str:
        options: dict[str, Any] = {}
        if beam is not None:
            options = {
                "beam_size": beam,
                "temperature": 0.0,
                "language": spoken.language,
                "without_timestamps": True,
                "condition_on_previous_text": False,
            }
        segments, _ = model.transcribe(spoken.samples, **options)
        return " ".join(segment.text.strip() for segment in segments)

    return hear


def errors_of(spoken: Spoken, text: str) -> tuple[int, int]:
    """Word errors and words."""
    normal = ENGLISH if spoken.language == "en" else OTHERS
    return word_errors(normal(spoken.text), normal(text))


def judged(spoken: Sequence[Spoken], counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The error rate and its interval, which resamples speakers."""
    table = np.array(counts, dtype=np.float64)
    found = interval(table, rate, [one.speaker for one in spoken], RESAMPLES)
    assert found is not None
    return {"wer": round(rate(table.sum(axis=0)), 2), "interval": [round(end, 2) for end in found]}


def table(spoken: list[Spoken], found: dict[str, list[tuple[int, int]]]) -> list[dict[str, Any]]:
    """A row for LibriSpeech, the prompts of each language, and all prompts."""
    sources = list(dict.fromkeys(one.source for one in spoken))
    groups = {source: [i for i, s in enumerate(spoken) if s.source == source] for source in sources}
    groups["prompts"] = [i for i, one in enumerate(spoken) if one.source.startswith("prompts")]
    rows = []
    for source, places in groups.items():
        members = [spoken[i] for i in places]
        row: dict[str, Any] = {
            "speech": source,
            "utterances": len(members),
            "speakers": len({one.speaker for one in members}),
        }
        for name, counts in found.items():
            row[name] = judged(members, [counts[i] for i in places])
        rows.append(row)
    return rows


def main() -> None:
    from faster_whisper import WhisperModel  # noqa: PLC0415 - not in the test environment

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=400)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime", "faster-whisper", "ctranslate2")
    with tempfile.TemporaryDirectory() as place:
        model = turnout.load(convert(arguments.weights, Path(place) / "model"))
    peer = WhisperModel(str(arguments.weights), device="cpu", compute_type="float32")
    spoken = list(
        utterances(arguments.data, arguments.prompts, arguments.utterances, arguments.each)
    )
    heard = Heard(arguments.kept, f"weights {weights_in(arguments.weights)}")
    found: dict[str, list[tuple[int, int]]] = {}
    for beam in [None] if arguments.defaults else arguments.beams:
        of_beam = "defaults" if beam is None else f"beam {beam}"
        for name, hear in (("turnout", ours(model, beam)), ("faster-whisper", theirs(peer, beam))):
            system = f"{name}, {of_beam}"
            found[system] = [
                errors_of(one, heard.text(system, one.id, partial(hear, one))) for one in spoken
            ]
    rows = table(spoken, found)
    for row in rows:
        print(row)
    ending = "-defaults" if arguments.defaults else ""
    target = Path(__file__).parent / "results" / f"whisper_accuracy{ending}.json"
    target.write_text(json.dumps({**made_by, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
