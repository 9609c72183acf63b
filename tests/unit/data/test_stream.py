import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread
from time import monotonic

import numpy as np
import pytest

from tests.unit.data.test_loader import same
from tests.unit.data.words import data_of, small_model, small_tokenizer, write_words
from tests.unit.shards.corpus import sharded
from tests.unit.shards.range_server import serving
from turnout.config import AugmentConfig, ChannelConfig, CorpusConfig, DataConfig, FeatureConfig
from turnout.config.sharding import ShardConfig
from turnout.corpora.clips import read_clips, read_corpora
from turnout.data import epoch as epochs
from turnout.data import hearing
from turnout.data.channel import open_channel
from turnout.data.epoch import Dealing, Part, Streamed, evened
from turnout.data.examples import NOTHING
from turnout.data.hearing import Hearer
from turnout.data.loader import Loader
from turnout.data.store import open_store
from turnout.data.stream import texts_of
from turnout.data.variants import VariantConfig
from turnout.errors import ConfigError, ShardError, TrainingError, amount
from turnout.shards.manifest import Index
from turnout.shards.reading import Shards, open_shards

TOKENIZER = small_tokenizer()
CLIPS = 32


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_words(tmp_path_factory.mktemp("audio"), takes=4)


@pytest.fixture(scope="module")
def made(cuts: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    assert len(sharded(Path(cuts), folder, ShardConfig(shard_size=0.03)).shards) > 9
    return folder


@pytest.fixture
def shards(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may break; parts of an epoch are of two shards a rank."""
    monkeypatch.setattr(epochs, "SHARDS_AT_ONCE", 2)
    for path in made.glob("[!.]*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def stream_data(*train: CorpusConfig, **changes: object) -> DataConfig:
    settings = {"dev": (), "batch_seconds": 4.0, **changes}
    return data_of("", train=train, **settings)


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


def test_an_epoch_hears_every_utterance_once_and_another_in_another_order(shards: Path) -> None:
    stream = loader(shards)
    assert stream.parts > 3
    batches = [heard_in(stream, epoch) for epoch in (0, 1)]
    assert not any(batch.lost for batch in batches[0])
    for number, found in enumerate(batches):
        assert sorted(ids(found)) == sorted(f"{number}/0/{n}" for n in range(CLIPS))
    first, second = ([n.rpartition("/")[2] for n in ids(found)] for found in batches)
    assert first != second
    # What is heard of the same utterance is another thing in another epoch.
    assert batches[0][0].log_mel.shape[0] > 1
    lengths = [batch.frame_mask.sum(dim=1) for batch in batches[0]]
    assert all(int(frames.max()) * len(frames) <= 400 for frames in lengths)


def test_reading_begins_anywhere_at_the_same_cost(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(loader(shards).batches(3, part=Part(2)))
    assert len(whole) > 1
    asked: list[int] = []
    index, read = Shards.index, hearing.read_listed
    monkeypatch.setattr(Shards, "index", lambda self, n: asked.append(n) or index(self, n))
    heard: list[int] = []
    monkeypatch.setattr(
        hearing, "read_listed", lambda s, n, one: heard.append(one.number) or read(s, n, one)
    )
    begun = list(loader(shards).batches(3, len(whole) - 1, part=Part(2)))
    assert same(begun, whole[-1:])
    assert (len(asked), len(heard)) == (2, len(whole[-1].utterance_ids))
    # At step 100,000 as at the first.
    asked.clear()
    assert loader(shards).plan(20_000, part=Part(3))
    assert len(asked) == 2


def test_another_process_makes_the_same_of_it(shards: Path) -> None:
    stream = loader(shards)
    alone = list(stream.batches(1, part=Part(1)))
    sent = pickle.loads(pickle.dumps(stream._make))
    assert same([sent((1, batch)) for batch in stream.plan(1, part=Part(1))], alone)


@pytest.mark.parametrize("channel", [None, ChannelConfig(codecs=("mulaw", "gsm"), noise=0.0)])
def test_features_are_those_of_the_store_to_the_bit(
    channel: ChannelConfig | None, cuts: str, shards: Path, tmp_path: Path
) -> None:
    settings = VariantConfig(
        features=FeatureConfig(), telephone_variants=2, narrowband=True, trim=False,
        channel=channel and open_channel(channel), window_seconds=30.0,
    )  # fmt: skip
    store = open_store(read_clips(cuts)[::5], settings, tmp_path / "store")
    places = {clip.id: place for place, clip in enumerate(store.clips)}
    data = stream_data(CorpusConfig(shards=str(shards)), augment=AugmentConfig(channel=channel))
    hearer = Hearer(0, data, small_model(), TOKENIZER, settings, seed=1)
    compared = 0
    for one in hearer.heard(streamed(shards)):
        assert not isinstance(one, ShardError), str(one)
        place = places.get(one.clips[0].id)
        for number in settings.numbers(one.clips[0]) if place is not None else ():
            stored, now = store.variant(place, number), one.variant(0, number)
            assert np.array_equal(stored.log_power, now.log_power)
            assert np.array_equal(stored.floor, now.floor)
            compared += 1
    assert compared == len(store.clips) * (3 if channel is None else 5)


def streamed(folder: Path) -> list[Streamed]:
    found = open_shards(str(folder))
    return [
        Streamed(0, 0, entry.name, index.listed(place))
        for number, entry in enumerate(found.manifest.shards)
        for index in [found.index(number)]
        for place in range(entry.utterances)
    ]


def test_what_is_planned_is_what_is_heard(shards: Path) -> None:
    stream = loader(shards, augment=AugmentConfig(empty=0.0))
    planned = [stream._streams.streams[0]._frames(one) for one in streamed(shards)]
    hearer = stream._make._hearers[0]
    heard = [one.planned.shape.num_frames for one in hearer.heard(streamed(shards))]
    assert planned == heard
    assert len(set(planned)) > 10


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_hear_different_shards_in_as_many_steps(ranks: int, shards: Path) -> None:
    def work(rank: int, gather) -> list[list[list[str]]]:
        mine = loader(shards, rank=rank, world=ranks, gather=gather)
        parts = [Part(part) for part in range(mine.parts)]
        return [[b.utterance_ids for b in mine.batches(0, part=part)] for part in parts]

    everybody = on_ranks(ranks, work)
    assert len({tuple(map(len, parts)) for parts in everybody}) == 1
    heard = [{name for part in parts for batch in part for name in batch} for parts in everybody]
    assert all(not one & other for one, other in pairwise(heard))
    assert len(set.union(*heard)) > 0.7 * CLIPS
    assert all(len(one) > 0.5 * CLIPS / ranks for one in heard)


def test_every_shard_has_its_turn_however_the_ranks_divide_them() -> None:
    for ranks, shards, an_epoch in [(1, 10, 10), (4, 10, 10), (3, 100, 250), (4, 3, 3), (2, 9, 4)]:
        dealing = Dealing(5, {0: (shards, an_epoch)}, ranks)
        dealt = [
            [dealing.turns(epoch, part, rank) for rank in range(ranks)]
            for epoch in range(9)
            for part in range(dealing.parts)
        ]
        counts = [{len(turns) for turns in part} for part in dealt]
        assert all(len(count) == 1 for count in counts), (ranks, shards)
        turns = [turn for part in dealt for rank in part for turn in rank]
        if an_epoch >= ranks:
            assert len(set(turns)) == len(turns)
            first = [turn for turn in turns if turn.hearing == 0]
            assert {turn.shard for turn in first} == set(range(shards))


def test_two_streams_are_dealt_side_by_side() -> None:
    dealing = Dealing(5, {0: (20, 20), 2: (7, 14)}, 2)
    turns = [[dealing.turns(0, p, rank) for p in range(dealing.parts)] for rank in range(2)]
    assert [list(map(len, rank)) for rank in turns] == [[8, 9], [8, 9]]
    heard = {turn for rank in turns for part in rank for turn in part}
    assert heard == {(0, 0, n) for n in range(20)} | {(2, h, n) for h in (0, 1) for n in range(7)}


def test_batches_are_evened_by_the_longest() -> None:
    assert evened([[1], [2], [3]], 5) == [[1], [2], [3], [2], [3]]
    assert evened([[1]], 4) == [[1]] * 4
    assert evened([[1], [2]], 2) == [[1], [2]]
    assert evened([], 2) == [[], []]


def test_a_broken_shard_is_told_counted_and_left_out(shards: Path) -> None:
    names = [entry.name for entry in open_shards(str(shards)).manifest.shards]
    whole = {name: len(index_of(shards, name).numbers) for name in names}
    cut_short, missing, unlisted = shards / names[0], shards / names[1], shards / names[2]
    cut_short.write_bytes(cut_short.read_bytes()[: index_of(shards, names[0]).span(0)[1]])
    missing.unlink()
    (shards / names[2].replace(".tar", ".index.json")).unlink()
    stream = loader(shards)
    batches, unread = [], []
    for part in range(stream.parts):
        batches += stream.batches(0, part=Part(part))
        unread += stream.unread
    lost = [line for batch in batches for line in batch.lost]
    assert len(lost) == whole[names[0]] - 1 + whole[names[1]]
    assert any(f"{names[0]}: is cut short" in line for line in lost)
    assert any(f"{names[1]}: cannot be read (No such file" in line for line in lost)
    (one,) = unread
    assert one.utterances == whole[names[2]]
    assert f"left out of it: {amount(one.utterances, 'utterance')}" in one.line
    assert unlisted.name.replace(".tar", ".index.json") in one.line
    heard = [name for name in ids(batches) if name != NOTHING]
    assert len(heard) == CLIPS - len(lost) - one.utterances
    # Where it was left out once, it stays so.
    again = loader(shards)
    part = next(p for p in range(stream.parts) if one.key in keys_of(stream, p))
    assert again.plan(0, part=Part(part, (one.key,))) == loader(shards).plan(0, part=Part(part))
    assert again.unread == ()


def keys_of(made: Loader, part: int) -> list[str]:
    return [turn.key for turn in made._streams.dealing(1).turns(0, part, 0)]


def index_of(folder: Path, name: str) -> Index:
    found = open_shards(str(folder))
    return found.index([entry.name for entry in found.manifest.shards].index(name))


def test_a_rank_without_anything_keeps_step_with_the_others(shards: Path) -> None:
    def work(rank: int, gather) -> list[list[str]]:
        mine = loader(shards, rank=rank, world=2, gather=gather)
        if rank:
            for turn in mine._streams.dealing(2).turns(0, 0, 1):
                (shards / f"shard-{turn.shard:06d}.index.json").unlink()
        gather("")
        batches = list(mine.batches(0))
        assert len(mine.unread) == 2, mine.unread
        return [list(batch.utterance_ids) for batch in batches]

    ours, theirs = on_ranks(2, work)
    assert theirs == [[NOTHING]] * len(ours)
    assert [NOTHING] not in ours


def test_a_part_that_is_gone_is_passed_and_the_next_one_heard(shards: Path) -> None:
    stream = loader(shards, clean=True)
    for key in keys_of(stream, 1):
        (shards / f"shard-{int(key.split('/')[2]):06d}.index.json").unlink()
    (batch,) = stream.batches(0, part=Part(1))
    assert (batch.utterance_ids, batch.texts, batch.lost) == ((NOTHING,), ("",), ())
    assert batch.clean is not None
    assert len(stream.unread) == 2
    assert NOTHING not in ids(stream.batches(0, part=Part(2)))
    for path in shards.glob("*.index.json"):
        path.unlink()
    with pytest.raises(
        TrainingError, match=r"3 parts of an epoch in a row .* \(.*index.json: cannot"
    ):
        heard_in(stream, 1)


def test_shards_on_the_web_are_those_of_the_folder_and_a_silent_one_is_left_out(
    shards: Path,
) -> None:
    names = index_of(shards, silent := "shard-000003.tar").numbers
    alone = ids(heard_in(loader(shards)))
    with serving(shards) as served:
        served.wrong[silent] = "silent"
        train = (CorpusConfig(shards=served.address),)
        started = monotonic()
        batches = heard_in(loader(shards, train=train, worker_timeout=10.0))
        assert monotonic() - started < 20
    lost = [line for batch in batches for line in batch.lost]
    assert len(lost) == len(names)
    assert any("did not answer within 1 s" in line for line in lost)
    silenced = {f"0/0/{number}" for number in names}
    assert [name for name in ids(batches) if name != NOTHING] == [
        name for name in alone if name not in silenced
    ]


def test_a_store_that_is_gone_ends_the_run_with_a_line(shards: Path) -> None:
    stream = loader(shards, epoch_hours=1.0)
    for path in shards.glob("*.tar"):
        path.unlink()
    with pytest.raises(TrainingError, match=r"10 batches in a row .* cannot be read"):
        heard_in(stream)


def test_a_silent_store_is_not_waited_for_again(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    silent = "shard-000001.tar"

    def read(store, shard: str, listed):
        asked.append(shard)
        if shard == silent:
            raise ShardError(f"{shard}: the store did not answer within 30 s", silent=True)
        return original(store, shard, listed)

    original = hearing.read_listed
    monkeypatch.setattr(hearing, "read_listed", read)
    monkeypatch.setattr(hearing, "AT_ONCE", 1)
    stream = loader(shards)
    lost = [line for batch in heard_in(stream) for line in batch.lost]
    assert len(lost) == len(index_of(shards, silent).numbers) > 1
    assert asked.count(silent) == 1
    monkeypatch.setattr(hearing, "SHARE_OF_A_BATCH", 0.0)
    slow = next(loader(shards).batches(0))
    assert slow.utterance_ids == (NOTHING,)
    assert "the store is too slow" in slow.lost[0]


def test_texts_for_a_tokenizer_are_not_waited_for_without_end(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "SHARE_OF_A_READ", 0.5)
    whole = list(texts_of(str(shards), stream_data()))
    silent = len(index_of(shards, "shard-000001.tar").numbers)
    with serving(shards) as served:
        served.wrong["shard-000001.tar"] = "silent"
        texts = list(texts_of(served.address, stream_data(worker_timeout=8.0)))
        assert len(texts) == len(whole) - 2 * silent
        served.wrong |= dict.fromkeys((path.name for path in shards.glob("*.json")), "silent")
        del served.wrong["manifest.json"]
        reason = (
            r"within 1 s: shards were waited for longer than data.worker_timeout \(2 s\) in all"
        )
        with pytest.raises(ShardError, match=reason):
            list(texts_of(served.address, stream_data(worker_timeout=2.0)))


def test_what_cannot_be_learned_from_is_told(cuts: str, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in _lines(cuts)[:6]]
    lines[0]["supervisions"][0]["custom"]["split"] = "test"
    lines[1]["supervisions"][0]["language"] = "fr"
    lines[2]["supervisions"][0]["text"] = "uno " * 50
    (tmp_path / "cuts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sharded(tmp_path / "cuts.jsonl", tmp_path / "made")
    batches = heard_in(loader(tmp_path / "made"))
    said = "\n".join(line for batch in batches for line in batch.lost)
    assert said.count("\n") == 2
    for reason in ("is of a test split", "is spoken in fr", "199 characters in 1.00 s"):
        assert reason in said
    texts = list(texts_of(str(tmp_path / "made"), stream_data()))
    assert "test" not in texts
    assert len(texts) == 2 * 5


def _lines(cuts: str) -> list[str]:
    import gzip

    return gzip.decompress(Path(cuts).read_bytes()).decode().splitlines()


def test_sources_are_mixed_by_weight(cuts: str, shards: Path) -> None:
    def counts(*train: CorpusConfig, **more: object) -> list[int]:
        made = loader(shards, train=train, **more)
        plans = [made.plan(0, part=Part(part)) for part in range(made.parts)]
        found = [one for plan in plans for batch in plan for one in batch]
        assert len({id(one) for one in found}) == len(found)
        return [sum(one.corpus == number for one in found) for number in range(len(train))]

    stream, store = CorpusConfig(shards=str(shards)), CorpusConfig(cuts=cuts)
    assert counts(stream, store) == [CLIPS, CLIPS]
    halved, doubled = replace(store, weight=0.5), replace(stream, weight=2.0)
    assert counts(halved, doubled) == [CLIPS // 2, 2 * CLIPS]
    mixed = loader(shards, train=(stream, store)).batches(0)
    assert {"0", "1"} in [{name.split("/")[1] for name in b.utterance_ids} for b in mixed]
    # An hour of one-second clips, as much of each.
    streamed, stored = counts(stream, store, epoch_hours=0.05)
    assert abs(streamed - 90) < 12
    assert abs(stored - 90) < 3


def test_what_cannot_go_with_shards_is_one_line(cuts: str, shards: Path) -> None:
    for wrong, said in [
        ({"join": True}, "join chooses among all utterances"),
        ({"pack": True}, "pack chooses among all utterances"),
        ({"cuts": cuts}, "are two corpora"),
    ]:
        with pytest.raises(ConfigError, match=said):
            CorpusConfig(shards=str(shards), **wrong)
    for secret in ("s3://user:word@bucket/a", "https://host/a?word=1"):
        with pytest.raises(ConfigError, match="has a user, a password or a query") as error:
            CorpusConfig(shards=secret)
        assert "word=" not in str(error.value)
        assert "user:" not in str(error.value)
    with pytest.raises(ConfigError, match=r"data\.dev names shards"):
        DataConfig(dev=(CorpusConfig(shards=str(shards)),))


def test_ranks_with_other_shards_or_too_few_of_them_are_told(
    shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader(shards, world=40, gather=lambda text: [text] * 40)
    (said,) = caplog.messages
    assert "shards for 40 ranks: some hear the same ones" in said

    def gather(text: str) -> list[str]:
        return [text, "another"]

    with pytest.raises(TrainingError, match="the ranks found different manifests"):
        loader(shards, world=2, gather=gather)
