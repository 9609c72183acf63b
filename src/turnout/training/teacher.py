"""The model as it was when a run began, which hears recordings as they were: what a student is to
keep to, whose recordings went through a telephone or whose window ends with the speech (Hinton et
al. 2015, arXiv 1503.02531).

Its encoder's outputs are kept on the disk, the least recently used give way; they are float16,
kept or not, so that a run does not depend on what was there.
"""

import copy
import hashlib
import logging
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from turnout.config import ObjectiveConfig
from turnout.data.batch import IGNORED, Batch, Clean
from turnout.errors import StorageError
from turnout.files import remove_leftovers, write_whole
from turnout.model.decoder import Memory, select_rows
from turnout.model.speech_model import EncoderOutput, SpeechModel
from turnout.training.trainable import digest_of

logger = logging.getLogger(__name__)

DIGEST_BYTES = 32
GIGABYTE = 10**9


class Taught(NamedTuple):
    """What a teacher makes of a batch."""

    hidden: Float[Tensor, "batch hidden d_model"]
    log_probs: Float[Tensor, "rows tokens vocabulary"] | None


class Kept:
    """Arrays by name in a folder of bounded size, which nobody else writes to; the least recently
    used give way. Nobody needs what is kept: a disk that takes no more ends nothing."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._sizes: dict[str, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.f16")]
            self._sizes = {path.stem: path.stat().st_size for _, path in sorted(found)}
            self._make_room(0)
        except OSError as error:
            self._give_up(f"{folder}: {error.strerror or error}")

    def get(self, key: str, shape: tuple[int, int]) -> np.ndarray | None:
        """The array of this shape; None where it is not there, damaged, or of another size."""
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
        values = np.frombuffer(content, np.float16)
        return values.reshape(shape).copy() if values.size == shape[0] * shape[1] else None

    def put(self, key: str, values: np.ndarray) -> None:
        """Keep an array, and let the oldest go where there is no room."""
        content = np.ascontiguousarray(values, np.float16).tobytes()
        size = len(content) + DIGEST_BYTES
        if size > self.most_bytes:
            return
        self._sizes.pop(key, None)  # what was there is replaced, and counts once
        try:
            self._make_room(size)
            write_whole(self._path(key), hashlib.sha256(content).digest() + content)
        except (StorageError, OSError) as error:
            self._give_up(str(error))
            return
        self._sizes[key] = size

    def _make_room(self, size: int) -> None:
        """Let the oldest go until so many bytes fit in; raises OSError."""
        while self._sizes and sum(self._sizes.values()) + size > self.most_bytes:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def _give_up(self, reason: str) -> None:
        """Say so, and keep no more: what is there may still be read."""
        self.most_bytes = 0
        logger.warning(
            "what the teacher hears is not kept any more, and made anew each time: %s", reason
        )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.f16"


class Teacher:
    """A copy of the model that a run begins from; one of `ranks`, who share the disk."""

    def __init__(
        self, model: SpeechModel, config: ObjectiveConfig, folder: Path, ranks: int = 1
    ) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.digest = digest_of(self.model.state_dict())
        self.config = config
        self.kept = Kept(folder, int(config.teacher_cache_gb * GIGABYTE) // ranks)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Taught:
        """Its encoder's frames of the recordings as they were and, where they are compared, its
        decoder's distributions behind the batch's tokens."""
        assert batch.clean is not None, "the loader was not asked for what a teacher hears"
        hidden, mask = self._encoded(batch.clean)
        if not self.config.distil_decoder or self.model.decoder is None or not len(batch.rows):
            return Taught(hidden, None)
        decoder = self.model.decoder
        memory = Memory(*select_rows(Memory(*decoder.cross(hidden), mask), batch.rows))
        cache = self.model.empty_cache(len(batch.rows))
        output = decoder(batch.tokens, batch.token_counts, batch.clean.decoder_guide, memory, cache)
        return Taught(hidden, output.logits.float().log_softmax(dim=-1))

    def _encoded(self, clean: Clean) -> tuple[Tensor, Tensor]:
        """Frames and their mask, from what was kept where all of it was."""
        keys = [self._key(clean, row) for row in range(len(clean.log_mel))]
        shape = self.model.config
        width, factor = shape.encoder.d_model, shape.encoder.subsampling_factor
        heard = (-(-clean.frame_mask.sum(dim=1) // factor)).tolist()
        found = [self.kept.get(key, (n, width)) for key, n in zip(keys, heard, strict=True)]
        known = [values for values in found if values is not None]
        if len(known) == len(keys):
            lengths = [len(values) for values in known]
            hidden = torch.zeros(len(known), max(lengths), width)
            for row, values in zip(hidden, known, strict=True):
                row[: len(values)] = torch.from_numpy(values)
            mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
            return hidden.to(clean.log_mel.device), mask.to(clean.log_mel.device)
        asked = (clean.log_mel, clean.frame_mask, clean.encoder_guide, clean.bandwidth)
        encoded: EncoderOutput = self.model.encode(*asked)
        rounded = encoded.hidden.half()
        for row, key in enumerate(keys):
            if found[row] is None and clean.lasting[row]:
                self.kept.put(key, rounded[row][encoded.frame_mask[row]].cpu().numpy())
        return rounded.float() * encoded.frame_mask.unsqueeze(-1), encoded.frame_mask

    def _key(self, clean: Clean, row: int) -> str:
        """Of whoever hears it and what, whatever that was called."""
        frames = clean.log_mel[row][clean.frame_mask[row]].cpu().contiguous().numpy()
        path = f"{self.digest} {int(clean.encoder_guide[row])} {int(clean.bandwidth[row])} "
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
