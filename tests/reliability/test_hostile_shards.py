"""T8: shards of strangers. Nothing of a tar file ever becomes a file, what is no plain member in
its place is refused in one line, and nothing unpacks to more than was said."""

import json
import tarfile
import time
import tracemalloc
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.reliability.hostile_tars import BLOCK, LABELS, SOUND, hostile, named, padded
from tests.reliability.tally import Tally
from tests.unit.shards.corpus import SMALL, corpus, cut, cuts_file, heard, recording
from turnout.errors import AudioError, ManifestError, ShardError
from turnout.files import sha256_of
from turnout.shards.reading import ShardedClip, open_shards
from turnout.shards.store import open_store
from turnout.shards.tar import END, MemberError, member
from turnout.shards.utterance import read_utterance
from turnout.shards.writing import make_shards

LONGEST_LINE = 600
MOST_SECONDS = 5.0
MOST_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of one utterance of one second."""
    folder = tmp_path_factory.mktemp("made")
    cuts = cuts_file(folder / "cuts.jsonl", cut(recording(folder / "a.wav"), "one"))
    make_shards(cuts, open_store(str(folder / "shards")), SMALL)
    return folder / "shards"


@pytest.fixture(scope="module")
def good(made: Path) -> bytes:
    return (made / "shard-000000.tar").read_bytes()[: -len(END)]


def forge(made: Path, folder: Path, block: bytes) -> None:
    """A shard of other bytes, with the index and manifest that a stranger would write to them."""
    (folder / "shard-000000.tar").write_bytes(block + END)
    index = json.loads((made / "shard-000000.index.json").read_text())
    index |= {"bytes": len(block) + len(END), "digests": [sha256_of(block)]}
    written = json.dumps(index).encode()
    (folder / "shard-000000.index.json").write_bytes(written)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["shards"][0] |= {
        "bytes": len(block) + len(END), "index_bytes": len(written),
        "index_sha256": sha256_of(written),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.counts("T8", "shards")
def test_no_hostile_member_is_taken_or_becomes_a_file(
    made: Path, good: bytes, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, here = tmp_path / "shards", tmp_path / "here"
    shards.mkdir(), here.mkdir()
    monkeypatch.chdir(here)
    forge(made, shards, good)
    assert len(heard(open_shards(str(shards)))) == 1
    accepted = 0
    for what, block in hostile(good):
        accepted += listed(block)
        with tally.trial(what):
            forge(made, shards, padded(block))
            begin = time.process_time()
            (error,) = open_shards(str(shards)).read()
            assert isinstance(error, ShardError), "it was taken"
            assert error.lost == 1
            assert "\n" not in str(error) and len(str(error)) < LONGEST_LINE, str(error)
            assert time.process_time() - begin < MOST_SECONDS
            assert not list(here.iterdir())
            assert len(list(shards.iterdir())) == 3
            assert len(list(tmp_path.iterdir())) == 2
    # Python's own reader takes many of them for what they say they are.
    tally.measure(taken_by_tarfile=accepted)
    tally.controlled(accepted > 20)


def listed(block: bytes) -> bool:
    """Whether Python's reader finds as many members as there should be, or more."""
    try:
        with tarfile.open(fileobj=BytesIO(block + END), mode="r:") as tar:
            return len(tar.getmembers()) >= 2
    except (tarfile.TarError, ValueError):
        return False


BAD: dict[str, list[Any]] = {
    "id": [None, 3], "text": [None, ["a"], 7], "language": [None, {}], "speaker": [3, []],
    "bandwidth": ["wide", 1], "translations": ["de", [1], {"de": 3}], "domain": ["../x"],
    "split": [1, {}], "native_rate": ["x", -1, 1e12], "recording": [None, 1],
    "start": [None, -1, "0", 1e300, True, float("nan"), float("inf"), 10**400],
    "duration": [None, -1, float("nan")], "channel": [-1, 1.5, "x", 10**12],
    "recording_duration": [None, "x"], "samples": [0, 1, 15999, 16001, 10**9, None, "many"],
    "sound": [None, "json", "../x", "FLAC", "x" * 9, ""], "form": [None, 1],
    "scale": [None, -1, float("nan"), 1e30, "x"],
}  # fmt: skip


def parts(good: bytes) -> tuple[dict[str, Any], bytes]:
    """The labels and the sound."""
    with tarfile.open(fileobj=BytesIO(good + END)) as tar:
        labels, sound = (tar.extractfile(name) for name in (LABELS, SOUND))
        assert labels is not None and sound is not None
        return json.loads(labels.read()), sound.read()


def refused(block: bytes) -> str:
    """Why these bytes are no utterance of a second."""
    try:
        read_utterance(memoryview(block), 0, 16000, "shard-000000.tar")
    except (MemberError, AudioError, ManifestError) as error:
        return str(error)
    raise AssertionError("they were taken")


@pytest.mark.counts("T8", "labels of shards")
def test_labels_that_cannot_be_are_refused(good: bytes, tally: Tally) -> None:
    labels, sound = parts(good)
    read_utterance(memoryview(good), 0, 16000, "here")
    for name, values in BAD.items():
        for value in values:
            with tally.trial(f"{name} {value!r:.40}"):
                written = json.dumps({**labels, name: value}).encode()
                reason = refused(member(LABELS, written) + member(SOUND, sound))
                assert "\n" not in reason and len(reason) < LONGEST_LINE
    for text in (b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b"{}", b'{"id": ' * 10_000):
        with tally.trial(f"{text[:20]!r}"):
            refused(member(LABELS, text) + member(SOUND, sound))
    with tally.trial("huge"):
        huge = json.dumps({**labels, "text": "x" * 2**23}).encode()
        refused(member(LABELS, huge) + member(SOUND, sound))


def silence(seconds: int) -> bytes:
    file = BytesIO()
    soundfile.write(file, np.zeros(seconds * 16000, np.int16), 16000, format="FLAC")
    return file.getvalue()


@pytest.mark.counts("T8", "bombs in shards")
def test_sound_that_unpacks_to_more_than_was_said_is_stopped(good: bytes, tally: Tally) -> None:
    labels, _ = parts(good)
    hour = silence(3600)
    tally.measure(bytes=len(hour))
    for form in ("flac", "opus", "kept"):
        with tally.trial(form):
            written = json.dumps({**labels, "form": form, "whole": True}).encode()
            block = member(LABELS, written) + member(SOUND, hour)
            tracemalloc.start()
            begin = time.process_time()
            reason = refused(block)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert "longer than the allowed" in reason
            assert peak < MOST_BYTES
            assert time.process_time() - begin < MOST_SECONDS


def mutated(good: bytes, random: Random) -> bytes:
    """Some bytes changed, blocks taken out, doubled or in another order."""
    data = bytearray(good)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data))
        kind = random.randrange(4)
        if kind == 0:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[at : at + random.randint(1, 600)] = random.randbytes(random.randint(0, 600))
        elif kind == 2:
            data = data[:at] + named("../x" * random.randint(1, 30), bytes(at % BLOCK)) + data[at:]
        else:
            del data[at : at + BLOCK * random.randint(1, 3)]
        data = data or bytearray(1)
    return bytes(data)


@pytest.mark.counts("T8", "mutated shards")
def test_mutated_utterances_are_read_or_refused_and_nothing_else(good: bytes, tally: Tally) -> None:
    random = tally.random("mutations")
    refusals = 0
    for number in range(tally.size(400, 20_000)):
        with tally.trial(str(number)):
            block = mutated(good, random)
            try:
                found = read_utterance(memoryview(block), 0, 16000, "here")
                assert len(found.samples) == 16000
                assert np.isfinite(found.samples).all()
            except (MemberError, AudioError, ManifestError) as error:
                refusals += 1
                assert "\n" not in str(error)
    tally.measure(refused=refusals)


@pytest.mark.counts("T8", "a hostile shard among good ones")
def test_the_others_go_on(good: bytes, tmp_path: Path, tally: Tally) -> None:
    make_shards(corpus(tmp_path), open_store(str(tmp_path / "shards")), SMALL)
    path = tmp_path / "shards" / "shard-000001.tar"
    blocks = list(hostile(good))
    for what, block in blocks[:: max(1, len(blocks) // tally.size(10, len(blocks)))]:
        with tally.trial(what):
            path.write_bytes(block + END)
            found = list(open_shards(str(tmp_path / "shards")).read())
            errors = [one for one in found if isinstance(one, ShardError)]
            assert sum(one.lost for one in errors) == 2
            assert sum(isinstance(one, ShardedClip) for one in found) == 6
