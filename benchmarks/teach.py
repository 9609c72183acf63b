"""What Whisper learns of telephone prompts, and what that does to all that it was not taught.

    python benchmarks/teach.py --weights FOLDER --prompts FOLDER --runs FOLDER
        [--train es,fr] [--rows base,experts,sharing,finetuning] [--split dev] [--steps 400]
        [--set KEY=JSON ...] [--label NAME] [--threads 2]

Rows: whisper-base; an expert for each taught language (feed-forwards of encoder and decoder, each
trained on its language alone); hard sharing (the one dense feed-forward, trained on all taught
languages); fine-tuning (all weights, on the same). The last two take as many steps as the experts
together. Columns: Asterisk's 8 kHz prompts in four languages, taught or not, all of them and those
of four words or more; LibriSpeech wideband; German. Greedy, temperature 0, the language given.
Accents do not count in Spanish, whose texts lack them. What no expert is for is the base's own
path, whose texts are taken from there.

Everything is kept under --runs: corpora, trainings (each goes on where it was stopped), and every
text that was heard (heard.jsonl). Choose on dev; --split test once. Differences to the base are
paired, their intervals resample prompt ids (speakers in LibriSpeech). One voice a language speaks
training and test prompts alike. `--set` changes the recipe (optimizer.learning_rate=0.0002), and
--label names what it makes. Writes results/teach-SPLIT.json, or into --results.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from heard import Heard
from numpy.typing import NDArray
from origin import ROOT, origin
from teach_runs import Training, minutes_of, trained, trainings
from teach_speech import FEWEST_WORDS, LANGUAGES, SEED, cuts_of, prompts_of, untaught
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer
from whisper_speech import Spoken

import turnout
from turnout.audio.waveform import Waveform
from turnout.evaluation.intervals import RESAMPLES, interval
from turnout.hub.convert import convert

ROWS = ("base", "experts", "sharing", "finetuning")
ENGLISH, OTHERS = EnglishTextNormalizer(), BasicTextNormalizer()
ACCENTLESS = BasicTextNormalizer(remove_diacritics=True)
Counts = tuple[int, int]


def errors_of(spoken: Spoken, text: str) -> Counts:
    """Word errors and words."""
    normal = {"en": ENGLISH, "es": ACCENTLESS}.get(spoken.language, OTHERS)
    reference, found = normal(spoken.text).strip(), normal(text).strip()
    words = len(reference.split())
    if not words:
        return len(found.split()), 0
    counts = jiwer.process_words(reference, found)
    return counts.substitutions + counts.deletions + counts.insertions, words


class Listener:
    """A model that is loaded when something is heard that was not kept."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self._model: turnout.Transcriber | None = None

    def hear(self, spoken: Spoken) -> str:
        """What it writes."""
        self._model = self._model or turnout.load(self.folder, threads=self.threads)
        return self._model.transcribe(
            Waveform(spoken.samples, 16_000),
            language=spoken.language,
            beam_size=1,
            temperature_increment_on_fallback=None,
        ).text


def rate(total: NDArray[np.float64]) -> float:
    """Of summed errors and words, in percent."""
    return 100 * float(total[0]) / max(float(total[1]), 1.0)


def difference(total: NDArray[np.float64]) -> float:
    """Of two rates over the same words, in percent points."""
    return 100 * float(total[0] - total[2]) / max(float(total[1]), 1.0)


def judged(
    spoken: Sequence[Spoken], counts: Sequence[Counts], base: Sequence[Counts]
) -> dict[str, Any]:
    """The error rate and the paired difference to the base, each with its interval."""
    if not spoken:
        return {"utterances": 0}
    table = np.array([(*own, theirs[0]) for own, theirs in zip(counts, base, strict=True)], float)
    groups = [one.speaker if one.source == "librispeech" else one.id for one in spoken]
    found: dict[str, Any] = {"utterances": len(spoken), "words": int(table[:, 1].sum())}
    for name, figure in (("wer", rate), ("difference", difference)):
        ends = interval(table, figure, groups, RESAMPLES)
        assert ends is not None
        found[name] = round(figure(table.sum(axis=0)), 2)
        found[f"{name}_interval"] = [round(end, 2) for end in ends]
    return found


def columns_of(spoken: Sequence[Spoken]) -> dict[str, list[int]]:
    """The utterances of each column, by their places."""
    columns: dict[str, list[int]] = {}
    for place, one in enumerate(spoken):
        columns.setdefault(one.source, []).append(place)
        if one.source.startswith("prompts") and len(one.text.split()) >= FEWEST_WORDS:
            columns.setdefault(f"{one.source}, {FEWEST_WORDS}+ words", []).append(place)
    return columns


def experts_hear(
    models: Mapping[str, Listener], base: Listener, heard: Heard, names: Mapping[str, str]
) -> Callable[[Spoken], str]:
    """Each language through its own expert, everything else through the base."""

    def hear(spoken: Spoken) -> str:
        own = spoken.language if spoken.language in models else None
        listener, system = (models[own], names[own]) if own else (base, "base")
        return heard.text(system, spoken.id, partial(listener.hear, spoken))

    return hear


def row_of(
    name: str, made: list[Training], arguments: argparse.Namespace, base: Listener, heard: Heard
) -> Callable[[Spoken], str]:
    """How a row of the table hears; trains what it needs first."""
    if name == "base":
        return lambda spoken: heard.text("base", spoken.id, partial(base.hear, spoken))
    corpora = arguments.runs / "corpora"
    listeners = []
    for one in made:
        cuts = [cuts_of(arguments.prompts, arguments.data, code, corpora) for code in one.languages]
        model = trained(one, base.folder, cuts, arguments.runs, arguments.threads)
        listeners.append(Listener(model, arguments.threads))
    if name == "experts":
        own = dict(zip((one.languages[0] for one in made), listeners, strict=True))
        return experts_hear(own, base, heard, {one.languages[0]: one.name for one in made})
    (one,), (listener,) = made, listeners
    return lambda spoken: heard.text(one.name, spoken.id, partial(listener.hear, spoken))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="whisper-base: a checkpoint")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--train", default="es,fr", help="languages that are taught")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--steps", type=int, default=400, help="of each expert")
    parser.add_argument("--each", type=int, default=79, help="of LibriSpeech, and German")
    parser.add_argument("--most", type=int, help="prompts of each language, to try it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--label", default="", help="of trainings with --set")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.set) != bool(arguments.label):
        parser.error("--set and --label go together: what is changed needs folders of its own")
    return arguments


def utterances(arguments: argparse.Namespace) -> list[Spoken]:
    """All columns' of the split."""
    found = [
        one
        for code in LANGUAGES
        for one in prompts_of(arguments.prompts, code, arguments.split)[: arguments.most]
    ]
    return [*found, *untaught(arguments.data, arguments.split, arguments.each)]


def main() -> None:
    arguments = read_arguments()
    made_by = origin(SEED, "numpy", "torch", "onnxruntime")
    taught = tuple(arguments.train.split(","))
    changes = {
        key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)
    }
    folder = arguments.runs / "base"
    if not (folder / "SHA256SUMS").exists():
        convert(arguments.weights, folder)
    base, heard = Listener(folder, arguments.threads), Heard(arguments.runs / "heard.jsonl")
    spoken = utterances(arguments)
    counts: dict[str, list[Counts]] = {}
    minutes: dict[str, float | None] = {}
    for name in dict.fromkeys(("base", *arguments.rows.split(","))):
        made = []
        if name != "base":
            made = trainings(name, taught, arguments.steps, changes, arguments.label)
        hear = row_of(name, made, arguments, base, heard)
        counts[name] = [errors_of(one, hear(one)) for one in spoken]
        minutes |= {one.name: minutes_of(one, arguments.runs) for one in made}
        report(arguments, made_by, spoken, counts, minutes)


def report(
    arguments: argparse.Namespace,
    made_by: dict[str, Any],
    spoken: list[Spoken],
    counts: Mapping[str, list[Counts]],
    minutes: Mapping[str, float | None],
) -> None:
    """Print the newest row and write the table as far as it is."""
    rows = []
    for column, places in columns_of(spoken).items():
        chosen = [spoken[i] for i in places]
        base = [counts["base"][i] for i in places]
        of_rows = {
            name: judged(chosen, [found[i] for i in places], base) for name, found in counts.items()
        }
        rows.append({"speech": column, "taught": taught_in(column, arguments.train), **of_rows})
        newest = list(counts)[-1]
        print(column, newest, of_rows[newest], flush=True)
    content = {**made_by, "split": arguments.split, "minutes": minutes, "rows": rows}
    name = "-".join(filter(None, ("teach", arguments.split, arguments.label)))
    target = arguments.results or Path(__file__).parent / "results" / f"{name}.json"
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def taught_in(column: str, languages: str) -> bool:
    """Whether a column's language was taught."""
    return any(column.startswith(f"prompts-{code}") for code in languages.split(","))


if __name__ == "__main__":
    main()
