"""Shards in a store that speaks S3, through s3fs: the same as in a folder, and every trouble is one
line without keys."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.data.words import write_words
from tests.unit.labelling.hearer import Hearer, labelled
from tests.unit.shards.corpus import contents, heard, sharded, shards_of
from tests.unit.shards.s3_server import S3, s3_served
from tests.unit.shards.test_remote import same
from tests.unit.training.test_streamed import config_of, outcome, unfinished
from turnout.cli import main
from turnout.config import AugmentConfig, CorpusConfig, DataConfig, TranscriptionOptions
from turnout.config.sharding import ShardConfig
from turnout.errors import MissingManifest, ShardError, TurnoutError, UsageError
from turnout.evaluation.evaluate import evaluate
from turnout.evaluation.references import read_data
from turnout.shards import remote
from turnout.training.train import train

pytest.importorskip("s3fs", reason="s3fs is not installed")
pytest.importorskip("moto", reason="moto, a loopback store, is not installed")
pytest.importorskip("flask_cors", reason="what moto's server needs is not installed")

ROOT = Path(__file__).parents[3]
PLACE = "s3://bucket/train"


@pytest.fixture(scope="module")
def store() -> Iterator[S3]:
    with s3_served() as found:
        yield found


@pytest.fixture(autouse=True)
def ours(store: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.02, 0.05))
    with_keys(monkeypatch, **store.keys)


def with_keys(monkeypatch: pytest.MonkeyPatch, **keys: str) -> None:
    """Have the store asked anew, with these settings of the environment."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def there(store: S3, made: Path) -> str:
    """The shards, as they should be."""
    for name, data in contents(made).items():
        store.put(f"there/{name}", data)
    return "s3://bucket/there"


def test_killed_and_started_again_the_same_bytes_are_there(
    store: S3, cuts: Path, made: Path
) -> None:
    command = [sys.executable, "-m", "tests.unit.shards.killed_at_address", str(cuts), PLACE, "3"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **store.keys}, check=False)
    assert done.returncode == -9
    before = store.names("train")
    assert sorted(before) == ["shard-000000.index.json", "shard-000000.tar", "shard-000001.tar"]
    sharded(cuts, PLACE)
    assert store.names("train") == contents(made)
    assert same(heard(shards_of(PLACE)), heard(shards_of(made)))


@pytest.mark.parametrize(
    ("length", "lost", "reason"),
    [
        (0, 2, "is cut short: it ends at byte 0"),
        (20_000, 2, "is cut short: it ends at byte 20,000"),
        (40_000, 1, "is cut short: it ends at byte 40,000"),
    ],
)
def test_an_object_that_is_cut_short_costs_its_shard(
    store: S3, there: str, length: int, lost: int, reason: str
) -> None:
    name = "there/shard-000001.tar"
    store.put(name, store.get(name)[:length])
    found = list(shards_of(there).read())
    (error,) = [one for one in found if isinstance(one, ShardError)]
    assert f"{there}/shard-000001.tar: {reason}" in str(error)
    assert error.lost == lost
    assert sum(not isinstance(one, ShardError) for one in found) == 8 - lost


def test_what_begins_behind_the_end_is_cut_short(store: S3, there: str) -> None:
    shards = shards_of(there)
    start, _ = shards.index(1).span(1)
    name = "there/shard-000001.tar"
    store.put(name, store.get(name)[: start - 512])
    with pytest.raises(ShardError, match="is cut short: it ends before what was asked for"):
        shards.opened(1).heard(1)


def test_a_changed_object_costs_one_utterance_and_a_missing_one_its_shard(
    store: S3, there: str
) -> None:
    data = bytearray(store.get("there/shard-000000.tar"))
    data[3000] ^= 1
    store.put("there/shard-000000.tar", bytes(data))
    store.delete("there/shard-000002.tar")
    found = [one for one in shards_of(there).read() if isinstance(one, ShardError)]
    assert [one.lost for one in found] == [1, 2]
    assert "another SHA-256" in str(found[0]) and "there is no such file" in str(found[1])


def test_a_missing_bucket_is_told_and_a_missing_folder_too(cuts: Path) -> None:
    with pytest.raises(MissingManifest, match="s3://bucket/nothing/manifest.json: no such file"):
        shards_of("s3://bucket/nothing")
    for act in (shards_of, lambda address: sharded(cuts, address)):
        with pytest.raises(ShardError) as caught:
            act("s3://buckets/train")
        assert str(caught.value) == "s3://buckets/train: the store has no bucket 'buckets'"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "topsecretkey"}, "the store refused to let us in"),
        ({"AWS_ACCESS_KEY_ID": "topsecretkey"}, "the store refused to let us in"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "http://127.0.0.1:9/bucket/train"),
        ({"AWS_ENDPOINT_URL": "http://me:topsecretkey@127.0.0.1:9"}, "cannot be read"),
    ],
)
def test_who_is_not_let_in_has_one_line_without_keys(
    store: S3,
    cuts: Path,
    changes: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = {name: value for name, value in {**store.keys, **changes}.items() if value}
    with_keys(monkeypatch, **kept, AWS_MAX_ATTEMPTS="1")
    assert main(["shard", str(cuts), "-o", PLACE]) == 1
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1
    assert "topsecretkey" not in said
    assert store.keys["AWS_SECRET_ACCESS_KEY"] not in said


@pytest.mark.parametrize(
    "address", ["s3://key:topsecretkey@bucket/train", "s3://key:topsecret/key@bucket/train"]
)
def test_keys_in_the_address_of_a_bucket_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="keys do not belong into the address") as caught:
        shards_of(address)
    assert "topsecret" not in str(caught.value)


def test_labels_of_shards_in_a_bucket_become_shards_in_it(
    store: S3, there: str, made: Path, tmp_path: Path
) -> None:
    for source, output, place in (
        (there, tmp_path / "there", "s3://bucket/labelled"),
        (str(made), tmp_path / "here", str(tmp_path / "labelled")),
    ):
        report, _ = labelled(source, output, Hearer(), shards=place)
        assert not report.failed
    assert store.names("labelled") == contents(tmp_path / "labelled")


def test_a_run_on_a_bucket_has_the_bits_of_one_on_its_folder(
    store: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = write_words(tmp_path, takes=2)
    sharded(Path(words), tmp_path / "shards", ShardConfig(shard_size=0.03))
    for name, data in contents(tmp_path / "shards").items():
        store.put(f"words/{name}", data)
    unfinished(monkeypatch)
    found = []
    for source in (str(tmp_path / "shards"), "s3://bucket/words"):
        folder = tmp_path / source.rpartition("/")[2]
        train(config_of(Path("x"), folder, data=streamed(source), max_steps=2))
        found.append(outcome(folder)["files"])
    assert found[0] == found[1]


def streamed(address: str) -> DataConfig:
    """The data of a run on shards."""
    corpus = CorpusConfig(shards=address)
    augment = AugmentConfig(telephone_variants=1)
    return DataConfig(train=(corpus,), batch_seconds=3, augment=augment)


def test_scores_of_a_bucket_are_those_of_its_folder(there: str, made: Path) -> None:
    options = TranscriptionOptions(task="transcribe", language="en")
    found, wanted = (read_data([source], 5, options) for source in (there, str(made)))
    assert [one.id for one in found.clips] == [one.id for one in wanted.clips]
    reports = [evaluate(Hearer(), [source], options, limit=5) for source in (there, str(made))]  # type: ignore[arg-type]
    assert reports[0].rows == reports[1].rows
    assert [one.hypothesis for one in reports[0].texts] == ["1 seconds"] * 5


def test_nothing_of_a_store_is_asked_for_without_an_address() -> None:
    with pytest.raises(TurnoutError, match="s3:///train"):
        shards_of("s3:///train")
