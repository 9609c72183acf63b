"""The variants of every clip, computed once and memory-mapped.

One file of frames, and an index of where each variant of each clip lies. A store is written whole
or not at all, and named by a digest of all that it depends on.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.corpora.clips import Clip, ClipReader
from turnout.data.variants import Variant, VariantConfig, variants_of
from turnout.data.workers import KILLED, end_with_parent, new_processes, signals_held
from turnout.errors import AudioError, StorageError, TrainingError
from turnout.files import locked, remove_leftovers, whole_folder
from turnout.progress import progress

STORE_FORMAT = 2
"""Of a store's files, and of how what they hold is computed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """The clips that could be read, with their stored arrays."""

    folder: Path
    """Where the arrays lie."""
    rows: NDArray[np.int64]
    """[clips]: each one's row of the folder's index."""
    clips: tuple[Clip, ...]
    frames: NDArray[np.float16]
    """[all frames, mels], memory-mapped."""
    floors: NDArray[np.float16]
    """[clips, most variants, mels]"""
    offsets: NDArray[np.int64]
    """[clips, most variants]: first frame; -1 where a clip has no variant of that number."""
    counts: NDArray[np.int64]
    """[clips]: frames, the same for each variant."""
    left_out: tuple[str, ...]
    """One line for each clip that could not be read."""
    digest: str

    def __getstate__(self) -> dict[str, Any]:
        """Where the arrays lie, not what they hold: a new process maps them again."""
        kept = {name: getattr(self, name) for name in ("rows", "clips", "left_out", "digest")}
        return {**kept, "folder": self.folder.absolute()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = read_arrays(state["folder"]).of(state["rows"])
        vars(self).update(state, **arrays._asdict())

    def variant(self, clip: int, number: int) -> Variant:
        """One variant of one clip."""
        first = self.offsets[clip, number]
        frames = self.frames[first : first + self.counts[clip]]
        return Variant(frames, self.floors[clip, number])

    def subset(self, clips: Sequence[int]) -> "FeatureStore":
        """The store of some of its clips, in this order."""
        kept = np.array(clips, np.int64)
        return replace(
            self,
            rows=self.rows[kept],
            clips=tuple(self.clips[i] for i in clips),
            floors=self.floors[kept],
            offsets=self.offsets[kept],
            counts=self.counts[kept],
        )


class Arrays(NamedTuple):
    """What a store's files hold; see `FeatureStore`."""

    frames: NDArray[np.float16]
    floors: NDArray[np.float16]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> "Arrays":
        """Those of some rows, in this order."""
        return Arrays(self.frames, self.floors[rows], self.offsets[rows], self.counts[rows])


def open_store(
    clips: Sequence[Clip],
    config: VariantConfig,
    cache: Path,
    *,
    workers: int = 0,
    context: BaseContext | None = None,
) -> FeatureStore:
    """The store of these clips, built first where `cache` does not hold it, by so many `workers`
    that `context` starts.

    Clips that cannot be read are left out and named in a warning. Raises TrainingError where none
    is left, StorageError where the store cannot be written or is damaged.
    """
    folder = cache / f"mel-{digest_of(clips, config)}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Ranks that share a machine build a store once.
        with locked(cache / f"{folder.name}.lock", wait=True):
            if not folder.is_dir():
                _build(clips, config, folder, _all_variants(clips, config, workers, context))
    except OSError as error:
        raise StorageError(
            f"{cache}: the mel power of the clips cannot be stored there ({error}); "
            "free some space or set data.cache to another folder"
        ) from error
    try:
        store = _load(clips, folder)
    except (TrainingError, MemoryError):
        raise
    except Exception as error:  # whatever NumPy, zip and JSON raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"{folder}: the stored mel power is damaged ({reason}): delete this folder, "
            "and it is computed anew"
        ) from error
    if store.left_out:
        logger.warning(
            "%d of %d clips could not be read and are left out: %s%s",
            len(store.left_out), len(clips), "; ".join(store.left_out[:5]),
            "; ..." if len(store.left_out) > 5 else "",
        )  # fmt: skip
    return store


def digest_of(clips: Sequence[Clip], config: VariantConfig) -> str:
    """Of the clips' audio and the settings, not of texts: 24 hexadecimal digits."""
    settings = {**asdict(config), "format": STORE_FORMAT}
    # Mel power comes before any normalisation: runs that differ in that alone share a store.
    settings["features"] = {k: settings["features"][k] for k in ("kind", "num_mels")}
    for name in ("window_seconds", "channel"):
        if settings[name] is None:  # stores are older than these settings
            del settings[name]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    sizes: dict[str, int] = {}
    for clip in clips:
        if clip.path not in sizes:
            path = Path(clip.path)
            sizes[clip.path] = path.stat().st_size if path.is_file() else -1
        place = (clip.id, clip.path, sizes[clip.path], clip.start, clip.duration, clip.channel)
        digest.update(json.dumps((*place, clip.bandwidth, clip.speaker)).encode())
    return digest.hexdigest()[:24]


def _read_variants(config: VariantConfig, clips: Sequence[Clip]) -> list[list[Variant] | str]:
    """The variants of each clip, or why there are none."""
    reader = ClipReader()
    results: list[list[Variant] | str] = []
    for clip in clips:
        try:
            results.append(variants_of(clip, reader.read(clip), config))
        except AudioError as error:
            results.append(str(error))
    return results


def _all_variants(
    clips: Sequence[Clip], config: VariantConfig, workers: int, context: BaseContext | None
) -> Iterator[list[Variant] | str]:
    """In the order of the clips, whatever the number of workers."""
    # Neighbours go to one process: they are often segments of one recording, decoded once there.
    chunks = [clips[first : first + 32] for first in range(0, len(clips), 32)]
    read = partial(_read_variants, config)
    if workers == 0:
        yield from (result for chunk in chunks for result in read(chunk))
        return
    context = context or new_processes()
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        with signals_held():
            found = pool.map(read, chunks)
        try:
            yield from (result for results in found for result in results)
        except BrokenProcessPool as error:
            raise TrainingError(KILLED) from error


def _build(
    clips: Sequence[Clip],
    config: VariantConfig,
    folder: Path,
    variants: Iterator[list[Variant] | str],
) -> None:
    """Write the store whole or not at all; `variants` are those of each clip, in order."""
    remove_leftovers(folder.parent, folder.name)
    most = max((config.numbers(clip)[-1] + 1 for clip in clips), default=1)
    offsets = np.full((len(clips), most), -1, np.int64)
    floors = np.zeros((len(clips), most, config.features.num_mels), np.float16)
    counts = np.zeros(len(clips), np.int64)
    left_out: dict[int, str] = {}
    written = 0
    results = progress(variants, "mel power of the clips", len(clips))
    with whole_folder(folder) as unfinished:
        with (unfinished / "frames.f16").open("wb") as file:
            for index, result in enumerate(results):
                if isinstance(result, str):
                    left_out[index] = result
                    continue
                counts[index] = len(result[0].log_power)
                for number, variant in zip(config.numbers(clips[index]), result, strict=True):
                    file.write(variant.log_power.tobytes())
                    offsets[index, number] = written
                    floors[index, number] = variant.floor
                    written += len(variant.log_power)
        np.savez(unfinished / "index.npz", offsets=offsets, floors=floors, counts=counts)
        reasons = json.dumps(left_out, ensure_ascii=False)
        (unfinished / "left_out.json").write_text(reasons, "utf-8")


def _load(clips: Sequence[Clip], folder: Path) -> FeatureStore:
    left_out: dict[str, str] = json.loads((folder / "left_out.json").read_text("utf-8"))
    kept = [i for i in range(len(clips)) if str(i) not in left_out]
    if not kept:
        reason = next(iter(left_out.values()), "the corpus is empty")
        raise TrainingError(f"none of the {len(clips)} clips can be used: {reason}")
    rows = np.array(kept, np.int64)
    return FeatureStore(
        folder=folder,
        rows=rows,
        clips=tuple(clips[i] for i in kept),
        left_out=tuple(left_out.values()),
        digest=folder.name.removeprefix("mel-"),
        **read_arrays(folder).of(rows)._asdict(),
    )


def read_arrays(folder: Path) -> Arrays:
    """The arrays of a store, the frames memory-mapped; raises what NumPy and zip raise."""
    with (folder / "index.npz").open("rb") as file, np.load(file) as index:
        offsets, floors, counts = index["offsets"], index["floors"], index["counts"]
    mapped = np.memmap(folder / "frames.f16", np.float16, "r")
    last = int((offsets + counts[:, None])[offsets >= 0].max())
    if mapped.size != last * floors.shape[-1]:
        raise ValueError(f"frames.f16 holds {mapped.size} values, not the index's {last} frames")
    # A plain view: slicing the subclass costs more than reading the frames.
    frames = mapped.view(np.ndarray).reshape(-1, floors.shape[-1])
    return Arrays(frames, floors, offsets, counts)
