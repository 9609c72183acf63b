"""Ranks with disks of their own end up with the same clips."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import soundfile

from tests.unit.data.words import word, write_words
from turnout.config import FeatureConfig
from turnout.corpora.clips import Clip, read_clips
from turnout.data.common_clips import Gather, alone, with_common_clips
from turnout.data.store import FeatureStore, open_store
from turnout.data.variants import VariantConfig

CONFIG = VariantConfig(features=FeatureConfig(), telephone_variants=1, narrowband=True, trim=True)


class Meeting:
    """The gathering of two threads that stand for two ranks."""

    def __init__(self) -> None:
        self._barrier = Barrier(2, timeout=60)
        self._texts = ["", ""]

    def of(self, rank: int) -> Gather:
        """What one of them calls."""

        def gather(text: str) -> list[str]:
            self._texts[rank] = text
            self._barrier.wait()
            texts = list(self._texts)
            self._barrier.wait()
            return texts

        return gather


def together(stores: list[FeatureStore]) -> list[FeatureStore]:
    """What the two agree on."""
    meeting = Meeting()
    with ThreadPoolExecutor(2) as pool:
        return list(
            pool.map(lambda rank: with_common_clips(stores[rank], meeting.of(rank)), range(2))
        )


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two disks with the same eight recordings."""
    write_words(tmp_path / "0", takes=1)
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    return [tmp_path / "0", tmp_path / "1"]


def stores_of(folders: list[Path]) -> list[FeatureStore]:
    stores = []
    for folder in folders:
        clips = read_clips(folder / "cuts.jsonl.gz")
        moved = [Clip(**{**vars(c), "path": str(folder / Path(c.path).name)}) for c in clips]
        stores.append(open_store(moved, CONFIG, folder / "store"))
    return stores


def ids(store: FeatureStore) -> list[str]:
    return [clip.id for clip in store.clips]


def test_what_is_the_same_stays_as_it_is(folders: list[Path]) -> None:
    store = stores_of(folders[:1])[0]
    assert with_common_clips(store, alone) is store
    one, two = together([store, store])
    assert one is store
    assert two is store


def test_what_one_lacks_or_has_otherwise_all_leave_out(folders: list[Path]) -> None:
    (folders[1] / "dos-0-0.wav").unlink()
    (folders[0] / "tres-1-0.wav").write_bytes(b"no audio")
    quiet = word("uno", 110.0)
    quiet[:8000] = 0.0
    soundfile.write(folders[1] / "uno-0-0.wav", quiet, 16_000)
    stores = stores_of(folders)
    one, two = together(stores)
    assert ids(one) == ids(two)
    assert set(ids(stores[0])) - set(ids(one)) == {"dos-0-0", "uno-0-0"}
    assert one.left_out == two.left_out
    assert [line.partition("/")[0] for line in one.left_out[1:]] == [
        "rank 1: ", "uno-0-0: is not the same on every rank",
    ]  # fmt: skip
    assert "tres-1-0.wav" in one.left_out[0]
    assert "dos-0-0.wav" in one.left_out[1]
    assert one.digest == two.digest
    assert one.digest not in (stores[0].digest, stores[1].digest)
    place = ids(stores[0]).index("cuatro-1-0")
    kept = ids(one).index("cuatro-1-0")
    np.testing.assert_array_equal(
        one.variant(kept, 1).log_power, stores[0].variant(place, 1).log_power
    )
    np.testing.assert_array_equal(one.floors[kept], stores[0].floors[place])
    assert (one.offsets[kept] >= 0).sum() == 2


def test_the_first_ranks_order_is_everybodys(folders: list[Path]) -> None:
    first, second = stores_of(folders)
    backwards = second.subset(range(len(second.clips))[::-1])
    one, two = together([first, backwards])
    assert ids(one) == ids(two) == ids(first)
