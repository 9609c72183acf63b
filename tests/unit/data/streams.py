"""Shards of words that are streamed, by one rank or by several in threads."""

from collections.abc import Sequence
from pathlib import Path
from threading import Barrier, Thread

from tests.unit.data.words import data_of, small_model, small_tokenizer
from turnout.config import CorpusConfig, DataConfig
from turnout.corpora.clips import read_corpora
from turnout.data.epoch import Part
from turnout.data.loader import Loader
from turnout.shards.manifest import Index
from turnout.shards.reading import open_shards

TOKENIZER = small_tokenizer()
CLIPS = 32
"""In the shards."""


def stream_data(*train: CorpusConfig, **changes: object) -> DataConfig:
    settings = {"dev": (), "batch_seconds": 4.0, **changes}
    return data_of("no cuts", train=train, **settings)


def loader(shards: Path, *, rank: int = 0, world: int = 1, gather=None, **changes) -> Loader:
    train = changes.pop("train", (CorpusConfig(shards=str(shards)),))
    clean = changes.pop("clean", False)
    data = stream_data(*train, **changes)
    more = {} if gather is None else {"gather": gather}
    return Loader(
        data, small_model(), TOKENIZER, read_corpora(data.train), seed=1, rank=rank,
        world_size=world, cache_dir=shards / "cache", clean=clean, **more,
    )  # fmt: skip


def ids(batches: Sequence) -> list[str]:
    return [name for batch in batches for name in batch.utterance_ids]


def heard_in(made: Loader, epoch: int = 0) -> list:
    return [b for part in range(made.parts) for b in made.batches(epoch, part=Part(part))]


class Together:
    """What ranks in threads gather."""

    def __init__(self, ranks: int) -> None:
        self.said = [""] * ranks
        self.barrier = Barrier(ranks)

    def of(self, rank: int):
        def gather(text: str) -> list[str]:
            self.said[rank] = text
            self.barrier.wait(30)
            found = list(self.said)
            self.barrier.wait(30)
            return found

        return gather


def on_ranks(ranks: int, work) -> list:
    """What each rank's work gives."""
    together, found = Together(ranks), [None] * ranks

    def run(rank: int) -> None:
        found[rank] = work(rank, together.of(rank))

    threads = [Thread(target=run, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert None not in found, "a rank failed, or the ranks wait for each other"
    return found


def keys_of(made: Loader, part: int) -> list[str]:
    return [turn.key for turn in made._streams.dealing(1).turns(0, part, 0)]


def index_of(folder: Path, name: str) -> Index:
    found = open_shards(str(folder))
    return found.index([entry.name for entry in found.manifest.shards].index(name))
