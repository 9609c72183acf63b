"""What Whisper learns of telephone prompts, and what that does to all that it was not taught.

    python benchmarks/teach.py --weights FOLDER --prompts FOLDER --runs FOLDER
        [--train es,fr] [--rows base,experts,sharing,finetuning,window] [--split dev] [--steps 400]
        [--both-tasks] [--rank R] [--finetuning-rate 2.5e-5] [--set KEY=JSON ...] [--label NAME]
        [--threads 2] [--device cuda]

Rows: whisper-base; an expert for each taught language (feed-forwards of encoder and decoder, each
trained on its language alone), made adapters and loaded beside the base, all at once; hard sharing
(the one dense feed-forward, trained on all taught languages); fine-tuning (all weights, on the
same). The last two take as many steps as the experts together, and hear each taught language as
long as the others; of a single language hard sharing is its expert's weights for everybody.
Fine-tuning has a learning rate of its own, --finetuning-rate: choose it on dev
(1e-5, 2.5e-5, 1e-4), or the comparison is not a fair one. "window" learns to hear windows that end
with the speech, of all four languages, LibriSpeech and German, and is an adapter for these; it
stands beside the base with such windows ("base-speech") as well as with padded ones, and so does
what is made with --set 'data.window="speech"'. "encoder's time" is the processor time that such
windows take of that of padded ones, over utterances of up to ten seconds, on the CPU.

Columns: Asterisk's 8 kHz prompts in four languages, taught or not, and of all taught ones together
("taught"), all prompts and those of four words or more (in dev 14 to 20 of a language, too few to
choose by: look at "taught"); LibriSpeech wideband; German; Arabic command words, five to an
utterance; with --train telephone, LibriSpeech over telephone lines with noise, for which there is
an expert for narrowband English. Whichever of them --train names is taught. Greedy, temperature 0,
the language given. Accents do not count in Spanish, whose texts lack them. Of base and experts,
taught languages are translated into English too (BLEU, chrF; taught to transcribe alone, unless
with --both-tasks, where prompts have an English text). What no
expert is for is heard with all adapters loaded, and "equal" says of how many utterances the texts,
and of ten the encoder's numbers, are the base's.

Everything is kept under --runs: corpora, trainings (each goes on where it was stopped), and every
text that was heard (heard.jsonl). Choose on dev; --split test once. Differences to the base are
paired, their intervals resample prompt ids (speakers in LibriSpeech). One voice a language speaks
training and test prompts alike. `--set` changes the recipe (optimizer.learning_rate=0.0002; not
fine-tuning's rate), and --label names what it makes; with data.augment.narrowband in it "telephone"
is taught from the recordings themselves, sent over a line as they are drawn, so that a teacher can
hear what the line took (objective.distil_encoder). Where PyTorch sees a GPU trainings take it,
and --device cuda lets it hear, in batches; "equal" then compares texts alone. Writes
results/teach-SPLIT-LANGUAGES-STEPS[-both][-rankR][-rateR][-LABEL].json, or into --results.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from heard import Heard
from kept_trainings import asked_for
from origin import ROOT, origin
from pretrained_speech import Places
from teach_heard import CPU, Listener, encoder_share, equal
from teach_judged import Counts, columns_of, errors_of, is_taught, judged, translated
from teach_runs import WINDOW, Training, Wish, adapter_of, minutes_of, trained, trainings
from teach_speech import ENGLISH, LANGUAGES, SEED, SETS, cuts_of, english_of, of_sets, prompts_of
from teach_telephone import TELEPHONE, cuts_by_telephone, heard_by_telephone
from whisper_speech import Spoken

from turnout.adapters.folder import TENSORS
from turnout.guidance import Task, Window
from turnout.hub.convert import convert

ROWS = ("base", "experts", "sharing", "finetuning", "window")
CALLED = "data.augment.narrowband"
ADAPTED = ("experts", "window")
"""Adapters beside the base, all at once."""
EVERY = 4
"""Utterances, of which one is heard in padded windows too beside an adapter for shorter ones."""
BASES = {Window.PADDED: "base", Window.SPEECH: "base-speech"}


@dataclass
class Found:
    """All that came out so far."""

    counts: dict[str, list[Counts]] = field(default_factory=dict)
    minutes: dict[str, float | None] = field(default_factory=dict)
    equal: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, int] = field(default_factory=dict)
    """Bytes of their tensors."""
    share: dict[str, Any] = field(default_factory=dict)
    """What windows that end with the speech take of the encoder's time."""
    translations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By column and row."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that the rows of the table have in common."""

    arguments: argparse.Namespace
    wish: Wish
    base: Path
    """The base's model folder."""
    heard: Heard
    spoken: list[Spoken]
    english: dict[str, str]
    """English texts by the ids of those of the utterances that have one."""


def listener_of(name: str, made: list[Training], bench: Bench) -> Listener:
    """Who hears a row of the table; trains what it needs first."""
    arguments, base = bench.arguments, bench.base
    threads, runs = arguments.threads, arguments.runs
    if name in BASES.values():
        window = next(window for window, own in BASES.items() if own == name)
        return Listener("base", base, threads, window=window, device=arguments.device)
    models = []
    for one in made:
        cuts = [taught_of(corpus, arguments) for corpus in one.corpora]
        models.append(trained(one, base, cuts, runs, threads))
    window = made[0].window
    if name in ADAPTED:
        adapters = tuple(
            adapter_of(one, model, base, arguments.rank)
            for one, model in zip(made, models, strict=True)
        )
        return Listener(name, base, threads, adapters, window, arguments.device)
    return Listener(made[0].name, models[0], threads, window=window, device=arguments.device)


def taught_of(corpus: str, arguments: argparse.Namespace) -> Path:
    """The cuts to learn from of a corpus."""
    if corpus == TELEPHONE and not wish_of(arguments).changes.get(CALLED):
        return cuts_by_telephone(places_of(arguments))
    language = ENGLISH if corpus == TELEPHONE else corpus
    prompts, data, corpora = arguments.prompts, arguments.data, arguments.runs / "corpora"
    return cuts_of(prompts, data, language, corpora, both=arguments.both_tasks)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="whisper-base: a checkpoint")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--train", default="es,fr", help="languages that are taught")
    parser.add_argument("--rows", default=",".join(ROWS[:4]))
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--steps", type=int, default=400, help="of each expert")
    parser.add_argument(
        "--both-tasks", action="store_true", help="teach translating to English too"
    )
    parser.add_argument("--rank", type=int, help="of adapters; by default tensors are kept whole")
    parser.add_argument("--finetuning-rate", type=float, default=Wish.finetuning_rate)
    parser.add_argument("--each", type=int, default=79, help="of LibriSpeech, German, Arabic")
    parser.add_argument("--most", type=int, help="prompts of each language, to try it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=CPU, help="that hears, cuda for instance")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--label", default="", help="of trainings with --set")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.set) != bool(arguments.label):
        parser.error("--set and --label go together: what is changed needs folders of its own")
    unknown = set(arguments.train.split(",")) - {*LANGUAGES, *SETS, TELEPHONE}
    if unknown:
        choices = ", ".join((*LANGUAGES, *SETS, TELEPHONE))
        parser.error(f"--train has no {', '.join(sorted(unknown))}: choose from {choices}")
    wrong = set(arguments.rows.split(",")) - {*ROWS, *BASES.values()}
    if wrong:
        parser.error(f"--rows has no {', '.join(sorted(wrong))}: choose from {', '.join(ROWS)}")
    arguments.runs = arguments.runs.resolve()  # which settings that are kept name
    return arguments


def places_of(arguments: argparse.Namespace) -> Places:
    """Where everything lies."""
    return Places(arguments.prompts, arguments.data, arguments.runs)


def utterances(arguments: argparse.Namespace) -> list[Spoken]:
    """All columns' of the split."""
    split, each = arguments.split, arguments.each
    found = [
        one
        for code in LANGUAGES
        for one in prompts_of(arguments.prompts, code, split)[: arguments.most]
    ]
    if TELEPHONE in arguments.train.split(","):
        found += heard_by_telephone(places_of(arguments), split, each)
    return [*found, *of_sets(arguments.data, split, each)]


def wish_of(arguments: argparse.Namespace) -> Wish:
    """What is asked of the trainings."""
    return Wish(
        taught=tuple(arguments.train.split(",")),
        steps=arguments.steps,
        changes=asked_for(arguments.set),
        label=arguments.label,
        both=arguments.both_tasks,
        finetuning_rate=arguments.finetuning_rate,
    )


def rows_asked(arguments: argparse.Namespace, wish: Wish) -> list[str]:
    """Those of the table in order, the bases that they stand beside first."""
    asked = arguments.rows.split(",")
    speech = "window" in asked or wish.changes.get(WINDOW) == Window.SPEECH
    bases = list(BASES.values()) if speech else [BASES[Window.PADDED]]
    return list(dict.fromkeys((*bases, *asked)))


def main() -> None:
    arguments = read_arguments()
    made_by = origin(SEED, "numpy", "torch", "onnxruntime", "sacrebleu")
    wish = wish_of(arguments)
    base = arguments.runs / "base"
    if not (base / "SHA256SUMS").exists():
        convert(arguments.weights, base)
    spoken = utterances(arguments)
    bench = Bench(
        arguments=arguments,
        wish=wish,
        base=base,
        heard=Heard(arguments.runs / "heard.jsonl"),
        spoken=spoken,
        english=english_of(arguments.prompts, spoken),
    )
    found = Found()
    for name in rows_asked(arguments, wish):
        made = [] if name in BASES.values() else trainings(name, wish)
        listen(name, made, bench, found)
        report(bench, made_by, found)


def listen(name: str, made: list[Training], bench: Bench, found: Found) -> None:
    """One row of the table, put to what was found."""
    listener = listener_of(name, made, bench)
    listener.hear_ahead(bench.spoken, bench.heard)
    found.counts[name] = [errors_of(one, listener.text(one, bench.heard)) for one in bench.spoken]
    found.minutes |= {one.name: minutes_of(one, bench.arguments.runs) for one in made}
    if name in ("base", "experts"):
        found.translations[name] = translations(listener, bench)
    if name in ADAPTED:
        if name == "experts":
            beside = listener
            others = [one for one in bench.spoken if not is_taught(one, bench.wish.taught)]
        else:  # what the adapter is not for are windows that are padded
            beside = replace(listener, window=Window.PADDED)
            others = bench.spoken[::EVERY]
            found.share = encoder_share(beside, listener, bench.spoken)
        own = listener_of(BASES[beside.window], [], bench)
        found.equal[name] = equal(own, beside, others, bench.heard)
        found.adapters |= {
            one.name: (adapter / TENSORS).stat().st_size
            for one, adapter in zip(made, listener.adapters, strict=True)
        }


def translations(listener: Listener, bench: Bench) -> dict[str, dict[str, Any]]:
    """BLEU and chrF of each taught language."""
    rows = {}
    for code in bench.wish.taught:
        chosen = [one for one in bench.spoken if one.language == code and one.id in bench.english]
        listener.hear_ahead(chosen, bench.heard, Task.TRANSLATE)
        texts = [listener.text(one, bench.heard, Task.TRANSLATE) for one in chosen]
        if texts:
            figures = translated([bench.english[one.id] for one in chosen], texts)
            rows[f"prompts-{code}"] = {"utterances": len(texts), **figures}
    return rows


def report(bench: Bench, made_by: dict[str, Any], found: Found) -> None:
    """Print the newest row and write the table as far as it is."""
    rows, newest = [], list(found.counts)[-1]
    bases = {name: own for name, own in found.counts.items() if name in BASES.values()}
    for column, places in columns_of(bench.spoken, bench.wish.taught).items():
        chosen = [bench.spoken[i] for i in places]
        beside = {name: [own[i] for i in places] for name, own in bases.items()}
        of_rows = {
            name: judged(chosen, [own[i] for i in places], beside)
            for name, own in found.counts.items()
        }
        taught = all(is_taught(one, bench.wish.taught) for one in chosen)
        rows.append({"speech": column, "taught": taught, **of_rows})
        print(column, newest, of_rows[newest], flush=True)
    content = {
        **made_by,
        "split": bench.arguments.split,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else CPU,
        "minutes": found.minutes,
        "adapters, bytes": found.adapters,
        "equal": found.equal,
        "encoder's time": found.share,
        "translation to English": found.translations,
        "rows": rows,
    }
    target = bench.arguments.results or Path(__file__).parent / "results" / file_name(
        bench.arguments
    )
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def file_name(arguments: argparse.Namespace) -> str:
    """Of the table: other languages, steps, ranks, rates and labels have files of their own."""
    default = arguments.finetuning_rate == Wish.finetuning_rate
    parts = (
        "teach",
        arguments.split,
        arguments.train.replace(",", "+"),
        str(arguments.steps),
        "both" if arguments.both_tasks else "",
        f"rank{arguments.rank}" if arguments.rank else "",
        "" if default else f"rate{arguments.finetuning_rate:g}",
        arguments.label,
        f"most{arguments.most}" if arguments.most else "",
    )
    return "-".join(filter(None, parts)) + ".json"


if __name__ == "__main__":
    main()
