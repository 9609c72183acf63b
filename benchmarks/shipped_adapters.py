"""What the adapters that ship make of the prompts that they were taught to hear, and of speech that
they are not for.

    python benchmarks/shipped_adapters.py --model whisper-base --prompts FOLDER [--split dev]
        [--candidate NAME=FOLDER ...] [--languages es,fr] [--heard FILE] [--base-on cuda]
        [--each 8] [--threads 1]

Rows: the base, and the base with all adapters of a folder beside it: by default those inside the
package ("shipped"); with --candidate those that scripts/ship_adapters.py --output wrote instead, to
choose from (on dev). Columns: Asterisk's 8 kHz prompts of the split's ids in the language of each
adapter, heard and counted as benchmarks/teach.py does: greedy, temperature 0, the language given,
accents not counted in Spanish; all, and those of four words or more (few in dev: look at "all").
One voice a language speaks training and test prompts alike. Differences to the base are paired,
their intervals resample prompt ids. "equal" says of how many utterances of LibriSpeech, German and
Arabic, so many of each, the texts, and of ten the encoder's numbers, are the base's with all
adapters loaded. "taught" is what benchmarks/teach.py trains on. Choose on dev; --split test once.

The prompts are 8 kHz WAV files with texts, from Debian (`whisper_speech.py`). Texts are kept in
--heard as they come, in the form of benchmarks/teach.py, whose texts of the same base are taken
where they are in it: --base-on cuda takes those that a GPU heard, and "base on both" says of how
many prompts that the CPU heard as well the texts are the same. Writes
results/shipped_adapters-SPLIT.json, with candidates results/shipped_adapters-dev-NAMES.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from heard import Heard
from origin import ROOT, origin
from teach_heard import CPU, Listener, equal
from teach_judged import columns_of, errors_of, judged
from teach_speech import LONGEST_SECONDS, SEED, of_sets, prompts_of
from whisper_speech import RATE, Spoken

from turnout import model_folder
from turnout.adapters.folder import AdapterFolder, is_adapter
from turnout.guidance import Guide, Task
from turnout.hub.resolve import resolve

BASE, SHIPPED = "base", "shipped"


def adapters_in(folder: Path) -> dict[str, Path]:
    """The adapters of a folder by the language that each is for."""
    found = [path for path in sorted(folder.iterdir()) if is_adapter(path)]
    if not found:
        raise SystemExit(f"{folder}: has no adapter")
    facts = [AdapterFolder.open(path).facts for path in found]
    return {
        one.experts[0].when[Guide.LANGUAGE]: path for one, path in zip(facts, found, strict=True)
    }


def taught(prompts: Path, language: str) -> dict[str, Any]:
    """How many prompts of a language are learned from, and how long they are together."""
    seconds = [len(one.samples) / RATE for one in prompts_of(prompts, language, "train")]
    kept = [one for one in seconds if one <= LONGEST_SECONDS]
    return {"prompts": len(kept), "minutes": round(sum(kept) / 60, 1)}


def rows(
    spoken: list[Spoken], listeners: dict[str, Listener], heard: Heard
) -> list[dict[str, Any]]:
    """The table's lines, which are printed as they come."""
    found = []
    for column, places in columns_of(spoken, ()).items():
        chosen = [spoken[place] for place in places]
        counts = {
            name: [errors_of(one, listener.text(one, heard)) for one in chosen]
            for name, listener in listeners.items()
        }
        beside = {BASE: counts[BASE]}
        found.append(
            {
                "speech": column,
                **{name: judged(chosen, own, beside) for name, own in counts.items()},
            }
        )
        print(json.dumps(found[-1], ensure_ascii=False), flush=True)
    return found


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", default="whisper-base", help="the base: a name or a folder")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--candidate", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--languages", help="by default those of all adapters")
    parser.add_argument("--heard", type=Path, help="outside of the checkout")
    parser.add_argument("--base-on", default=CPU, help="device that heard the base's texts")
    parser.add_argument("--each", type=int, default=8, help="of LibriSpeech, German, Arabic")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.candidate and arguments.split == "test":
        parser.error("--candidate is for dev: test hears what was chosen, once")
    return arguments


def listeners_of(arguments: argparse.Namespace) -> tuple[dict[str, Listener], list[str]]:
    """Who hears each row, and the languages of the adapters."""
    base = resolve(arguments.model, print)
    pairs = [one.partition("=") for one in arguments.candidate]
    folders = {name: Path(folder) for name, _, folder in pairs} or {SHIPPED: model_folder.SHIPPED}
    first = Listener(BASE, base, arguments.threads, device=arguments.base_on)
    found, languages = {BASE: first}, dict[str, None]()
    for name, folder in folders.items():
        adapters = adapters_in(folder)
        languages |= dict.fromkeys(adapters)
        found[name] = Listener(
            "adapters", base, arguments.threads, tuple(path.resolve() for path in adapters.values())
        )
    return found, list(languages)


def on_both(spoken: list[Spoken], base: Listener, heard: Heard) -> str:
    """Of how many utterances that the CPU heard, too, the base's texts are the same."""
    here = replace(base, device=CPU)
    key = f"{here.key} {Task.TRANSCRIBE}"
    twice = [one for one in spoken if not heard.lacks(key, one.id)]
    same = sum(base.text(one, heard) == here.text(one, heard) for one in twice)
    return f"{same} of {len(twice)}"


def main() -> None:
    arguments = read_arguments()
    made_by = origin(SEED, "numpy", "onnxruntime", "soxr")
    listeners, languages = listeners_of(arguments)
    if arguments.languages is not None:
        languages = [code for code in languages if code in arguments.languages.split(",")]
    heard = Heard(arguments.heard)
    spoken = [
        one for code in languages for one in prompts_of(arguments.prompts, code, arguments.split)
    ]
    others = list(of_sets(arguments.data, arguments.split, arguments.each))
    *_, last = listeners.values()
    content = {
        **made_by,
        "split": arguments.split,
        "taught": {code: taught(arguments.prompts, code) for code in languages},
        "bytes": {
            name: sum(path.stat().st_size for one in own.adapters for path in one.iterdir())
            for name, own in listeners.items()
            if own.adapters
        },
        "base heard on": arguments.base_on,
        "rows": rows(spoken, listeners, heard),
        "base on both": on_both(spoken, listeners[BASE], heard),
        "equal": equal(replace(listeners[BASE], device=CPU), last, others, heard) if others else {},
    }
    names = [name for name in listeners if name not in (BASE, SHIPPED)]
    target = "-".join(("shipped_adapters", arguments.split, *names))
    place = Path(__file__).parent / "results" / f"{target}.json"
    place.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
