"""What training from shards takes of a machine: processor time, memory, waiting, going on.

    python benchmarks/streaming.py --data ../shared/data [--utterances 300] [--hours 1000]
        [--steps 20] [--threads 1]

LibriSpeech's utterances, prepared and sharded; their shards are listed over and over (links to the
same files) until they are as long as wanted. With the shape 'tiny' and the default augmentation.

- Making: speech that is made of a second of processor time, streamed and from a feature store.
- Shares: where that time goes when streamed: reading and decoding, versions (telephone, features),
  augmentation, collating, the rest. And what the training process spends on a batch that a worker
  hands over, in seconds.
- A part: what planning one takes, and what going on takes (planning, and one batch behind the
  first), at the first parts of a run and at the last ones of its thousandth epoch: medians of nine
  each, in turns, since batches are of more and less speech. Processor time.
- Memory: what the process has (VmRSS) after a tenth of the parts of an epoch and after all; every
  fifth is planned, and of every 25th a batch is made.
- Waiting: share of the time in which training steps (forward and backward, `--threads`) have no
  batch, of one worker that prepares them. For a machine with two idle cores; --steps 0 leaves it
  out.

Writes results/streaming.json beside this file.
"""

import argparse
import json
import statistics
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from origin import origin

from turnout.config import CorpusConfig, DataConfig, ModelConfig, TrainConfig, preset
from turnout.config.sharding import ShardConfig
from turnout.corpora.clips import read_corpora
from turnout.corpora.prepare import prepare
from turnout.data import hearing
from turnout.data.batch import Collator
from turnout.data.epoch import Part
from turnout.data.examples import ExampleMaker
from turnout.data.loader import Loader
from turnout.data.stream import texts_of
from turnout.model.build import build_model
from turnout.shards.manifest import MANIFEST, Manifest, json_of, shard_name
from turnout.shards.store import open_store
from turnout.shards.writing import make_shards
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState
from turnout.training.step import Stepper

SHARD_MB = 8.0
PLANNED_EVERY, BEGUN_EVERY = 5, 25
LATE_EPOCH = 1000
TRIES = 9
BATCHES = 8
STAGES: tuple[tuple[Any, str], ...] = (
    (hearing, "read_listed"),
    (hearing, "variant_of"),
    (ExampleMaker, "example"),
    (Collator, "batch"),
)


def cuts_of(data: Path, folder: Path, count: int) -> Path:
    """So many utterances of LibriSpeech, as cuts."""
    with tarfile.open(data / "librispeech.tar") as tar:
        manifest = tar.extractfile("librispeech/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest.read().splitlines()]
        rows = [row for row in rows if row["split"] == "train"][:count]
        for row in rows:
            sound = tar.extractfile(f"librispeech/{row['audio_filepath']}")
            assert sound is not None
            path = folder / row["audio_filepath"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sound.read())
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(folder / "manifest.jsonl", folder / "cuts")
    return folder / "cuts" / "train.jsonl.gz"


def repeated(folder: Path, manifest: Manifest, hours: float) -> Path:
    """The same shards again and again, under names of their own, for so many hours."""
    long = folder.with_name("long")
    long.mkdir()
    times = -(-hours * 3600 // manifest.seconds)
    entries = [entry for _ in range(int(times)) for entry in manifest.shards]
    named = [replace(entry, name=shard_name(n)) for n, entry in enumerate(entries)]
    for entry, name in zip(entries, named, strict=True):
        (long / name.name).hardlink_to(folder / entry.name)
        (long / name.index).hardlink_to(folder / entry.index)
    whole = Manifest.of(manifest.job, tuple(named), ())
    (long / MANIFEST).write_bytes(json_of(whole))
    return long


def loader_of(
    corpus: CorpusConfig, model: ModelConfig, tokenizer: Any, cache: Path, **changes: Any
) -> Loader:
    """The batches of one corpus."""
    data = DataConfig(train=(corpus,), **changes)
    return Loader(
        data, model, tokenizer, read_corpora(data.train), seed=0, rank=0, world_size=1,
        cache_dir=cache,
    )  # fmt: skip


def spent(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of this process, and what the work gives."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def making(loader: Loader) -> dict[str, float]:
    """Speech that is made of a second of processor time; planned before."""
    next(loader.batches(1))  # what is made once, such as noise
    seconds, batches = spent(lambda: list(islice(loader.batches(1), BATCHES)))
    return {"speech_a_second": round(sum(batch.seconds for batch in batches) / seconds, 1)}


def shares(loader: Loader) -> dict[str, float]:
    """Where the processor time of making goes, by what is asked for in turn."""
    next(loader.batches(1))
    spans: dict[str, float] = defaultdict(float)
    with ExitStack() as patched:
        for place, name in STAGES:
            timed = counted(spans, getattr(place, name), name)
            patched.enter_context(patch.object(place, name, timed))
        seconds, _ = spent(lambda: list(islice(loader.batches(1), BATCHES)))
    reading, version, example, collating = (spans[name] for _, name in STAGES)
    found = {
        "reading": reading,
        "versions": version,
        "augmenting": example - version,
        "collating": collating,
        "rest": seconds - reading - example - collating,
    }
    return {name: round(value / seconds, 3) for name, value in found.items()}


def counted(spans: dict[str, float], work: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same work, its processor time added up, in whichever thread it is done."""

    def done(*args: Any) -> Any:
        before = time.thread_time()
        try:
            return work(*args)
        finally:
            spans[name] += time.thread_time() - before

    return done


def handing_over(loader: Loader) -> float:
    """Processor time of this process for a batch that a worker made."""
    batches = loader.batches(1)
    next(batches)
    seconds, _ = spent(lambda: [float(next(batches).log_mel.sum()) for _ in range(BATCHES)])
    return round(seconds / BATCHES, 4)


def going_on(make: Callable[[], Loader]) -> dict[str, Any]:
    """Processor time of a part's plan, and of going on behind it."""
    loader = make()
    next(loader.batches(1))
    seconds, plan = spent(lambda: loader.plan(0))
    found: dict[str, Any] = {
        "parts": loader.parts,
        "utterances_of_a_part": sum(map(len, plan)),
        "plan_seconds": round(seconds, 3),
    }
    tries: dict[str, list[float]] = {"first": [], "late": []}
    for back in range(TRIES):
        places = (("first", 0, Part(back)), ("late", LATE_EPOCH, Part(loader.parts - 1 - back)))
        for name, epoch, part in places:
            seconds, _ = spent(lambda: next(loader.batches(epoch, 1, part=part)))  # noqa: B023
            tries[name].append(seconds)
    for name, seconds in tries.items():
        found[f"{name}_going_on_seconds"] = round(statistics.median(seconds), 3)
    return found


def held() -> float:
    """MiB of memory that the process has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def memory(loader: Loader) -> dict[str, Any]:
    """After a tenth of an epoch and after all of it."""
    found: dict[str, Any] = {}
    for number in range(0, loader.parts, PLANNED_EVERY):
        loader.plan(0, part=Part(number))
        if number % BEGUN_EVERY == 0:
            next(loader.batches(0, part=Part(number)))
        if number >= loader.parts // 10:
            found.setdefault("after_a_tenth_mib", round(held(), 1))
    return {**found, "after_all_mib": round(held(), 1)}


def waiting(loader: Loader, model: ModelConfig, steps: int) -> dict[str, Any]:
    """Share of the time of so many steps, the first left out, in which there was no batch."""
    config = TrainConfig(model=model, device="cpu")
    stepper = Stepper(config, build_model(model), Ranks(open_fabric(config)))
    batches, state = loader.batches(0), RunState()
    waited, began = 0.0, time.perf_counter()
    for step in range(steps + 1):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        if step == 0:
            waited, began = 0.0, time.perf_counter()
        stepper([batch], state, 0.0)
    took = time.perf_counter() - began
    return {"steps": steps, "waited_share": round(waited / took, 4), "step_seconds": took / steps}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=300)
    parser.add_argument("--hours", type=float, default=1000.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        cuts = cuts_of(options.data, Path(folder) / "speech", options.utterances)
        made = Path(folder) / "made"
        manifest = make_shards(cuts, open_store(str(made)), ShardConfig(shard_size=SHARD_MB))
        long = CorpusConfig(shards=str(repeated(made, manifest, options.hours)))
        shape = preset("tiny")
        vocabulary = replace(shape.vocabulary, size=400, languages=("en",), translations=())
        model = replace(shape, vocabulary=vocabulary)
        tokenizer = SentencePieceTokenizer.train(texts_of(str(made), DataConfig()), vocabulary)
        cache = Path(folder) / "features"
        stored = CorpusConfig(cuts=str(cuts))
        found: dict[str, Any] = {
            "hours": options.hours,
            "streamed": making(loader_of(long, model, tokenizer, cache)),
            "shares": shares(loader_of(long, model, tokenizer, cache)),
            "stored": making(loader_of(stored, model, tokenizer, cache)),
            "part": going_on(lambda: loader_of(long, model, tokenizer, cache)),
            "memory": memory(loader_of(long, model, tokenizer, cache)),
        }
        working = loader_of(long, model, tokenizer, cache, workers=1)
        found["handing_over_seconds"] = handing_over(working)
        if options.steps:
            found["waiting"] = waiting(working, model, options.steps)
        working.close()
    report = {**origin(0, "numpy", "torch"), **found}
    text = json.dumps(report, indent=2) + "\n"
    (Path(__file__).parent / "results" / "streaming.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
