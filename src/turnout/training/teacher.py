"""The model as it was when a run began, which hears recordings as they were: what a student is to
keep to, whose recordings went through a telephone or whose window ends with the speech (Hinton et
al. 2015, arXiv 1503.02531).

Its encoder's outputs are kept on the disk, the least recently used give way; they are float16,
kept or not, so that a run does not depend on what was there.
"""

import copy
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from turnout.config import ObjectiveConfig
from turnout.data.batch import IGNORED, Batch
from turnout.files import write_whole
from turnout.model.decoder import Memory, select_rows
from turnout.model.speech_model import EncoderOutput, SpeechModel

DIGEST_BYTES = 32
GIGABYTE = 10**9


class Taught(NamedTuple):
    """What a teacher makes of a batch."""

    hidden: Float[Tensor, "batch hidden d_model"]
    log_probs: Float[Tensor, "rows tokens vocabulary"] | None


class Kept:
    """Arrays by name in a folder of bounded size; the least recently used give way."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        folder.mkdir(parents=True, exist_ok=True)
        found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.f16")]
        self._sizes = {path.stem: path.stat().st_size for _, path in sorted(found)}

    def get(self, key: str, width: int) -> np.ndarray | None:
        """The array [rows, width]; None where it is not there, or damaged."""
        if key not in self._sizes:
            return None
        self._sizes[key] = self._sizes.pop(key)  # the youngest now
        try:
            os.utime(self._path(key))
            data = self._path(key).read_bytes()
        except OSError:  # somebody made room: it is computed again
            return None
        content = data[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != data[:DIGEST_BYTES]:
            return None
        return np.frombuffer(content, np.float16).reshape(-1, width).copy()

    def put(self, key: str, values: np.ndarray) -> None:
        """Keep an array, and let the oldest go where there is no room; raises StorageError."""
        content = np.ascontiguousarray(values, np.float16).tobytes()
        size = len(content) + DIGEST_BYTES
        if size > self.most_bytes:
            return
        while self._sizes and sum(self._sizes.values()) + size > self.most_bytes:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            self._path(oldest).unlink(missing_ok=True)
        write_whole(self._path(key), hashlib.sha256(content).digest() + content)
        self._sizes[key] = size

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.f16"


class Teacher:
    """A copy of the model that a run begins from."""

    def __init__(self, model: SpeechModel, config: ObjectiveConfig, folder: Path) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.config = config
        self.kept = Kept(folder, int(config.teacher_cache_gb * GIGABYTE))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Taught:
        """Its encoder's frames of the recordings as they were and, where they are compared, its
        decoder's distributions behind the batch's tokens."""
        assert batch.clean is not None and batch.clean_mask is not None
        hidden, mask = self._encoded(batch)
        if not self.config.distil_decoder or self.model.decoder is None or not len(batch.rows):
            return Taught(hidden, None)
        decoder = self.model.decoder
        memory = Memory(*select_rows(Memory(*decoder.cross(hidden), mask), batch.rows))
        cache = self.model.empty_cache(len(batch.rows))
        output = decoder(batch.tokens, batch.token_counts, batch.decoder_guide, memory, cache)
        return Taught(hidden, output.logits.float().log_softmax(dim=-1))

    def _encoded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Frames and their mask, from what was kept where all of it was."""
        assert batch.clean is not None and batch.clean_mask is not None
        keys = [self._key(batch, row) for row in range(len(batch.clean))]
        width = self.model.config.encoder.d_model
        found = [self.kept.get(key, width) for key in keys]
        known = [values for values in found if values is not None]
        if len(known) == len(keys):
            lengths = [len(values) for values in known]
            hidden = torch.zeros(len(known), max(lengths), width)
            for row, values in zip(hidden, known, strict=True):
                row[: len(values)] = torch.from_numpy(values)
            mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
            return hidden.to(batch.clean.device), mask.to(batch.clean.device)
        heard = (batch.clean, batch.clean_mask, batch.encoder_guide, batch.bandwidth)
        encoded: EncoderOutput = self.model.encode(*heard)
        rounded = encoded.hidden.half()
        for key, row, there in zip(keys, rounded, encoded.frame_mask, strict=True):
            self.kept.put(key, row[there].cpu().numpy())
        return rounded.float() * encoded.frame_mask.unsqueeze(-1), encoded.frame_mask

    def _key(self, batch: Batch, row: int) -> str:
        """Of what it hears, whatever that was called."""
        assert batch.clean is not None and batch.clean_mask is not None
        frames = batch.clean[row][batch.clean_mask[row]].cpu().contiguous().numpy()
        path = f"{int(batch.encoder_guide[row])} {int(batch.bandwidth[row])} "
        return hashlib.sha256(path.encode() + frames.tobytes()).hexdigest()[:32]


def encoder_loss(
    output: EncoderOutput, taught: Float[Tensor, "batch clean d_model"]
) -> Float[Tensor, ""]:
    """Squared difference, averaged over the width and summed over the frames that both heard."""
    frames = min(output.hidden.shape[1], taught.shape[1])
    difference = output.hidden[:, :frames].float() - taught[:, :frames]
    mask: Bool[Tensor, "batch frames"] = output.frame_mask[:, :frames]
    return (difference.square().mean(dim=-1) * mask).sum()


def decoder_loss(logits: Tensor, taught: Tensor, labels: Tensor) -> Float[Tensor, ""]:
    """KL divergence of the distributions from the teacher's, summed over trained positions."""
    own = logits.float().log_softmax(dim=-1)
    return ((taught.exp() * (taught - own)).sum(dim=-1) * (labels != IGNORED)).sum()
