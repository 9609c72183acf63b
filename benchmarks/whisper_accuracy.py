"""Word error rates of a converted Whisper checkpoint and of faster-whisper with the same weights.

    python benchmarks/whisper_accuracy.py --weights FOLDER --prompts FOLDER
        [--utterances 400] [--each 100] [--beams 1 5] [--defaults | --int8] [--kept FILE]

So many LibriSpeech utterances, and of Asterisk's 8 kHz prompts so many of each of five languages;
the language is given to both. At temperature 0, beams of 1 and of 5, without time stamps. With
--defaults both work as they do when nothing is said to them (ours greedy, faster-whisper's beam of
5), language found, temperatures tried. Needs faster-whisper beside the test environment. Intervals
resample speakers. With --int8 the other is turnout itself, with its matrices in int8; the processor
time of encoder and decoder, each for a window of 30 s and 50 tokens, is measured in turn, which
needs no quiet machine, and the bytes of the folder in int8 are counted. With --kept every text is
written to a file as it comes, and one that was heard with the same weights is not heard again.
Writes results/whisper_accuracy.json, -defaults.json or -int8.json.
"""

import argparse
import json
import tempfile
import time
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
from whisper_speed import Ours, rotated, windows
from word_errors import rate, word_errors

import turnout
from turnout.audio.waveform import Waveform
from turnout.evaluation.intervals import RESAMPLES, interval
from turnout.hub.convert import convert
from turnout.serving.model_facts import memory_of

SEED = 0
ROUNDS = 5
"""In which processor time is measured."""
Hears = Callable[[Spoken], str]
ENGLISH, OTHERS = EnglishTextNormalizer(), BasicTextNormalizer()


def utterances(arguments: argparse.Namespace) -> Iterator[Spoken]:
    """LibriSpeech, then the prompts of every language."""
    yield from from_corpus(arguments.data, "librispeech", arguments.utterances, SEED)
    for language in arguments.languages:
        yield from prompts(arguments.prompts, language, arguments.each, SEED)


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


def peers(
    arguments: argparse.Namespace, place: Path
) -> tuple[dict[str, Callable[[int | None], Hears]], dict[str, Any]]:
    """Who hears, by name, and what else was measured of them."""
    model = turnout.load(convert(arguments.weights, place / "float32"))
    if arguments.int8:
        rounded = turnout.load(convert(arguments.weights, place / "int8", precision="int8"))
        models = {"turnout": model, "turnout int8": rounded}
        systems = {name: partial(ours, one) for name, one in models.items()}
        return systems, {**sizes(model, rounded), "cpu": cpu_seconds(models, arguments.data)}
    from faster_whisper import WhisperModel  # noqa: PLC0415 - not in the test environment

    peer = WhisperModel(str(arguments.weights), device="cpu", compute_type="float32")
    return {"turnout": partial(ours, model), "faster-whisper": partial(theirs, peer)}, {}


def sizes(model: turnout.Transcriber, rounded: turnout.Transcriber) -> dict[str, int]:
    """Bytes of the weights in float32, and of all files in int8."""
    assert model.folder is not None
    assert rounded.folder is not None
    files = rounded.folder.path.iterdir()
    return {
        "float32_bytes": memory_of(model.folder, 1),
        "int8_bytes": sum(file.stat().st_size for file in files),
    }


def cpu_seconds(models: dict[str, turnout.Transcriber], data: Path) -> dict[str, Any]:
    """Median processor time of encoder and decoder of a window, by model, and how many times as
    long the first one takes; the first is measured once more, as a control."""
    systems = {name: Ours(model) for name, model in models.items()}
    first, second = systems
    systems["again"] = systems[first]
    log_mel = windows(data, models[first], 1)
    taken: dict[str, dict[str, list[float]]] = {"encoder": {}, "decoder": {}}
    for number in range(ROUNDS + 1):
        for name in rotated(list(systems), number):
            began = time.process_time()
            encoded = systems[name].encode(log_mel)
            encoding = time.process_time()
            systems[name].decode(encoded, 1)
            ended = time.process_time()
            if number:  # the first one fills caches
                taken["encoder"].setdefault(name, []).append(encoding - began)
                taken["decoder"].setdefault(name, []).append(ended - encoding)
    found: dict[str, Any] = {}
    for part, by in taken.items():
        medians = {name: round(float(np.median(seconds)), 4) for name, seconds in by.items()}
        found[part] = medians | {"ratio": round(medians[first] / medians[second], 3)}
    return found


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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=400)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--languages", nargs="+", default=list(VOICES), choices=list(VOICES))
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    others = () if arguments.int8 else ("faster-whisper", "ctranslate2")
    made_by = origin(SEED, "numpy", "onnxruntime", *others)
    with tempfile.TemporaryDirectory() as place:
        systems, measured = peers(arguments, Path(place))
    spoken = list(utterances(arguments))
    heard = Heard(arguments.kept, f"weights {weights_in(arguments.weights)}")
    found: dict[str, list[tuple[int, int]]] = {}
    for beam in [None] if arguments.defaults else arguments.beams:
        of_beam = "defaults" if beam is None else f"beam {beam}"
        for name, hears in systems.items():
            hear, system = hears(beam), f"{name}, {of_beam}"
            found[system] = [
                errors_of(one, heard.text(system, one.id, partial(hear, one))) for one in spoken
            ]
    rows = table(spoken, found)
    for row in rows:
        print(row)
    ending = "-defaults" if arguments.defaults else "-int8" if arguments.int8 else ""
    target = Path(__file__).parent / "results" / f"whisper_accuracy{ending}.json"
    target.write_text(json.dumps({**made_by, **measured, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
