"""Does a router that all layers share make better experts? Omni-router (arXiv 2507.05724) against
Switch and dense: CTC encoders of open-vocabulary English, in their domain and out of it.

    python benchmarks/omni.py --runs FOLDER --start whisper --weights CHECKPOINT
        [--rows dense,switch,omni] [--seeds 1 2 3] [--split dev] [--steps N] [--layers N]
        [--frozen N] [--head STEPS] [--set KEY=JSON ... --label NAME] [--threads 1]
        [--only-trained] [--quick]
    python benchmarks/omni.py --runs FOLDER --start random ...

Trained on 5.4 hours of LibriSpeech, CMU Arctic and LJSpeech, scored on recipes/sets.yaml: read
speech, and ten sets out of the domain (telephone codecs, lost packets, noises, rooms, tempo, digits
at 8 kHz). Nothing but masks and tempo is done to what is learned from, so that these stay unheard.
"whisper" begins from whisper-base's encoder (--layers: its lower ones), each expert a copy of its
feed-forward, under a CTC head from random weights; "random" from random weights, where on a CPU the
loss and CER say something, and WER does not. --frozen leaves so many of the checkpoint's lowest
layers as they are, and dense, which makes steps cheaper. With --head, the CTC head alone is trained
before, for so many steps (seed 1), and all rows begin from that (docs/results.md has what was
tried).

Rows (omni_rows.py, in order of worth): dense, Switch and Omni-router with 4 experts, a hybrid by
bandwidth, 2 and 8 experts, a router for each half of the layers. All have the same active
parameters, steps and order of data. Tuning: "--steps 300 --rows switch,switch+strong,switch+weak,
omni,omni+strong,omni+weak --seeds 1", the same three for each.

Everything is kept under --runs: corpora, features, trainings (each goes on where it was stopped),
what they wrote. Seed by seed, row by row; the table is made of the seeds that all rows have.
--only-trained trains nothing; --quick is two steps on a few utterances, to see the table come out.
--split test is refused until docs/results.md, committed, names the setting. Writes
results/omni-START-SPLIT-STEPS[-LABEL].json; omni_table.py makes the table and the figure of it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from few_data import few_of, of_each_split
from kept_trainings import asked_for, digest_of_cuts, kept_training, logged_minutes, with_changes
from omni_judged import AVERAGE, Wanted, judged
from omni_made import check_machines, curve_of, in_common, made_on, scored, told
from omni_rows import BASE, STARTS, Start, changes_of, check_hybrid, check_row
from omni_speech import (
    IN_DOMAIN,
    SCORED,
    SOUNDS,
    TRAIN,
    dev_cuts,
    hours_of,
    sets_of,
    train_cuts,
)
from origin import ROOT, origin
from registered import check_registered

from turnout.config.sets import SetsConfig
from turnout.config.yaml_text import parse_yaml
from turnout.hub.adapted import digest_of
from turnout.hub.convert import convert
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.model_folder import ModelFolder

RESULTS = Path(__file__).parent / "results"
HEAD_SEED = 1
"""Of the trained head, whatever seeds go on from it."""
HEAD_RATE = {"optimizer.learning_rate": 0.003, "optimizer.warmup_steps": 20}
"""Of the head, which begins at random; the rows have those of the recipe."""
QUICK = {"steps": 2, "layers": 2, "seeds": [1], "limit": 1, "label": "quick"}
QUICK_RECIPE = {"data.batch_seconds": 8, "data.dev_utterances": 1, "log_every": 1}
QUICK_CLIPS = 4
"""Of each split of each set."""


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--start", choices=tuple(STARTS), default="whisper")
    parser.add_argument("--weights", type=Path, help="whisper-base: a checkpoint")
    parser.add_argument("--rows", default="dense,switch,omni")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--layers", type=int, help="of the encoder, from the lowest")
    parser.add_argument("--frozen", type=int, default=0, help="of them, from the lowest")
    parser.add_argument("--head", type=int, help="steps of the CTC head alone, before all rows")
    parser.add_argument("--limit", type=int, help="utterances of each set, to try it out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    parser.add_argument("--label", default="", help="of trainings with --set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-trained", action="store_true", help="train nothing")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    if bool(arguments.set) != bool(arguments.label):
        parser.error("--set and --label go together: what is changed needs folders of its own")
    start = STARTS[arguments.start]
    if start.pretrained and arguments.weights is None:
        parser.error(f"--start {start.name} needs --weights: the folder of a checkpoint")
    if (arguments.frozen or arguments.head) and not start.pretrained:
        parser.error(f"--frozen and --head are for a checkpoint, and --start {start.name} is none")
    arguments.runs = arguments.runs.resolve()  # which settings that are kept name
    if arguments.quick:
        vars(arguments).update(QUICK, runs=arguments.runs / "quick")
        arguments.head = arguments.head and QUICK["steps"]
        arguments.frozen = min(arguments.frozen, QUICK["layers"] - 1)
        kept = {**dict.fromkeys((*TRAIN, *SCORED), of_each_split(QUICK_CLIPS)), SOUNDS: list}
        arguments.data = few_of(arguments.data, arguments.runs / "data", kept)
    arguments.steps = arguments.steps or start.steps
    arguments.layers = arguments.layers or start.layers
    if not 0 <= arguments.frozen < arguments.layers:
        parser.error(f"--frozen is {arguments.frozen}: from 0 to {arguments.layers - 1} layers")
    arguments.rows = arguments.rows.split(",")
    try:
        for row in arguments.rows:
            check_row(row)
        check_hybrid(arguments.rows, recipe_of(arguments.rows[0], 0, arguments, {}))
    except ValueError as error:
        parser.error(str(error))
    return arguments


def setting_of(arguments: argparse.Namespace) -> str:
    """What the trainings of a table have in common, in a word: "whisper-800", or
    "whisper-above3-800-head400"."""
    start = STARTS[arguments.start]
    layers = "" if arguments.layers == start.layers else str(arguments.layers)
    above = f"above{arguments.frozen}" if arguments.frozen else ""
    head = f"head{arguments.head}" if arguments.head else ""
    parts = (start.name + layers, above, str(arguments.steps), head, arguments.label)
    return "-".join(filter(None, parts))


def recipe_of(
    row: str, seed: int, arguments: argparse.Namespace, cuts: dict[str, list[str]]
) -> dict[str, Any]:
    """The whole recipe of a training, but for threads."""
    start: Start = STARTS[arguments.start]
    recipe = parse_yaml(start.recipe.read_text("utf-8"))[1]
    runs, steps = arguments.runs, arguments.steps
    fixed = {
        "output": str(runs / name_of(row, seed, arguments)),
        "data.cache": str(runs / "features"),
        "data.train": [{"cuts": path} for path in cuts.get("train", [])],
        "data.dev": [{"cuts": path} for path in cuts.get("dev", [])],
        "max_steps": steps,
        "data.dev_utterances": 20,
        "validate_every": steps,  # the last weights count: as many steps for every row
        "seed": seed,
    }
    if start.pretrained:
        fixed["init_from"] = str(runs / "base")
    if arguments.head:
        head = Path(head_recipe(arguments, cuts)["output"])
        fixed |= {"init_from": str(head / "model"), "init_tokenizer": "keep"}
    asked = asked_for(arguments.set)
    quick = QUICK_RECIPE if arguments.quick else {}
    own = changes_of(row, arguments.layers, arguments.frozen)
    return with_changes(recipe, {**fixed, **quick, **asked, **own})


def head_recipe(arguments: argparse.Namespace, cuts: dict[str, list[str]]) -> dict[str, Any]:
    """The recipe of the model that all rows begin from: dense, its head trained as a linear probe;
    "whisper-400-head" is its folder."""
    own = {"steps": arguments.head, "head": None, "frozen": 0}
    asked = argparse.Namespace(**{**vars(arguments), **own})
    recipe = recipe_of(BASE, HEAD_SEED, asked, cuts)
    output = str(arguments.runs / f"{setting_of(asked)}-head")
    return with_changes(recipe, {"output": output, "trainable": ["ctc_head"], **HEAD_RATE})


def name_of(row: str, seed: int, arguments: argparse.Namespace) -> str:
    """Of a training's folder."""
    return f"{setting_of(arguments)}-{row}-seed{seed}"


def model_of(
    row: str, seed: int, arguments: argparse.Namespace, cuts: dict[str, list[str]]
) -> Path | None:
    """The model folder of a row and a seed, trained where it is not there; None where it may not
    be."""
    name = name_of(row, seed, arguments)
    model = arguments.runs / name / "model"
    wanted = [model]
    if arguments.head:
        wanted.append(Path(head_recipe(arguments, cuts)["output"]) / "model")
    if arguments.only_trained and not all((one / "SHA256SUMS").exists() for one in wanted):
        return None
    if arguments.head:
        kept(head_recipe(arguments, cuts), arguments, cuts)
    kept(recipe_of(row, seed, arguments, cuts), arguments, cuts)
    return model


def kept(recipe: dict[str, Any], arguments: argparse.Namespace, cuts: dict[str, list[str]]) -> None:
    """Train what a recipe describes, where it is not there."""
    settings: dict[str, Any] = {
        "recipe": recipe,
        "cuts": [digest_of_cuts(Path(path)) for path in cuts["train"]],
    }
    if "init_from" in recipe:
        settings["base"] = digest_of(ModelFolder.open(Path(recipe["init_from"])))
    name = Path(recipe["output"]).name
    kept_training(name, settings, arguments.runs, arguments.threads)
    made_on(arguments.runs, name)


def run_of(
    row: str, seed: int, arguments: argparse.Namespace, cuts: dict[str, list[str]], sets: SetsConfig
) -> dict[str, Any] | None:
    """All that is known of one training, its counts among it."""
    model = model_of(row, seed, arguments, cuts)
    if model is None:
        return None
    folder = ModelFolder.open(model)
    return {
        **made_on(arguments.runs, model.parent.name),
        "minutes": logged_minutes(model.parent),
        "parameters": parameters_of(build_model(folder.config))._asdict(),
        "loss": curve_of(model.parent),
        "counts": scored(model, arguments.split, sets, arguments.threads),
    }


def cuts_for(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """What is learned from, and what trainings are validated on."""
    train = train_cuts(arguments.data, arguments.runs)
    dev = dev_cuts(arguments.data, arguments.runs)
    return {"train": [str(path) for path in train], "dev": [str(dev)]}


def main() -> None:
    arguments = read_arguments()
    check_registered(arguments.split, setting_of(arguments))
    made_by = origin(arguments.seeds[0], "numpy", "torch", "jiwer")
    base = arguments.runs / "base"
    if STARTS[arguments.start].pretrained and not (base / "SHA256SUMS").exists():
        convert(arguments.weights, base)
    cuts = cuts_for(arguments)
    sets = sets_of(arguments.data, arguments.runs, arguments.split, arguments.limit)
    found: dict[str, dict[int, dict[str, Any]]] = {row: {} for row in arguments.rows}
    for seed in arguments.seeds:  # a whole seed first: rows can be compared from then on
        for row in arguments.rows:
            run = run_of(row, seed, arguments, cuts, sets)
            if run is not None:
                found[row][seed] = run
        report(arguments, made_by, found, cuts)


def report(
    arguments: argparse.Namespace,
    made_by: dict[str, Any],
    found: dict[str, dict[int, dict[str, Any]]],
    cuts: dict[str, list[str]],
) -> None:
    """Print and write the table of the seeds that all rows have."""
    rows, seeds = in_common(found, arguments.seeds)
    if not seeds:
        return
    check_machines(run for runs in rows.values() for run in runs.values())
    counts = {row: [runs[seed]["counts"] for seed in seeds] for row, runs in rows.items()}
    outside = [name for name in next(iter(counts.values()))[0] if name != IN_DOMAIN]
    figures = judged(counts, Wanted(averages={AVERAGE: outside}))
    content = {
        **made_by,
        "split": arguments.split,
        "setting": setting_of(arguments),
        "seeds": seeds,
        "hours learned from": round(hours_of([Path(path) for path in cuts["train"]]), 2),
        "averages": [AVERAGE],
        "runs": told(rows),
        "figures": figures,
    }
    for row, of_row in figures.items():
        print(f"{row:14}", of_row[AVERAGE], flush=True)
    target = arguments.results or RESULTS / f"omni-{split_name(arguments)}.json"
    target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def split_name(arguments: argparse.Namespace) -> str:
    """Of the table: other starts, splits, steps and labels have files of their own."""
    start, _, rest = setting_of(arguments).partition("-")
    return f"{start}-{arguments.split}-{rest}"


if __name__ == "__main__":
    main()
