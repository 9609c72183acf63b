"""What encoder and decoder are built of, feed-forwards aside: attention, convolution, subsampling.

Padding is an argument everywhere and is zeroed before whatever looks at neighbours.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from turnout.experts.bank import Dropout

SHORT = 512
SHAPELESS = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Kernels that take any shape as it comes. cuDNN's, which PyTorch prefers on recent GPUs, prepares
itself for each shape that it has not met, and nearly every batch has a new one."""


def attend(
    queries: Float[Tensor, "batch heads queries dim"],
    keys: Float[Tensor, "batch heads slots dim"],
    values: Float[Tensor, "batch heads slots dim"],
    mask: Bool[Tensor, "batch 1 #queries slots"],
) -> Float[Tensor, "batch heads queries dim"]:
    """Scaled dot-product attention.

    Under bfloat16 on CPU, PyTorch's fused kernel takes five times as long over short sequences,
    forward and backward, as the three operations written out.
    """
    if queries.dtype == torch.bfloat16 and queries.device.type == "cpu" and keys.shape[2] <= SHORT:
        scores = (queries @ keys.transpose(-1, -2)) * queries.shape[-1] ** -0.5
        return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).to(values.dtype) @ values
    if queries.device.type != "cpu":
        # A mask with gaps, as subsampling leaves it, has no fused kernel on CUDA: all scores would
        # be made and kept.
        mask = mask.contiguous()
        with sdpa_kernel(SHAPELESS):
            return nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


class Attention(nn.Module):
    """Multi-head attention with the projections apart, so that keys and values can be cached.

    The key projection has no bias (it cancels in the softmax; Whisper's has none).
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def heads(
        self, hidden: Float[Tensor, "batch frames d_model"]
    ) -> Float[Tensor, "batch heads frames dim"]:
        """Split the width into heads."""
        batch, frames, _ = hidden.shape
        return hidden.view(batch, frames, self.num_heads, -1).transpose(1, 2)

    def keys_values(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        positions: Int[Tensor, "#batch frames"] | None = None,
    ) -> tuple[Float[Tensor, "batch heads frames dim"], Float[Tensor, "batch heads frames dim"]]:
        """Keys (turned by their positions where given) and values."""
        keys = self.heads(self.key(hidden))
        if positions is not None:
            keys = rotate(keys, positions)
        return keys, self.heads(self.value(hidden))

    def forward(
        self,
        hidden: Float[Tensor, "batch queries d_model"],
        keys: Float[Tensor, "batch heads slots dim"],
        values: Float[Tensor, "batch heads slots dim"],
        mask: Bool[Tensor, "batch 1 #queries slots"],
        positions: Int[Tensor, "#batch queries"] | None = None,
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend to the slots where `mask` is True; every query needs at least one."""
        queries = self.heads(self.query(hidden))
        if positions is not None:
            queries = rotate(queries, positions)
        mixed = attend(queries, keys, values, mask)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def weights(
        self,
        hidden: Float[Tensor, "batch queries d_model"],
        keys: Float[Tensor, "batch heads slots dim"],
        mask: Bool[Tensor, "batch 1 #queries slots"],
        head: int,
    ) -> Float[Tensor, "batch queries slots"]:
        """How much a query of this head takes from each slot; keys and queries are not turned."""
        queries = self.heads(self.query(hidden))[:, head]
        scores = (queries @ keys[:, head].transpose(-1, -2)) * queries.shape[-1] ** -0.5
        return scores.masked_fill(~mask[:, 0], -torch.inf).softmax(dim=-1)


class Convolution(nn.Module):
    """Conformer's convolution module (arXiv 2005.08100) with LayerNorm in BatchNorm's place, which
    would let padding and batch-mates change a text."""

    def __init__(self, d_model: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, 2 * d_model)
        self.depthwise = nn.Conv1d(d_model, d_model, kernel, padding=kernel // 2, groups=d_model)
        self.inner_norm = nn.LayerNorm(d_model)
        self.project = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
    ) -> Float[Tensor, "batch frames d_model"]:
        """The convolved frames; padding counts as zeros, as beyond the ends."""
        gated = nn.functional.glu(self.expand(self.norm(hidden)), dim=-1)
        gated = gated * frame_mask.unsqueeze(-1)
        mixed = convolved(self.depthwise, gated)
        return self.dropout(self.project(nn.functional.silu(self.inner_norm(mixed))))


def convolved(
    depthwise: nn.Conv1d, hidden: Float[Tensor, "batch frames channels"]
) -> Float[Tensor, "batch frames channels"]:
    """What a depthwise convolution over time makes of frames, whose channels lie innermost."""
    outermost = hidden.transpose(1, 2)
    if torch.compiler.is_compiling() or hidden.device.type != "cpu":
        return depthwise(outermost).transpose(1, 2)
    # oneDNN has a kernel for channels that lie innermost, for images alone (here of one row). It is
    # far quicker than the other, and gives the same bits.
    image = outermost.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    mixed = nn.functional.conv2d(
        image,
        depthwise.weight.unsqueeze(2),
        depthwise.bias,
        padding=(0, depthwise.kernel_size[0] // 2),
        groups=depthwise.groups,
    )
    return mixed.squeeze(2).transpose(1, 2)


class StackedFrames(nn.Module):
    """Subsampling by stacking: `factor` frames side by side, then a linear map."""

    def __init__(self, num_mels: int, d_model: int, factor: int = 4) -> None:
        super().__init__()
        self.factor = factor
        self.project = nn.Linear(num_mels * factor, d_model)

    def forward(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
    ) -> tuple[Float[Tensor, "batch hidden d_model"], Bool[Tensor, "batch hidden"]]:
        """ceil(frames / factor) hidden frames; missing ones of the last stack are zeros."""
        batch, frames, mels = log_mel.shape
        # Padded by a constant and cut: a length of -frames % factor does not export.
        padded = nn.functional.pad(log_mel * frame_mask.unsqueeze(-1), (0, 0, 0, self.factor - 1))
        count = (frames + self.factor - 1) // self.factor
        stacked = padded[:, : count * self.factor].reshape(batch, count, mels * self.factor)
        return self.project(stacked), frame_mask[:, :: self.factor]


class ConvolvedFrames(nn.Module):
    """Subsampling by two convolutions of width 3 with GELU; Whisper's strides are (1, 2)."""

    def __init__(self, num_mels: int, d_model: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.strides = strides
        self.first = nn.Conv1d(num_mels, d_model, 3, stride=strides[0], padding=1)
        self.second = nn.Conv1d(d_model, d_model, 3, stride=strides[1], padding=1)

    def forward(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
    ) -> tuple[Float[Tensor, "batch hidden d_model"], Bool[Tensor, "batch hidden"]]:
        """ceil(ceil(frames / s1) / s2) hidden frames."""
        mixed = (log_mel * frame_mask.unsqueeze(-1)).transpose(1, 2)
        for convolution, stride in zip((self.first, self.second), self.strides, strict=True):
            mixed = nn.functional.gelu(convolution(mixed))
            # A hidden frame is valid where the middle of its three is. The bias makes padding
            # something again, so it is zeroed before the next convolution looks at it.
            frame_mask = frame_mask[:, ::stride]
            mixed = mixed * frame_mask.unsqueeze(1)
        return mixed.transpose(1, 2), frame_mask


class ConvolvedSpectrogram(nn.Module):
    """Subsampling by two 3 x 3 convolutions of stride 2 over time and mel bands with GELU, then a
    linear map, as Conformer's (arXiv 2005.08100): a pattern that lies a little higher, as in
    another speaker's voice, is the same pattern."""

    def __init__(self, num_mels: int, d_model: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.project = nn.Linear(channels * ((num_mels + 3) // 4), d_model)

    def forward(
        self,
        log_mel: Float[Tensor, "batch frames mels"],
        frame_mask: Bool[Tensor, "batch frames"],
    ) -> tuple[Float[Tensor, "batch hidden d_model"], Bool[Tensor, "batch hidden"]]:
        """ceil(ceil(frames / 2) / 2) hidden frames."""
        mixed = (log_mel * frame_mask.unsqueeze(-1)).unsqueeze(1)
        for convolution in (self.first, self.second):
            mixed = nn.functional.gelu(convolution(mixed))
            frame_mask = frame_mask[:, ::2]
            mixed = mixed * frame_mask[:, None, :, None]
        return self.project(mixed.transpose(1, 2).flatten(2)), frame_mask


def context_mask(
    frame_mask: Bool[Tensor, "batch frames"],
    left: int | None,
    right: int | None,
    guides: int = 0,
) -> Bool[Tensor, "batch 1 #queries frames"]:
    """Which frames each frame may attend to: the valid ones, inside its context where limited.

    The first `guides` are tokens, which every frame sees, however far behind it they lie.
    """
    mask = frame_mask[:, None, None, :]
    if left is None and right is None:
        return mask
    index = torch.arange(frame_mask.shape[1], device=frame_mask.device)
    ahead = index[None, :] - index[:, None]
    near = torch.ones_like(ahead, dtype=torch.bool)
    if left is not None:
        # A token sees tokens alone, or it would carry the first frames to every later one.
        token = index < guides  # and no torch.where: ONNX Runtime has none of booleans
        near = ((ahead >= -left) & ~token[:, None]) | token[None, :]
    if right is not None:
        near = near & (ahead <= right)
    # Padding far behind the last frame would have nothing to attend to, and a softmax of nothing
    # is NaN: so each frame has at least itself.
    itself = ahead == 0
    return (mask & near) | itself


def with_positions(
    hidden: Float[Tensor, "rows frames d_model"],
    index: Int[Tensor, "#rows frames"],
    kind: str,
    learned: nn.Embedding | None,
) -> Float[Tensor, "rows frames d_model"]:
    """Absolute positions added where the configuration has such (rotary ones turn the keys)."""
    if learned is not None:
        return hidden + learned(index)
    if kind in ("sinusoidal", "whisper"):
        halves = kind == "whisper"
        return hidden + sinusoids(index, hidden.shape[-1], halves=halves).to(hidden.dtype)
    return hidden


def sinusoids(
    positions: Int[Tensor, "*shape"], d_model: int, *, halves: bool = False
) -> Float[Tensor, "*shape d_model"]:
    """Sines and cosines of 10000^(-2i/d): interleaved (arXiv 1706.03762), or as Whisper lays them
    out, all sines before all cosines with the timescales spread over d/2 - 1 steps."""
    half = d_model // 2
    steps = half - 1 if halves else half
    index = torch.arange(half, device=positions.device, dtype=torch.float32)
    rates = torch.exp(index * (-math.log(10000.0) / max(steps, 1)))
    angles = positions.unsqueeze(-1).float() * rates
    waves = (angles.sin(), angles.cos())
    return torch.cat(waves, dim=-1) if halves else torch.stack(waves, dim=-1).flatten(-2)


def rotate(
    states: Float[Tensor, "batch heads frames dim"], positions: Int[Tensor, "#batch frames"]
) -> Float[Tensor, "batch heads frames dim"]:
    """Rotary positions (arXiv 2104.09864): pairs (i, i + dim/2) turned by position * rate_i."""
    half = states.shape[-1] // 2
    index = torch.arange(half, device=states.device, dtype=torch.float32)
    rates = torch.exp(index * (-math.log(10000.0) / half))
    angles = (positions.unsqueeze(-1).float() * rates).unsqueeze(1)
    cosine, sine = angles.cos().to(states.dtype), angles.sin().to(states.dtype)
    first, second = states[..., :half], states[..., half:]
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
