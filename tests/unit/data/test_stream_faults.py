"""Shards that are broken, missing, silent, or cannot be learned from."""

import gzip
import json
from pathlib import Path
from time import monotonic

import pytest

from tests.unit.data.streams import (
    CLIPS,
    heard_in,
    ids,
    index_of,
    keys_of,
    loader,
    on_ranks,
    stream_data,
)
from tests.unit.shards.corpus import sharded
from tests.unit.shards.range_server import serving
from turnout.config import CorpusConfig, DataConfig
from turnout.data import hearing
from turnout.data.epoch import Part
from turnout.data.examples import NOTHING
from turnout.data.stream import texts_of
from turnout.errors import ConfigError, ShardError, TrainingError, amount
from turnout.shards.reading import open_shards


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
    return gzip.decompress(Path(cuts).read_bytes()).decode().splitlines()


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
