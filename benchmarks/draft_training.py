"""A small CTC head on the frozen frames of a Whisper checkpoint: its making and its training, which
goes on where it was stopped.

It begins as the end of the decoder itself: what the last cross-attention would add of a few frames
in succession, normalised and read through the embedding, already names what is said there. Two
convolutions, which add nothing at first, and a bias of each token are learned, and when to say
nothing; the embedding stays as it is, so that tokens count that no training text has.
"""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draft_frames import SEED, Frames, Learned
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from turnout.files import whole_file

NORM = ("decoder.norm.weight", "decoder.norm.bias")
EMBEDDING = "decoder.embedding.weight"
BLANK = 0
"""Among the head's own outputs; token `ids[i]` is i + 1."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""
KEPT_EVERY = 60.0
"""Seconds of processor time between two states on the disk."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The shape of a head, and how it is trained."""

    stacked: int = 4
    """Frames that become one, of 20 ms each."""
    layers: int = 2
    kernel: int = 5
    dropout: float = 0.1
    batch: int = 2
    """Windows of a step."""
    learning_rate: float = 6e-4
    warm_up: float = 0.03
    """Share of the training in which the rate rises; then it falls along a cosine."""
    most_masked: int = 8
    """Stacked frames that are hidden in succession, twice in each window."""


class Layer(nn.Module):
    """A convolution, beside which its input goes on; it adds nothing at first."""

    def __init__(self, width: int, config: HeadConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2)
        self.dropout = nn.Dropout(config.dropout)
        self.share = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, frames, width]."""
        found = self.convolution(self.norm(hidden).transpose(1, 2)).transpose(1, 2)
        return hidden + self.share * self.dropout(F.gelu(found))


class Head(nn.Module):
    """Frames -> log-probabilities of blank and tokens."""

    def __init__(self, config: HeadConfig, width: int, tokens: int) -> None:
        super().__init__()
        self.stacked = config.stacked
        self.together = nn.Linear(width * config.stacked, width)
        self.layers = nn.Sequential(*[Layer(width, config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)
        self.silence = nn.Linear(width, 1)
        self.bias = nn.Parameter(torch.zeros(tokens))
        self.embedding = nn.Parameter(torch.zeros(tokens, width), requires_grad=False)

    def together_of(self, frames: Tensor) -> Tensor:
        """[batch, frames, width] -> [batch, stacked frames, width]."""
        missing = -frames.shape[1] % self.stacked
        padded = F.pad(frames, (0, 0, 0, missing))
        return self.together(padded.reshape(len(padded), -1, self.together.in_features))

    def scores(self, hidden: Tensor) -> Tensor:
        """What `together_of` gives -> [batch, stacked frames, outputs]."""
        last = self.norm(self.layers(hidden))
        tokens = F.linear(last, self.embedding, self.bias)
        return torch.cat([self.silence(last), tokens], dim=-1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Their log-probabilities."""
        return self.scores(hidden).log_softmax(dim=-1)


def new_head(
    config: HeadConfig, ids: Sequence[int], weights: Mapping[str, NDArray[Any]], layer: int
) -> Head:
    """Untrained, as the end of a decoder whose last layer has this number; `weights` are the
    checkpoint's."""
    torch.manual_seed(SEED)
    output = f"decoder.blocks.{layer}.cross_attention.output"
    given = {
        name: torch.from_numpy(weights[name].astype(np.float32))
        for name in (f"{output}.weight", f"{output}.bias", *NORM)
    }
    embedding = torch.from_numpy(weights[EMBEDDING][list(ids)].astype(np.float32))
    head = Head(config, embedding.shape[1], len(ids))
    with torch.no_grad():
        # Of the mean of the frames.
        each = given[f"{output}.weight"] / config.stacked
        head.together.weight.copy_(each.repeat(1, config.stacked))
        head.together.bias.copy_(given[f"{output}.bias"])
        head.norm.weight.copy_(given[NORM[0]])
        head.norm.bias.copy_(given[NORM[1]])
        head.embedding.copy_(embedding)
        head.silence.weight.zero_()
        head.silence.bias.zero_()
    return head


def balance(head: Head, windows: Sequence[Learned]) -> None:
    """Sets the biases so that in these windows no token is likelier than another on the whole, and
    nothing as likely as the best of them."""
    head.eval()
    with torch.no_grad():
        frames = [torch.from_numpy(one.frames().astype(np.float32)) for one in windows]
        scores = torch.cat([head.scores(head.together_of(one[None]))[0, :, 1:] for one in frames])
        head.bias.sub_(scores.mean(dim=0))
        best = (scores - scores.mean(dim=0)).max(dim=1).values
        head.silence.bias.fill_(float(best.mean()))


def loss_of(head: Head, config: HeadConfig, batch: Sequence[tuple[Frames, list[int]]]) -> Tensor:
    """CTC's, a token."""
    frames = nn.utils.rnn.pad_sequence(
        [torch.from_numpy(one.astype(np.float32)) for one, _ in batch], batch_first=True
    )
    lengths = torch.tensor([-(-len(one) // config.stacked) for one, _ in batch])
    hidden = masked(head.together_of(frames), config.most_masked) if head.training else None
    log_probs = head(head.together_of(frames) if hidden is None else hidden)
    counts = torch.tensor([len(targets) for _, targets in batch])
    targets = torch.tensor([token for _, own in batch for token in own])
    found = F.ctc_loss(
        log_probs.transpose(0, 1),
        targets,
        lengths,
        counts,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return found / counts.sum()


def masked(hidden: Tensor, most: int) -> Tensor:
    """With a few stretches of each row hidden."""
    mask = torch.zeros(hidden.shape[:2], dtype=torch.bool)
    for row in range(len(hidden)):
        for _ in range(2):
            length = int(torch.randint(most + 1, ()))
            first = int(torch.randint(max(hidden.shape[1] - length, 1), ()))
            mask[row, first : first + length] = True
    return hidden.masked_fill(mask[..., None], 0.0)


def batches(windows: Sequence[Learned], size: int, step: int) -> Iterator[list[Learned]]:
    """From this step on, for ever: every window once an epoch, in an order of the epoch's own."""
    each = -(-len(windows) // size)
    for epoch in itertools.count(step // each):
        order = np.random.default_rng((SEED, epoch)).permutation(len(windows))
        parts = [order[first : first + size] for first in range(0, len(order), size)]
        for part in parts[step % each if epoch == step // each else 0 :]:
            yield [windows[i] for i in part]


@dataclass
class Training:
    """One that goes on until its processor time is spent."""

    head: Head
    config: HeadConfig
    ids: tuple[int, ...]
    """The tokens that it may propose."""
    seconds: float
    """Of processor time, in all."""
    place: Path
    """Of its state."""
    spent: float = 0.0
    step: int = 0

    def run(self, windows: Sequence[Learned], judge: Callable[[], None]) -> None:
        """All that is left of it; now and then the head is kept and `judge` asked, in time that
        does not count."""
        optimizer = torch.optim.AdamW([one for _, one in self.learned()], weight_decay=0.01)
        self._take_up(optimizer)
        outputs = {token: number + 1 for number, token in enumerate(self.ids)}
        kept, losses = self.spent, list[float]()
        some = batches(windows, self.config.batch, self.step)
        self.head.train()
        while self.spent < self.seconds:
            began = time.process_time()
            torch.manual_seed(SEED + self.step)
            batch = [(one.frames(), [outputs[token] for token in one.tokens]) for one in next(some)]
            losses.append(self._learn(optimizer, batch))
            self.step += 1
            self.spent += time.process_time() - began
            if self.spent - kept > KEPT_EVERY or self.spent >= self.seconds:
                kept = self.spent
                self._keep(optimizer)
                print(f"step {self.step}, loss {sum(losses) / len(losses):.3f}", flush=True)
                losses = []
                self.head.eval()
                judge()
                self.head.train()
        self.head.eval()

    def _learn(
        self, optimizer: torch.optim.Optimizer, batch: Sequence[tuple[Frames, list[int]]]
    ) -> float:
        for group in optimizer.param_groups:
            group["lr"] = self.rate()
        loss = loss_of(self.head, self.config, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """What changes, by name."""
        return [each for each in self.head.named_parameters() if each[1].requires_grad]

    def rate(self) -> float:
        """The learning rate, by the time that is spent."""
        share = min(self.spent / self.seconds, 1.0)
        if share < self.config.warm_up:
            return self.config.learning_rate * max(share / self.config.warm_up, 0.05)
        return self.config.learning_rate * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))

    def settings(self) -> dict[str, Any]:
        """What a state must have been made with to be taken up."""
        return {"config": asdict(self.config), "ids": list(self.ids), "seconds": self.seconds}

    def _take_up(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.place.exists():
            return
        with safe_open(self.place, "pt") as file:
            told = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        if told["settings"] != self.settings():
            raise SystemExit(
                f"{self.place}: was trained otherwise: remove it or give another place"
            )
        self.spent, self.step = told["spent"], told["step"]
        for name, parameter in self.learned():
            parameter.data.copy_(tensors[name])
            moments = {key: tensors[f"{key} {name}"] for key in MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(self.step)), **moments}

    def _keep(self, optimizer: torch.optim.Optimizer) -> None:
        tensors = {}
        for name, parameter in self.learned():
            tensors[name] = parameter.detach()
            tensors |= {f"{key} {name}": optimizer.state[parameter][key] for key in MOMENTS}
        told = {"settings": self.settings(), "spent": self.spent, "step": self.step}
        with whole_file(self.place) as partial:
            save_file(tensors, partial, {"training": json.dumps(told)})


def proposed_by(head: Head, ids: Sequence[int], frames: NDArray[np.float32]) -> tuple[int, ...]:
    """The tokens of the head's best path."""
    with torch.inference_mode():
        log_probs = head(head.together_of(torch.from_numpy(np.ascontiguousarray(frames))[None]))[0]
        path = log_probs.argmax(dim=-1).numpy()
    begins = path[np.flatnonzero(np.diff(path, prepend=-1))]
    return tuple(ids[output - 1] for output in begins.tolist() if output != BLANK)
