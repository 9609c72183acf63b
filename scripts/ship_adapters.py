"""Trained adapters of whisper-base -> the adapters inside the package: telephone prompts, one
language each.

    python scripts/ship_adapters.py FOLDER ... --prompts FOLDER [--rank 16] [--output FOLDER]
    python scripts/ship_adapters.py

FOLDERs are adapters of low rank that benchmarks/teach.py --rank made. Their differences are cut to
the rank that is asked for, rounded to float16, and are for what they were taught: one language,
narrowband, transcribed. Their licence is that of the recordings, which lies beside them (--prompts,
as the benchmark takes it), with Whisper's notice. Run it again without folders after
`benchmarks/shipped_adapters.py` and the cards hold its figures: they are read from
benchmarks/results, never typed.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from turnout.adapters.change import DOWN, UP
from turnout.adapters.facts import ADAPTER, AdapterFacts, ExpertEntry, adapter_bytes
from turnout.adapters.folder import LICENSE, TENSORS, AdapterFolder, write_adapter
from turnout.adapters.stored import Tensors, safetensors_of, weights_of
from turnout.guidance import Bandwidth, Guide, Task
from turnout.hub.card import NOTICE
from turnout.hub.making import WHISPERS
from turnout.verified_folder import CARD

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "src/turnout/models"
TEMPLATE = ROOT / "recipes/telephone.card.md"
RESULTS = ROOT / "benchmarks/results"
BASE = "whisper-base"
COPYRIGHT = "usr/share/doc/asterisk-core-sounds-{}/copyright"


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Who speaks a language's prompts, and on which terms."""

    language: str
    """In English."""
    speaker: str
    stanza: str
    """Of the packages' copyright file, that of the language."""
    license: str
    """As that file names it."""
    url: str


BY_SA = {"license": "CC-BY-SA-3.0", "url": "https://creativecommons.org/licenses/by-sa/3.0/"}
BY = {"license": "CC-BY-3.0", "url": "https://creativecommons.org/licenses/by/3.0/"}
VOICES = {
    "es": Voice(language="Spanish", speaker="Allison Smith", stanza="*", **BY_SA),
    "fr": Voice(language="French", speaker="June Wallack", stanza="fr-*", **BY_SA),
    "it": Voice(language="Italian", speaker="Carlo Flora", stanza="it-*", **BY),
    "ru": Voice(language="Russian", speaker="Maxim Topal's voice", stanza="ru-*", **BY),
}


def name_of(code: str) -> str:
    """What `--adapter` takes."""
    return f"telephone-{code}"


def facts_of(trained: AdapterFacts, rank: int) -> tuple[str, AdapterFacts]:
    """The language of a trained adapter, and what is said of it in the package; raises SystemExit
    where it is no language's alone, or of a lower rank."""
    (entry,) = trained.experts
    code = entry.when.get(Guide.LANGUAGE, "")
    if code not in VOICES or entry.rank is None or entry.rank < rank:
        raise SystemExit(
            f"{trained.name}: is for {dict(entry.when)} and of rank {entry.rank}: one of "
            f"{', '.join(VOICES)} and at least {rank} are needed"
        )
    when = {
        Guide.LANGUAGE: code,
        Guide.BANDWIDTH: Bandwidth.NARROWBAND.value,
        Guide.TASK: Task.TRANSCRIBE.value,
    }
    own = ExpertEntry(name=code, when=when, rank=rank)
    return code, AdapterFacts(name=name_of(code), base=BASE, digest=trained.digest, experts=(own,))


def cut(tensors: Tensors, rank: int, name: str) -> Tensors:
    """A trained adapter's tensors at a lower rank, in float16, as those of the expert `name`. The
    parts lie in the order of their strength, so that the first are the best of so many."""
    found = {}
    for key, values in tensors.items():
        kept = values
        if key.endswith(UP):
            kept = values[:, :rank]
        elif key.endswith(DOWN):
            kept = values[:rank]
        found[f"{name}/{key.partition('/')[2]}"] = np.ascontiguousarray(kept, "<f2")
    return found


def licence_in(text: str, voice: Voice) -> str:
    """Of a copyright file in Debian's format what is said of a language's recordings, and the
    licence itself."""
    stanzas = text.split("\n\n")
    (own,) = (one for one in stanzas if one.startswith(f"Files: {voice.stanza}\n"))
    (licence,) = (one for one in stanzas if one.startswith(f"License: {voice.license}\n"))
    return f"{own.strip()}\n\n{licence.rstrip()}\n"


def figures(split: str) -> dict[str, Any] | None:
    """What benchmarks/shipped_adapters.py wrote for a split, or None."""
    path = RESULTS / f"shipped_adapters-{split}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def rows_of(code: str, found: dict[str, Any]) -> list[str]:
    """The lines of a card's table that a split has for a language."""
    lines = []
    for row in found["rows"]:
        if not row["speech"].startswith(f"prompts-{code}"):
            continue
        base, own = row["base"], row["shipped"]
        low, high = own["difference to base, interval"]
        words = row["speech"].partition(", ")[2] or "all"
        lines.append(
            f"| {found['split']}, {words} | {own['utterances']} | {base['wer']:.1f} % "
            f"| {own['wer']:.1f} % | {own['difference to base']:.1f} ({low:.1f} to {high:.1f}) |"
        )
    return lines


def scores(code: str) -> str:
    """The table of a card, and what made it, of the splits that were measured."""
    measured = [found for found in map(figures, ("test", "dev")) if found and rows_of(code, found)]
    if not measured:
        return "Not measured yet: `python benchmarks/shipped_adapters.py`."
    head = ["| prompts | number | whisper-base | with this | difference |", "|---|---|---|---|---|"]
    rows = [line for found in measured for line in rows_of(code, found)]
    made_by = [
        f"- {found['split']}: `{found['command']}` (commit {found['commit'][:12]}, "
        f"{found['machine']})"
        for found in measured
    ]
    return "\n".join([*head, *rows, "", *made_by])


def card(code: str, size: int, rank: int) -> str:
    """README.md of a language's adapter."""
    voice, found = VOICES[code], figures("dev")
    taught = {"prompts": 0, "minutes": 0.0} if found is None else found["taught"][code]
    words = {
        "LICENCE_ID": voice.license.lower(),
        "CODE": code,
        "NAME": name_of(code),
        "LANGUAGE": voice.language,
        "SPEAKER": voice.speaker,
        "PROMPTS": str(taught["prompts"]),
        "MINUTES": f"{taught['minutes']:.1f}",
        "RANK": str(rank),
        "MEGABYTES": f"{size / 1e6:.1f}",
        "LICENCE": voice.license,
        "URL": voice.url,
        "SCORES": scores(code),
    }
    text = TEMPLATE.read_text("utf-8")
    for word, meant in words.items():
        text = text.replace(f"<{word}>", meant)
    return text


def write(folder: Path, code: str, facts: AdapterFacts, tensors: bytes, licence: bytes) -> None:
    """An adapter of the package, its card of the figures that there are."""
    rank = facts.experts[0].rank
    assert rank is not None
    files = {
        ADAPTER: adapter_bytes(facts),
        TENSORS: tensors,
        LICENSE: licence,
        WHISPERS: NOTICE.encode(),
        CARD: card(code, len(tensors), rank).encode(),
    }
    write_adapter(folder, files)
    print(f"{folder}: {sum(map(len, files.values())) / 1e6:.2f} MB")


def main() -> None:
    """Cut what was trained, or write the cards of what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("trained", type=Path, nargs="*", help="adapters; without, cards alone")
    parser.add_argument("--prompts", type=Path, help="where the packages were unpacked")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--output", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    if arguments.trained and arguments.prompts is None:
        parser.error("--prompts is needed: the licence of the recordings lies there")
    for path in arguments.trained:
        folder = AdapterFolder.open(path)
        code, facts = facts_of(folder.facts, arguments.rank)
        tensors = cut(weights_of(folder, TENSORS), arguments.rank, code)
        text = (arguments.prompts / COPYRIGHT.format(code)).read_text("utf-8")
        licence = licence_in(text, VOICES[code]).encode()
        place = arguments.output / name_of(code)
        write(place, code, facts, safetensors_of(tensors), licence)
    for code in () if arguments.trained else VOICES:
        place = arguments.output / name_of(code)
        if place.is_dir():
            old = AdapterFolder.open(place)
            write(place, code, old.facts, old.read(TENSORS), old.read(LICENSE))


if __name__ == "__main__":
    main()
