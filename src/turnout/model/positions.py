"""Where a frame or token stands: rotary, sinusoidal (interleaved or Whisper's halves), learned."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
