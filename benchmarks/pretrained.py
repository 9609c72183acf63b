"""Does supervised routing end the interference of tasks in a model that is pretrained already?
S-MoE (arXiv 2508.10009) against hard sharing, on real telephone prompts, from whisper-base.

    python benchmarks/pretrained.py --weights CHECKPOINT --prompts FOLDER --runs FOLDER
        [--rows base,hard,smoe,smoe-language] [--seeds 1 2 3] [--split dev] [--steps 400]
        [--trained feed-forwards] [--set KEY=JSON ... --label NAME] [--threads 2] [--device cuda]
        [--only-trained] [--quick]

Fine-tuned together: Asterisk's prompts in Spanish, French, Italian and Russian at 8 and 16 kHz,
transcribed and translated to English, and LibriSpeech by telephone (codecs, noise), transcribed;
each language and bandwidth is heard as long as the others. Arms (pretrained_rows.py, in order of
worth): hard sharing, S-MoE in both places (encoder by bandwidth, decoder by task), S-MoE guided by
language in both, encoder alone, decoder alone, hybrid. All have the same start, steps, order of
data, seeds and active parameters (within 2 %, checked), and train the same: the feed-forwards, or,
--trained everything, all (give it a learning rate of its own with --set). Windows end with the
speech, in training and in hearing. "base" is the checkpoint as it is, in its windows of 30 s,
"base-speech" in such short ones.

Heard are all cells, and two that nothing is taught of: LibriSpeech wideband, and German. Greedy;
language and bandwidth are given. One voice a language speaks training and test alike.

Everything is kept under --runs: corpora, trainings (each goes on where it was stopped), and every
text that was heard. Seed by seed, row by row; the table is made of the seeds that all rows have.
--only-trained trains nothing; --quick is two steps on few utterances, to see the table come out.
--split test is refused until docs/results.md, committed, names the setting ("pretrained-400").
Writes results/pretrained-SPLIT-STEPS[-everything][-LABEL].json, or into --results; omni_table.py
makes the table and the figure of it.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heard import Heard
from kept_trainings import asked_for, digest_of_cuts, kept_training, logged_minutes, with_changes
from omni_judged import Counts
from omni_made import check_machines, curve_of, in_common, made_on, told
from origin import ROOT, origin
from pretrained_judged import AVERAGES, counts_of, figures_of
from pretrained_rows import ARMS, EVERYTHING, FEED_FORWARDS, changes_of, check_active
from pretrained_speech import TAUGHT, Asked, Places, asked_of, cuts_of
from registered import check_registered
from teach import BASES
from teach_heard import CPU, Listener
from teach_runs import RECIPE, WINDOW, corpora_of

from turnout.config.yaml_text import parse_yaml
from turnout.guidance import Bandwidth, Task, Window
from turnout.hub.adapted import digest_of
from turnout.hub.convert import convert
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.model_folder import ModelFolder

RESULTS = Path(__file__).parent / "results"
WINDOWS = {name: window for window, name in BASES.items()}
"""Of the checkpoint as it is, by the name of the row."""
QUICK = {"steps": 2, "seeds": [1], "most": 1, "each": 1, "label": "quick"}
QUICK_CLIPS = 4
"""To learn from, of each language and bandwidth."""


@dataclass(frozen=True)
class Bench:
    """What the rows of a table have in common."""

    arguments: argparse.Namespace
    base: Path
    """The checkpoint's model folder."""
    cuts: list[Path]
    """To learn from."""
    asked: list[Asked]
    heard: Heard


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="whisper-base: a checkpoint")
    parser.add_argument("--prompts", type=Path, required=True, help="Asterisk's, unpacked")
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--rows", default="base,hard,smoe,smoe-language")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--trained", choices=(FEED_FORWARDS, EVERYTHING), default=FEED_FORWARDS)
    parser.add_argument("--each", type=int, default=79, help="of LibriSpeech and German")
    parser.add_argument("--most", type=int, help="prompts of each language, to try it out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--label", default="", help="of trainings with --set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default=CPU, help="that hears, cuda for instance")
    parser.add_argument("--only-trained", action="store_true", help="train nothing")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.set) != bool(arguments.label):
        parser.error("--set and --label go together: what is changed needs folders of its own")
    arguments.runs = arguments.runs.resolve()  # which settings that are kept name
    if arguments.quick:
        vars(arguments).update(QUICK, runs=arguments.runs / "quick")
    arguments.rows = arguments.rows.split(",")
    known = (*WINDOWS, *ARMS)
    wrong = [row for row in arguments.rows if row not in known]
    if wrong:
        parser.error(f"--rows has no {', '.join(wrong)}: choose from {', '.join(known)}")
    return arguments


def setting_of(arguments: argparse.Namespace) -> str:
    """What the trainings of a table have in common, in a word: "pretrained-400"."""
    everything = EVERYTHING if arguments.trained == EVERYTHING else ""
    parts = ("pretrained", str(arguments.steps), everything, arguments.label)
    return "-".join(filter(None, parts))


def recipe_of(row: str, seed: int, bench: Bench) -> dict[str, Any]:
    """The whole recipe of a training, but for threads."""
    arguments = bench.arguments
    asked = asked_for(arguments.set)
    window = Window(asked.get(WINDOW, Window.SPEECH))
    fixed = {
        "output": str(arguments.runs / name_of(row, seed, arguments)),
        "init_from": str(bench.base),
        "data.cache": str(arguments.runs / "features"),
        "data.train": corpora_of(bench.cuts, window),
        "data.dev": [],
        WINDOW: window.value,
        "data.batch_seconds": 8 if arguments.quick else 60,
        "max_steps": arguments.steps,
        "validate_every": arguments.steps,  # the last weights count
        "seed": seed,
    }
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    return with_changes(recipe, {**fixed, **asked, **changes_of(row, arguments.trained)})


def name_of(row: str, seed: int, arguments: argparse.Namespace) -> str:
    """Of a training's folder."""
    return f"{setting_of(arguments)}-{row}-seed{seed}"


def model_of(row: str, seed: int, bench: Bench) -> Path | None:
    """The model folder of a row and a seed, trained where it is not there; None where it may not
    be."""
    arguments = bench.arguments
    name = name_of(row, seed, arguments)
    model = arguments.runs / name / "model"
    if arguments.only_trained and not (model / "SHA256SUMS").exists():
        return None
    settings = {
        "recipe": recipe_of(row, seed, bench),
        "base": digest_of(ModelFolder.open(bench.base)),
        "cuts": [digest_of_cuts(path) for path in bench.cuts],
    }
    kept_training(name, settings, arguments.runs, arguments.threads)
    made_on(arguments.runs, name)
    return model


def run_of(row: str, seed: int, bench: Bench) -> dict[str, Any] | None:
    """All that is known of one training, its counts among it."""
    arguments = bench.arguments
    model = bench.base if row in WINDOWS else model_of(row, seed, bench)
    if model is None:
        return None
    found = {"parameters": parameters_of(build_model(ModelFolder.open(model).config))._asdict()}
    if row in WINDOWS:
        return found | {"counts": heard_by(row, model, WINDOWS[row], bench)}
    window = Window(recipe_of(row, seed, bench)["data"]["window"])
    return {
        **found,
        **made_on(arguments.runs, model.parent.name),
        "minutes": logged_minutes(model.parent),
        "loss": curve_of(model.parent, "attention"),
        "counts": heard_by(row, model, window, bench),
    }


def heard_by(row: str, model: Path, window: Window, bench: Bench) -> Counts:
    """What a model gets wrong of all that is asked."""
    arguments = bench.arguments
    listeners = {
        bandwidth: Listener(
            row,
            model,
            arguments.threads,
            window=window,
            device=arguments.device,
            bandwidth=bandwidth,
        )
        for bandwidth in Bandwidth
    }
    for bandwidth, listener in listeners.items():
        for task in Task:
            own = [one for one in bench.asked if one.bandwidth is bandwidth and task in one.tasks]
            listener.hear_ahead([one.spoken for one in own], bench.heard, task)
    return counts_of(
        bench.asked, lambda one, task: listeners[one.bandwidth].text(one.spoken, bench.heard, task)
    )


def opened(arguments: argparse.Namespace) -> Bench:
    """The checkpoint, what is learned from and what is asked, made where they are not there."""
    base = arguments.runs / "base"
    if not (base / "SHA256SUMS").exists():
        convert(arguments.weights, base)
    places = Places(arguments.prompts, arguments.data, arguments.runs)
    few = QUICK_CLIPS if arguments.quick else None
    return Bench(
        arguments,
        base,
        [cuts_of(places, *taught, few) for taught in TAUGHT],
        list(asked_of(places, arguments.split, arguments.each, arguments.most)),
        Heard(arguments.runs / "heard.jsonl"),
    )


def main() -> None:
    arguments = read_arguments()
    check_registered(arguments.split, setting_of(arguments))
    made_by = origin(arguments.seeds[0], "numpy", "torch", "onnxruntime", "sacrebleu", "jiwer")
    bench = opened(arguments)
    found: dict[str, dict[int, dict[str, Any]]] = {row: {} for row in arguments.rows}
    for seed in arguments.seeds:  # a whole seed first: rows can be compared from then on
        for row in arguments.rows:
            run = run_of(row, seed, bench)
            if run is not None:
                found[row][seed] = run
        report(bench, made_by, found)


def report(
    bench: Bench, made_by: dict[str, Any], found: dict[str, dict[int, dict[str, Any]]]
) -> None:
    """Print and write the table of the seeds that all rows have."""
    arguments = bench.arguments
    rows, seeds = in_common(found, arguments.seeds)
    if not seeds:
        return
    trained = {row: runs for row, runs in rows.items() if row not in WINDOWS}
    check_machines(run for runs in trained.values() for run in runs.values())
    check_active({row: runs[seeds[0]]["parameters"]["active"] for row, runs in rows.items()})
    figures = figures_of(
        {row: [runs[seed]["counts"] for seed in seeds] for row, runs in rows.items()}
    )
    content = {
        **made_by,
        "split": arguments.split,
        "setting": setting_of(arguments),
        "seeds": seeds,
        "averages": list(AVERAGES),
        "runs": told(trained),
        "figures": figures,
    }
    for row, of_row in figures.items():
        for average in AVERAGES:
            print(f"{row:14} {average:22}", of_row[average], flush=True)
    target = arguments.results or RESULTS / file_name(arguments)
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def file_name(arguments: argparse.Namespace) -> str:
    """Of the table: other splits, steps, parts and labels have files of their own."""
    name, _, rest = setting_of(arguments).partition("-")
    return f"{name}-{arguments.split}-{rest}.json"


if __name__ == "__main__":
    main()
