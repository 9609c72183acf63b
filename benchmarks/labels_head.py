"""The frames of the lower layers of a frozen encoder, made once, and a CTC head that learns letters
from them: a few convolutions, of which a training takes minutes on one core.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from labels_speech import Utterance
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, gelu

from turnout.audio.features import log_mel
from turnout.backends.torch import stored_tensors
from turnout.config import FeatureConfig
from turnout.corpora.clips import ClipReader, read_clips
from turnout.files import whole_file
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.encoder import Encoder
from turnout.model_folder import ModelFolder

LETTERS = "' abcdefghijklmnopqrstuvwxyz"
BLANK = len(LETTERS)
STACKED = 2
"""Frames of 20 ms that the head takes as one."""
Frames = Mapping[str, Path]
"""Where those of each utterance lie."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A head and its training."""

    width: int = 256
    blocks: int = 3
    kernel: int = 11
    dropout: float = 0.2
    batch: int = 8
    """Utterances of a step."""
    learning_rate: float = 1e-3
    warmup: int = 50


class Block(nn.Module):
    """A convolution over time for each channel, and one over the channels."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        padding = config.kernel // 2
        self.over_time = nn.Conv1d(width, width, config.kernel, padding=padding, groups=width)
        self.over_channels = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[utterances, frames, width]; `mask` is 1 where there is sound."""
        normed = self.norm(hidden) * mask
        mixed = self.over_time(normed.transpose(1, 2)).transpose(1, 2)
        return hidden + self.dropout(self.over_channels(gelu(mixed)))


class Head(nn.Module):
    """Frames -> logarithms of the probabilities of letters and blank."""

    def __init__(self, config: HeadConfig, d_model: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(STACKED * d_model)
        self.into = nn.Linear(STACKED * d_model, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.out = nn.Linear(config.width, BLANK + 1)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """[utterances, frames, letters and blank], of which `counts` frames have sound."""
        mask = (torch.arange(frames.shape[1]) < counts[:, None]).unsqueeze(-1).float()
        hidden = self.dropout(self.into(self.norm(frames)))
        for block in self.blocks:
            hidden = block(hidden, mask)
        return self.out(hidden).log_softmax(dim=-1)


class Half(NamedTuple):
    """The lower layers of a model's encoder, frozen, and what they hear."""

    encoder: Encoder
    features: FeatureConfig


def lower_half(folder: ModelFolder, layers: int) -> Half:
    """Of a model."""
    config = folder.config
    shape = replace(
        config, encoder=replace(config.encoder, num_layers=layers, dropout=0.0),
        decoder=replace(config.decoder, num_layers=0), ctc=True,
    )  # fmt: skip
    model = build_model(shape)
    fitted = fit_state(model, stored_tensors(folder))
    left = [name for name in fitted.missing if not name.startswith("ctc_head")]
    if left or fitted.mismatched:
        raise SystemExit(f"{folder.path}: has no {left + fitted.mismatched}")
    return Half(model.encoder.eval().requires_grad_(False), config.features)


def frames_of(cuts: Iterable[Path], wanted: Collection[str], half: Half, place: Path) -> Frames:
    """The frames of those utterances of some cuts that are wanted, each made where it is not there
    yet."""
    place.mkdir(parents=True, exist_ok=True)
    reader, found = ClipReader(), dict[str, Path]()
    for clip in (clip for path in cuts for clip in read_clips(path) if clip.id in wanted):
        path = found[clip.id] = place / f"{clip.id}.npy"
        if not path.exists():
            frames = encoded(half, reader.read(clip))
            with whole_file(path) as partial, partial.open("wb") as file:
                np.save(file, frames)
    return found


@torch.inference_mode()
def encoded(half: Half, samples: NDArray[np.float32]) -> NDArray[np.float16]:
    """The frames of one utterance, [frames, STACKED times the width]."""
    mel = torch.from_numpy(log_mel(samples, half.features))
    none = torch.zeros(1, dtype=torch.long)
    mask = torch.ones((1, len(mel)), dtype=torch.bool)
    hidden, _, _ = half.encoder(mel.unsqueeze(0), mask, none, none)
    whole = hidden[0, : hidden.shape[1] // STACKED * STACKED]
    return whole.reshape(-1, STACKED * whole.shape[1]).numpy().astype(np.float16)


def trained(
    texts: Sequence[Utterance], frames: Frames, config: HeadConfig, steps: int, seed: int
) -> tuple[Head, list[float]]:
    """A head that learned these texts, and its loss a letter, every tenth of the steps."""
    torch.manual_seed(seed)
    width = np.load(frames[texts[0].id], mmap_mode="r").shape[1] // STACKED
    head = Head(config, width)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / config.warmup, 1 - step / steps)
    )
    losses: list[float] = []
    for batch in batches(texts, config.batch, steps, seed):
        inputs, counts = gathered([frames[one.id] for one in batch])
        loss = ctc(head(inputs, counts), counts, [one.text for one in batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    tenth = max(steps // 10, 1)
    return head.eval(), [
        round(float(np.mean(losses[i : i + tenth])), 3) for i in range(0, steps, tenth)
    ]


def batches(
    texts: Sequence[Utterance], size: int, steps: int, seed: int
) -> Iterator[list[Utterance]]:
    """So many batches: the texts in another order each time that all were taken."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < size:
            waiting += rng.permutation(len(texts)).tolist()
        yield [texts[place] for place in waiting[:size]]
        del waiting[:size]


def gathered(paths: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """The frames of several utterances, and how many each has."""
    parts = [torch.from_numpy(np.load(path)).float() for path in paths]
    counts = torch.tensor([len(part) for part in parts])
    return nn.utils.rnn.pad_sequence(parts, batch_first=True), counts


def ctc(log_probs: Tensor, counts: Tensor, texts: Sequence[str]) -> Tensor:
    """The loss, for each letter."""
    targets = [[LETTERS.index(letter) for letter in text] for text in texts]
    lengths = torch.tensor([len(one) for one in targets])
    flat = torch.tensor([place for one in targets for place in one])
    total = ctc_loss(
        log_probs.transpose(0, 1), flat, counts, lengths, BLANK, "sum", zero_infinity=True
    )
    return total / int(lengths.sum())


@torch.inference_mode()
def heard(head: Head, path: Path) -> str:
    """What a head writes of an utterance: at each frame the most probable."""
    best = head(*gathered([path]))[0].argmax(dim=-1)
    kept = [place for place in torch.unique_consecutive(best).tolist() if place != BLANK]
    return " ".join("".join(LETTERS[place] for place in kept).split())
