"""Finished runs -> the model inside the package: float16 weights, graphs, and its card.

    python scripts/ship_commands.py runs/commands/model --average runs/commands/validated/*7000*

With --average the weights are the mean of those that these files hold, as validated by the runs
they lie in and chosen on dev. Run it again after `benchmarks/commands.py` and the card and the
README hold the figures: they are read from benchmarks/results, never typed.
"""

import argparse
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from turnout.export.save import export_folder
from turnout.model_folder import (
    CARD,
    CONFIG,
    WEIGHTS,
    ModelFolder,
    config_bytes,
    write_folder,
)
from turnout.training.state import average

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src/turnout/models/commands"
TEMPLATE = ROOT / "recipes/commands.card.md"
TRAINING = ROOT / "benchmarks/results/commands-training.json"
README = ROOT / "README.md"
README_TABLE = re.compile(r"(<!-- scores -->\n).*?(<!-- end of scores -->)", re.DOTALL)
WINDOW_SECONDS = 6.0
"""It learned from utterances of at most six words: longer ones come out garbled, and are cut
at their pauses instead."""
DATASET = "connected utterances of the test speakers (benchmarks/commands.py)"


def figures(split: str) -> dict[str, Any] | None:
    """What benchmarks/commands.py wrote for a split, or None."""
    path = ROOT / f"benchmarks/results/commands-{split}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def table(result: dict[str, Any]) -> str:
    """The scores as Markdown."""
    lines = ["| speech | task | WER | 95 % interval | aim |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        low, high = row["wer_interval"]
        arrow = f"{row['language']} to {row['target_language']}"
        task = "transcribed" if row["task"] == "transcribe" else f"translated, {arrow}"
        lines.append(
            f"| {row['language']}, {row['bandwidth']} | {task} | {row['wer']:.1f} % "
            f"| {low:.1f} to {high:.1f} %, {speakers(row)} | {row['wer_target']:.0f} % |"
        )
    return "\n".join([*lines, "", *interval_lines(result)])


def speakers(row: dict[str, Any]) -> str:
    """How many an interval is of, and whether that is too few."""
    number = f"{row['speakers']} speaker{'' if row['speakers'] == 1 else 's'}"
    return f"only {number}" if row["few_speakers"] else number


def interval_lines(result: dict[str, Any]) -> list[str]:
    """What the intervals are, and what they are not."""
    lines = [f"{result['intervals']}."]
    if any(row["few_speakers"] for row in result["rows"]):
        lines += [
            "**Of fewer than five speakers an interval says little of others**, and of one speaker",
            "alone it says only how that one's utterances vary.",
        ]
    return lines


def index(result: dict[str, Any]) -> list[str]:
    """The model-index of the YAML head."""
    lines = ["model-index:", "- name: commands", "  results:"]
    for row in result["rows"]:
        name = f"{row['bandwidth']} {row['task']} {row['language']} to {row['target_language']}"
        lines += [
            "  - task: {type: automatic-speech-recognition}",
            f"    dataset: {{name: '{DATASET}', type: connected, config: {name}}}",
            f"    metrics: [{{type: wer, value: {row['wer']:.2f}}}]",
        ]
    return lines


def card() -> str:
    """The template with the figures that there are."""
    found = figures("test")
    text = TEMPLATE.read_text(encoding="utf-8")
    scores = "Not measured yet: `python benchmarks/commands.py`."
    if found is not None:
        made_by = f"`{found['command']}`, seed {found['seed']}, {found['machine']}"
        scores = f"{table(found)}\n\n{made_by}."
    head = "\n".join(index(found)) if found is not None else "model-index: []"
    return (
        text.replace("MODEL_INDEX", head).replace("SCORES", scores).replace("TRAINED", training())
    )


def training() -> str:
    """How long the runs were, in words."""
    runs = json.loads(TRAINING.read_text(encoding="utf-8"))["runs"]
    lengths = [f"{run['steps']:,} steps, {run['hours_of_audio']:.0f} hours" for run in runs]
    return " and ".join(lengths) + " of augmented audio"


def averaged(files: list[Path]) -> bytes:
    """The mean of the weights in these files, as safetensors."""
    return save(average([load(path.read_bytes()) for path in files]))


def write_training(runs: list[Path]) -> None:
    """The figures of the runs and the picture of the first."""
    found = {
        "machine": "two x86-64 cores, bfloat16 autocast",
        "runs": [{"recipe": f"recipes/{run.name}.yaml", **figures_of(run)} for run in runs],
    }
    TRAINING.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    shutil.copy(runs[0] / "training.png", ROOT / "docs/images/training.png")


def figures_of(run: Path) -> dict[str, Any]:
    """A run's log in short."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    train = [line for line in log if line["event"] == "train"]
    shown = ("step", "hours", "rate", "ctc", "attention")
    return {
        "steps": train[-1]["step"],
        "hours_of_audio": train[-1]["hours"],
        "train": [{name: line[name] for name in shown} for line in train if not line["step"] % 150],
        "dev": [
            {"step": line["step"], "average_wer": line["score"]}
            for line in log
            if line["event"] == "validation"
        ],
    }


def write_readme() -> None:
    """Put the figures that there are into the README's table."""
    found = figures("test")
    if found is None:
        return
    made_by = (
        f"`{found['command']}` (commit {found['commit'][:12]}, seed {found['seed']}, "
        f"{found['machine']};\n[JSON](benchmarks/results/commands-test.json))."
    )
    text = README.read_text(encoding="utf-8")
    filled = README_TABLE.sub(lambda part: f"{part[1]}{table(found)}\n\n{made_by}\n{part[2]}", text)
    README.write_text(filled, encoding="utf-8")


def main() -> None:
    """Copy, export, write the card and the README's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", help="the run's model; else the card alone")
    parser.add_argument("--average", type=Path, nargs="+", help="files with validated weights")
    arguments = parser.parse_args()
    if arguments.model is not None:
        shutil.rmtree(SHIPPED, ignore_errors=True)
        trained = dict(ModelFolder.open(arguments.model).files())
        chosen = arguments.average or []
        if chosen:
            trained[WEIGHTS] = averaged(chosen)
        write_folder(SHIPPED, trained)
        export_folder(SHIPPED, half=True)
        runs = {path.parents[1]: None for path in [*chosen, arguments.model / WEIGHTS]}
        write_training(list(runs))
    folder = ModelFolder.open(SHIPPED)
    config = replace(folder.config, window_seconds=WINDOW_SECONDS)
    files = {**folder.files(), CARD: card().encode()}
    files[CONFIG] = config_bytes(config, folder.tokenizer)
    write_folder(SHIPPED, files)
    write_readme()
    total = sum(len(data) for data in files.values())
    print(f"{SHIPPED}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
