"""Does supervised routing end the interference of tasks? S-MoE (arXiv 2508.10009) against hard
sharing, on public recordings, from random weights.

    python benchmarks/multitask.py --runs FOLDER [--rows hard,smoe,...] [--folds 0 1 2 3 4]
        [--split dev] [--steps 2500] [--corpora arabic,english] [--set KEY=JSON ...] [--label NAME]
        [--start STEPS [--behind KEY=JSON ...]] [--averaged arabic] [--threads 2]
        [--side-by-side 1] [--quick]

Trained are models of recipes/multitask.yaml: narrowband and wideband, transcribing and translating
connected Arabic commands and English digits. The arms (multitask_rows.py, in order of worth) have
the same steps, order of data and seed, and the same active parameters within 2 % but for
"hard-large", which is as large in total as S-MoE. "single" are four models for one bandwidth and
one task each, which hear what the mixed run hears of it; "single-long" as many steps as the mixed
run. Five folds hold out other speakers each. Language and bandwidth are given, greedy.

With --start the arms of a fold begin from one dense model of so many steps, whose feed-forward is
every expert, instead of from random weights; "hard" is that model trained on as long as the others.
--behind changes the recipe of the arms alone, which train on from it: a lower learning rate.

Everything is kept under --runs: corpora, features, trainings (each goes on where it was stopped)
and every text that was heard. What is not there is trained, in the order of --rows, fold by fold.
--set changes the recipe of all arms, --corpora what they hear and are heard on (half of it is
narrowband in any case), and --label names what that makes; --averaged is of whose cells the average
is made, all by default. Choose on dev: --split test is refused until docs/results.md, committed,
names the setting ("multitask-2500-LABEL"). --quick is one fold of a few words and steps, to see the
table come out. Writes results/multitask-SPLIT-STEPS[-LABEL].json, or into --results; what has not
been trained yet is left out of it with --only-trained. --side-by-side trains so many models of a
fold at once, on a GPU, which one of them leaves idle; the device is whatever `turnout train` finds.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from few_data import few_of, of_speakers
from heard import Heard
from kept_trainings import (
    asked_for,
    digest_of_cuts,
    kept_training,
    logged_minutes,
    trained_on,
    with_changes,
)
from multitask_judged import Table, cells_of, compared, table_of, translated
from multitask_rows import ARMS, MIXED, TASKS, Arm, changes_of, corpora_of
from multitask_speech import FOLDS, SETS, Asked, asked_of, cuts_of
from origin import ROOT, origin
from registered import check_registered

import turnout
from turnout.audio.waveform import Waveform
from turnout.config import TrainConfig
from turnout.config.plain import from_plain
from turnout.config.yaml_text import parse_yaml
from turnout.hub.adapted import digest_of
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.model_folder import ModelFolder

RECIPE = ROOT / "recipes" / "multitask.yaml"
BASE, ROUTED = "hard", "smoe"
QUICK = {"steps": 2, "folds": [0], "utterances": 1, "label": "quick"}
QUICK_RECIPE = {"data.batch_seconds": 10, "data.dev_utterances": 1, "log_every": 1}
QUICK_WORDS = 8
"""Of each of five speakers."""
RATE = 16_000


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--rows", default="hard,smoe,hybrid", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("--corpora", default=",".join(MIXED), help=f"of {', '.join(MIXED)}")
    parser.add_argument("--averaged", help="corpora whose cells make the average; all by default")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--start", type=int, help="steps of the dense model that all begin from")
    parser.add_argument("--utterances", type=int, default=120, help="of each cell and fold")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--behind", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--label", default="", help="of trainings with --set or --behind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side-by-side", type=int, default=1, help="trainings of a fold")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only-trained", action="store_true", help="train nothing")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    arguments.corpora = arguments.corpora.split(",")
    changed = bool(arguments.set or arguments.behind) or set(arguments.corpora) != set(MIXED)
    if changed != bool(arguments.label):
        parser.error(
            "--label goes with --set, --behind and --corpora: what is changed needs folders of its"
            " own"
        )
    if arguments.behind and not arguments.start:
        parser.error("--behind goes with --start: it is for what trains on from there")
    arguments.averaged = (arguments.averaged or ",".join(arguments.corpora)).split(",")
    for name, given, known in (
        ("rows", arguments.rows.split(","), ARMS),
        ("corpora", arguments.corpora, MIXED),
        ("averaged", arguments.averaged, arguments.corpora),
    ):
        wrong = sorted({*given} - {*known})
        if wrong:
            parser.error(f"--{name} has no {', '.join(wrong)}: choose from {', '.join(known)}")
    arguments.runs = arguments.runs.resolve()  # which settings that are kept name
    if arguments.quick:
        vars(arguments).update(QUICK, runs=arguments.runs / "quick")
        kept = dict.fromkeys(SETS.values(), of_speakers(FOLDS, QUICK_WORDS))
        arguments.data = few_of(arguments.data, arguments.runs / "data", kept)
    return arguments


def recipe_of(arm: Arm, name: str, fold: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole recipe of a training, but for threads."""
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    weights = corpora_of(arm, arguments.corpora)
    cuts = {one: cuts_of(arguments.data, arguments.runs, one, fold) for one in weights}
    changes = changes_of(arm, arguments.steps, arguments.corpora)
    fixed = {
        "output": str(arguments.runs / name),
        "data.cache": str(arguments.runs / "features"),
        "data.train": [
            {"cuts": str(cuts[one]["train"]), "weight": weight, "join": True}
            for one, weight in weights.items()
        ],
        "data.dev": [{"cuts": str(cuts[one]["dev"]), "join": True} for one in weights],
        "validate_every": min(recipe["validate_every"], changes["max_steps"]),
    }
    quick = QUICK_RECIPE if arguments.quick else {}
    return with_changes(recipe, {**fixed, **quick, **asked_for(arguments.set), **changes})


def model_of(arm: Arm, fold: int, arguments: argparse.Namespace) -> Path | None:
    """The model folder of an arm in a fold, trained where it is not there; None where it may not
    be."""
    changes = asked_for(arguments.behind)
    if arguments.start:
        start = start_of(fold, arguments)
        if start is None:
            return None
        changes["init_from"] = str(start)
    ending = setting_of(arguments).removeprefix("multitask-")
    return kept(arm, f"{arm.name}-{ending}-fold{fold}", fold, arguments, changes)


def start_of(fold: int, arguments: argparse.Namespace) -> Path | None:
    """The dense model that all arms of a fold begin from, trained where it is not there."""
    ending = f"-{arguments.label}" if arguments.label else ""
    name = f"start-{arguments.start}{ending}-fold{fold}"
    return kept(ARMS[BASE][0], name, fold, arguments, {"max_steps": arguments.start})


def kept(
    arm: Arm, name: str, fold: int, arguments: argparse.Namespace, changes: Mapping[str, Any]
) -> Path | None:
    """The model folder of a training with these changes, trained where it is not there; None where
    it may not be."""
    if arguments.only_trained and not (arguments.runs / name / "model" / "SHA256SUMS").exists():
        return None
    recipe = with_changes(recipe_of(arm, name, fold, arguments), changes)
    settings = {"recipe": recipe, "cuts": cuts_digests(recipe)}
    if "init_from" in changes:
        settings["start"] = digest_of(ModelFolder.open(Path(changes["init_from"])))
    return kept_training(name, settings, arguments.runs, arguments.threads)


def cuts_digests(recipe: Mapping[str, Any]) -> list[str]:
    """Of what a recipe trains on."""
    return [digest_of_cuts(Path(one["cuts"])) for one in recipe["data"]["train"]]


def hear(
    arm: Arm, folder: Path, asked: Sequence[Asked], heard: Heard, threads: int
) -> dict[str, dict[str, str]]:
    """What a model writes of the utterances of its cells, by utterance and task."""
    made_of = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()[:16]
    model: list[turnout.Transcriber] = []
    found: dict[str, dict[str, str]] = {}
    for one in asked:
        tasks = [task for task in TASKS if is_for(arm, one, task)]
        for task in tasks:

            def write(one: Asked = one, task: str = task) -> str:
                if not model:
                    model.append(turnout.load(folder, threads=threads))
                return text_of(model[0], one, task)

            key = f"{arm.name} {task} {made_of}"
            found.setdefault(one.id, {})[task] = heard.text(key, one.id, write)
    return found


def text_of(model: turnout.Transcriber, one: Asked, task: str) -> str:
    """What it writes; language and bandwidth are given."""
    return model.transcribe(
        Waveform(one.samples, RATE),
        task=task,
        language=one.language,
        target_language=one.target if task == TASKS[1] else None,
        bandwidth=one.bandwidth,
    ).text


def is_for(arm: Arm, one: Asked, task: str) -> bool:
    """Whether an arm is for an utterance and a task."""
    return arm.cells is None or f"{one.bandwidth} {task}" in arm.cells


def main() -> None:
    arguments = read_arguments()
    check_registered(arguments.split, setting_of(arguments))
    made_by = origin(1, "numpy", "torch", "onnxruntime", "sacrebleu")
    heard = Heard(arguments.runs / "heard.jsonl")
    data, split, count = arguments.data, arguments.split, arguments.utterances
    asked = {
        fold: list(asked_of(data, arguments.runs, fold, split, count, arguments.corpora))
        for fold in arguments.folds
    }
    rows = arguments.rows.split(",")
    texts: dict[str, dict[str, dict[str, str]]] = {}
    trained: dict[str, list[Path]] = {}
    arms = [(row, arm) for row in rows for arm in ARMS[row]]
    for fold in arguments.folds:  # a whole fold first: rows can be compared from then on
        # The start before the arms, which may be trained side by side.
        if arguments.start and (start := start_of(fold, arguments)) is not None:
            trained.setdefault("start", []).append(start.parent)
        train = partial(model_of, fold=fold, arguments=arguments)
        with ThreadPoolExecutor(arguments.side_by_side) as pool:
            folders = list(pool.map(train, (arm for _, arm in arms)))
        for (row, arm), folder in zip(arms, folders, strict=True):
            if folder is not None:
                found = hear(arm, folder, asked[fold], heard, arguments.threads)
                merge(texts.setdefault(row, {}), found)
                trained.setdefault(arm.name, []).append(folder.parent)
        report(arguments, made_by, asked, texts, trained)


def sizes_of(row: str, arguments: argparse.Namespace) -> dict[str, int]:
    """Parameters of a row's first arm: all, and those that one frame or token meets."""
    recipe = recipe_of(ARMS[row][0], row, arguments.folds[0], arguments)
    return parameters_of(build_model(from_plain(TrainConfig, recipe).model))._asdict()


def merge(texts: dict[str, dict[str, str]], more: Mapping[str, Mapping[str, str]]) -> None:
    """Add texts of other tasks, or of other utterances."""
    for name, found in more.items():
        texts.setdefault(name, {}).update(found)


def report(
    arguments: argparse.Namespace,
    made_by: dict[str, Any],
    asked: Mapping[int, list[Asked]],
    texts: Mapping[str, dict[str, dict[str, str]]],
    trained: Mapping[str, list[Path]],
) -> None:
    """Print and write the table of the folds that every row was heard in."""
    whole = [
        fold
        for fold, own in asked.items()
        if all(one.id in found for found in texts.values() for one in own)
    ]
    if BASE not in texts or not whole:
        return
    spoken = [one for fold in whole for one in asked[fold]]
    cells = cells_of(spoken)
    tables = {row: table_of(spoken, found, cells) for row, found in texts.items()}
    rows = compared(tables, spoken, BASE, arguments.averaged)
    print_rows(rows, whole)
    content = {
        **made_by,
        "split": arguments.split,
        "steps": arguments.steps,
        "start": arguments.start,
        "corpora": arguments.corpora,
        "averaged": arguments.averaged,
        "folds": whole,
        "speakers": len({one.speaker for one in spoken}),
        "utterances": len(spoken),
        "trained on": sorted({trained_on(one) for own in trained.values() for one in own}),
        "minutes": {arm: [logged_minutes(one) for one in own] for arm, own in trained.items()},
        "parameters": {row: sizes_of(row, arguments) for row in texts},
        "rows": rows,
        "beside smoe": beside_smoe(tables, spoken, arguments.averaged),
        "translation": {row: translated(spoken, found) for row, found in texts.items()},
    }
    target = arguments.results or Path(__file__).parent / "results" / file_name(arguments)
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def beside_smoe(
    tables: Mapping[str, Table], spoken: Sequence[Asked], averaged: Sequence[str]
) -> dict[str, Any]:
    """The average of every row, and its change relative to S-MoE in both places."""
    if ROUTED not in tables:
        return {}
    rows = compared(tables, spoken, ROUTED, averaged)
    return {row: found["average"] for row, found in rows.items() if "average" in found}


def print_rows(rows: Mapping[str, Mapping[str, Any]], folds: Iterable[int]) -> None:
    """The averages."""
    print(f"folds {', '.join(map(str, folds))}")
    for row, found in rows.items():
        figures = found.get("average")
        if figures is not None:
            print(f"{row:14}", figures, flush=True)


def setting_of(arguments: argparse.Namespace) -> str:
    """What the trainings of a table have in common, in a word: "multitask-2500"; with a start,
    "multitask-1000-from2500"."""
    start = f"from{arguments.start}" if arguments.start else ""
    return "-".join(filter(None, ("multitask", str(arguments.steps), start, arguments.label)))


def file_name(arguments: argparse.Namespace) -> str:
    """Of the table."""
    name, _, rest = setting_of(arguments).partition("-")
    return f"{name}-{arguments.split}-{rest}.json"


if __name__ == "__main__":
    main()
