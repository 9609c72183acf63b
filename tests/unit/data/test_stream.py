import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.streams import CLIPS, TOKENIZER, heard_in, ids, loader, on_ranks, stream_data
from tests.unit.data.test_loader import same
from tests.unit.data.words import small_model
from turnout.config import AugmentConfig, ChannelConfig, CorpusConfig, FeatureConfig
from turnout.corpora.clips import read_clips
from turnout.data import hearing
from turnout.data.channel import open_channel
from turnout.data.epoch import Dealing, Part, Streamed, evened
from turnout.data.hearing import Hearer
from turnout.data.store import open_store
from turnout.data.variants import VariantConfig
from turnout.errors import ShardError
from turnout.shards.reading import Shards, open_shards


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
