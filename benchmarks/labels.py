"""What are labels worth that a model wrote? A CTC head over the lower half of whisper-base, which
stays as it is, learns from half of LibriSpeech's train split, and from the other half as well, the
texts of which whisper-base wrote down.

    python benchmarks/labels.py --runs FOLDER --weights CHECKPOINT [--seeds 1 2 3] [--steps N]
        [--speakers N] [--threads 1] [--only-trained] [--quick]

The half without texts (every other speaker) is labelled by `turnout label` at beam 5, with its
default bounds. Three rows, with equal steps, batches and seeds: the labelled half alone; both
halves, with those labels; both halves with the texts that LibriSpeech has, which says what perfect
labels would be worth. Nothing is chosen by what comes out: dev is heard first, test once, by the
same heads. dev has 40 utterances and test 79: look at the intervals.

Everything is kept under --runs: corpora, labels, frames, and what each head wrote; a run that was
stopped goes on behind the last head. --only-trained trains nothing and makes the table of what is
there; --quick is a few steps on a few utterances. Writes results/labels.json and prints the table
for docs/scale.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from few_data import few_of, grouped
from labels_head import Frames, HeadConfig, frames_of, heard, lower_half, trained
from labels_speech import CORPUS, Utterance, facts_of, halves_of, labels_of, lines_of, texts_in
from omni_judged import Wanted, judged
from omni_speech import cuts_of, hours_of
from origin import ROOT, origin

from turnout.evaluation.counting import counted
from turnout.files import sha256_of, write_whole
from turnout.hub.adapted import digest_of
from turnout.hub.convert import convert
from turnout.model_folder import ModelFolder

RESULTS = Path(__file__).parent / "results" / "labels.json"
ALONE, LABELS, TEXTS = "labelled half", "both, labels of whisper-base", "both, LibriSpeech's texts"
SPLITS = ("dev", "test")
LAYERS = 3
Row = Sequence[Utterance]


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="outside of the checkout")
    parser.add_argument("--weights", type=Path, required=True, help="whisper-base: a checkpoint")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--speakers", type=int, help="of each half; all by default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-trained", action="store_true", help="train nothing")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.runs = arguments.runs.resolve()
    if arguments.quick:
        vars(arguments).update(steps=3, seeds=[1], runs=arguments.runs / "quick")
        arguments.data = few_of(arguments.data, arguments.runs / "data", {CORPUS: few_speakers})
    torch.set_num_threads(arguments.threads)
    return arguments


def few_speakers(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An utterance of each of the first two speakers of each split."""
    return [
        own[0] for split in grouped(rows, "split") for own in grouped(split, "speaker")[:2]
    ]  # fmt: skip


def rows_of(halves: Mapping[str, Path], labels: Path, truth: Path) -> dict[str, Row]:
    """What each row learns from; LibriSpeech's texts are those of dropped labels as well."""
    alone = list(texts_in(halves["labelled"]))
    others = {line["id"] for line in lines_of(halves["untranscribed"])}
    return {
        ALONE: alone,
        LABELS: [*alone, *texts_in(labels / "cuts.jsonl.gz")],
        TEXTS: [*alone, *(one for one in texts_in(truth) if one.id in others)],
    }


def counts_of(texts: Mapping[str, str], cuts: Path) -> list[dict[str, Any]]:
    """What is wrong in each utterance of some cuts, as `judged` takes it."""
    said = [line["supervisions"][0] for line in lines_of(cuts)]
    sides = [one["text"] for one in said], [texts[one["id"]] for one in said]
    words, letters = (counted(metric, *sides, "en").counts.tolist() for metric in ("wer", "cer"))
    return [
        {"id": one["id"], "speaker": one["speaker"], "corpus": CORPUS, "wer": wer, "cer": cer}
        for one, wer, cer in zip(said, words, letters, strict=True)
    ]


def head_of(
    name: str, texts: Row, frames: Frames, arguments: argparse.Namespace, cuts: Mapping[str, Path]
) -> dict[str, Any] | None:
    """What a head wrote of dev and test, and its losses; trained where that is not kept, and None
    where it may not be."""
    row, seed = name.rsplit(", seed ", 1)
    config = HeadConfig()
    settings = [row, seed, arguments.steps, asdict(config), [asdict(one) for one in texts]]
    digest = sha256_of(json.dumps(settings).encode())[:16]
    place = arguments.runs / "heads" / f"{digest}.json"
    if not place.exists():
        if arguments.only_trained:
            return None
        print(f"training {name}: {arguments.steps} steps", flush=True)
        head, losses = trained(texts, frames, config, arguments.steps, int(seed))
        written = {
            split: {line["id"]: heard(head, frames[line["id"]]) for line in lines_of(cuts[split])}
            for split in SPLITS
        }
        place.parent.mkdir(exist_ok=True)
        write_whole(place, json.dumps({"losses": losses, "texts": written}, indent=1).encode())
    return json.loads(place.read_text("utf-8"))


def main() -> None:
    arguments = read_arguments()
    made_by = origin(arguments.seeds[0], "numpy", "torch", "jiwer", "onnxruntime")
    runs, data = arguments.runs, arguments.data
    base = runs / "base"
    if not (base / "SHA256SUMS").exists():
        convert(arguments.weights, base)
    halves = halves_of(data, runs, arguments.speakers)
    labels = labels_of(halves["untranscribed"], base, arguments.threads)
    cuts = {
        split: cuts_of(data, runs, CORPUS) / f"{split}.jsonl.gz" for split in ("train", *SPLITS)
    }
    folder = ModelFolder.open(base)
    place = runs / f"frames-{LAYERS}-{digest_of(folder)[:8]}"
    rows = rows_of(halves, labels, cuts["train"])
    wanted = {one.id for texts in rows.values() for one in texts}
    wanted |= {line["id"] for split in SPLITS for line in lines_of(cuts[split])}
    frames = frames_of(list(cuts.values()), wanted, lower_half(folder, LAYERS), place)
    facts = {
        "labels": facts_of(labels, cuts["train"]),
        "utterances": {row: len(texts) for row, texts in rows.items()},
        "hours": {half: round(hours_of([path]), 2) for half, path in halves.items()},
    }
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    for done, seed in enumerate(arguments.seeds, 1):  # whole seeds: rows can be compared
        for row, texts in rows.items():
            head = head_of(f"{row}, seed {seed}", texts, frames, arguments, cuts)
            if head is None:
                return
            found[row].append(head)
        report(arguments, {**made_by, "seeds": arguments.seeds[:done], **facts}, found, cuts)


def report(
    arguments: argparse.Namespace,
    known: Mapping[str, Any],
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    cuts: Mapping[str, Path],
) -> None:
    """Write what is there so far, and print its table."""
    counts = {
        row: [
            {split: counts_of(head["texts"][split], cuts[split]) for split in SPLITS}
            for head in heads
        ]
        for row, heads in found.items()
    }
    figures = judged(counts, Wanted(averages={}, bases=(ALONE,)))
    content = {
        **known,
        "steps": arguments.steps,
        "layers": LAYERS,
        "head": asdict(HeadConfig()),
        "losses": {row: [head["losses"] for head in heads] for row, heads in found.items()},
        "figures": figures,
    }
    arguments.results.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(table(figures), flush=True)


def table(figures: Mapping[str, Any]) -> str:
    """In Markdown: WER and CER of both splits, and how much fewer words are wrong."""
    lines = ["| learned from | dev WER | dev CER | test WER | test CER | test WER, change |"]
    lines.append("|---" * 6 + "|")
    for row, of_row in figures.items():
        cells = [cell(of_row[split], metric) for split in SPLITS for metric in ("wer", "cer")]
        changed = f"wer, change to {ALONE}"
        cells.append(cell(of_row["test"], changed) if changed in of_row["test"] else "")
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines)


def cell(of_set: Mapping[str, Any], metric: str) -> str:
    """A figure with its interval, in percent."""
    low, high = of_set[f"{metric}, interval"]
    return f"{of_set[metric]:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
