"""T7: checkpoints, runs and stored features with code in them: none is ever run, and what cannot be
used is refused in one line."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.reliability.canaries import NESTED, Canary, Miners, Song, array_file, arrays_file
from tests.reliability.tally import Tally
from tests.unit.data.words import write_words
from tests.unit.training.toy import toy_config
from turnout.config import FeatureConfig
from turnout.corpora.clips import read_clips
from turnout.data.store import FeatureStore, open_store
from turnout.data.variants import VariantConfig
from turnout.files import sha256_of
from turnout.model.build import build_model
from turnout.model_folder import WEIGHTS, ModelFolder, resolve, write_folder
from turnout.training.checkpoints import MANIFEST, Checkpoints, digest_of, read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.log import silent
from turnout.training.run_folder import RUN, TOKENIZER, check_configuration, write_run
from turnout.training.train import run_tokenizer, start_from


@pytest.mark.counts("T7", "checkpoints")
def test_checkpoints_with_pickles(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, pickles = Miners(tally, canary), canary.pickles()
    checkpoints = Checkpoints(tmp_path, Ranks(open_fabric(toy_config(tmp_path))))
    checkpoints.save(1, {"weights/a": torch.ones(3)}, {})
    folder = checkpoints.path(1)
    manifest = json.loads((folder / MANIFEST).read_text())
    rank = manifest["files"][0]["name"]

    def signed(**changes: object) -> bytes:
        """A manifest whose own digest is right."""
        content = {key: value for key, value in manifest.items() if key != "digest"} | changes
        return json.dumps({**content, "digest": digest_of(content)}).encode()

    for kind, data in pickles.items():
        (folder / rank).write_bytes(data)
        (folder / MANIFEST).write_bytes(signed(files=[{"name": rank, "sha256": sha256_of(data)}]))
        miners.refuse(f"rank file is {kind}", rank, read_checkpoint, folder)
    hostile = {
        "is pickle": pickles["pickle"],
        "is nested deeply": NESTED,
        "has no files": signed(files=None),
        "has files that are none": signed(files=["os.mkdir"]),
        "has a file without a name": signed(files=[{"py/reduce": "os.mkdir"}]),
        "has another format": signed(format="pickle"),
        "has fields that are none": signed(fields=str(canary.path)),
    }
    for kind, data in hostile.items():
        (folder / MANIFEST).write_bytes(data)
        miners.refuse(f"manifest {kind}", MANIFEST, read_checkpoint, folder)
    (folder / MANIFEST).unlink()
    (folder / ".metadata").write_bytes(pickles["pickle"])
    (folder / "__0_0.distcp").write_bytes(pickles["torch's zip"])
    miners.refuse("one of torch's distributed ones", MANIFEST, read_checkpoint, folder)
    miners.control(metadata=lambda: pickle.loads((folder / ".metadata").read_bytes()))


@pytest.mark.counts("T7", "folders of runs")
def test_runs_with_pickles(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, pickles, config = Miners(tally, canary), canary.pickles(), toy_config(tmp_path)
    ranks = Ranks(open_fabric(config))
    for kind in ("pickle", "pickle of protocol 0", "torch's zip"):
        # As of a run that noted no digest of its own.
        write_run(tmp_path / RUN, {"config": {}})
        (tmp_path / TOKENIZER).write_bytes(pickles[kind])
        miners.refuse(
            f"{TOKENIZER} is {kind}", "tokenizer", run_tokenizer, config, {}, tmp_path, ranks
        )
    for kind, data in {**pickles, "nested deeply": NESTED, "a list": b"[]"}.items():
        (tmp_path / RUN).write_bytes(data)
        miners.refuse(f"{RUN} is {kind}", RUN, check_configuration, config, tmp_path, ranks, silent)
    shipped = ModelFolder.open(resolve("commands"))
    write_folder(tmp_path / "first", {**shipped.files(), WEIGHTS: pickles["torch's zip"]})
    model = build_model(shipped.config)
    miners.refuse("init_from", WEIGHTS, start_from, str(tmp_path / "first"), model, silent)
    miners.control(tokenizer=lambda: torch.load(tmp_path / TOKENIZER, weights_only=False))


def hostile_stores(store: FeatureStore, canary: Canary) -> dict[tuple[str, str], bytes]:
    """The file of a store that is another, and what it is."""
    pickles, songs = canary.pickles(), np.array([Song(str(canary.path))], dtype=object)
    arrays = {"offsets": store.offsets, "floors": store.floors, "counts": store.counts}
    return {
        ("index.npz", "pickle"): pickles["pickle"],
        ("index.npz", "torch's zip"): pickles["torch's zip"],
        ("index.npz", "one array of objects"): array_file(songs),
        ("index.npz", "a zip that is none"): b"PK\x03\x04" + pickles["pickle"],
        ("index.npz", "without arrays"): arrays_file(),
        ("left_out.json", "pickle"): pickles["pickle of protocol 0"],
        ("left_out.json", "nested deeply"): NESTED,
        ("left_out.json", "a list"): b"[]",
        **{
            ("index.npz", f"objects for {name}"): arrays_file(**{**arrays, name: songs})
            for name in arrays
        },
    }


@pytest.mark.counts("T7", "feature stores")
def test_feature_stores_with_pickles(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, cache = Miners(tally, canary), tmp_path / "cache"
    clips = read_clips(write_words(tmp_path / "words", takes=1, speakers=1))
    config = VariantConfig(
        features=FeatureConfig(), telephone_variants=0, narrowband=False, trim=True
    )
    store = open_store(clips, config, cache)
    (folder,) = cache.glob("mel-*/")
    hostile = hostile_stores(store, canary)
    for (name, kind), data in hostile.items():
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(data)
        miners.refuse(f"{name} is {kind}", folder.name, open_store, clips, config, cache)
        (folder / name).write_bytes(before)
    with miners.down("a store that is whole"):
        assert len(open_store(clips, config, cache).clips) == len(clips)

    def unpickle() -> None:
        (folder / "index.npz").write_bytes(hostile["index.npz", "objects for counts"])
        with np.load(folder / "index.npz", allow_pickle=True) as index:
            assert len(index["counts"]) == 1

    miners.control(objects=unpickle)
