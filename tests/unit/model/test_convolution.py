"""The convolution of a Conformer against PyTorch's own of one dimension."""

import pytest
import torch
from torch import Tensor, nn

from turnout.model.layers import convolved


def gradients(depthwise: nn.Conv1d, hidden: Tensor, found: Tensor, weights: Tensor) -> list[Tensor]:
    inputs = [hidden, *depthwise.parameters()]
    return [*torch.autograd.grad(found, inputs, weights)]


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 7), (3, 40), (40, 21), (2, 300)])
@pytest.mark.parametrize("channels", [16, 100])
def test_frames_with_channels_innermost_are_convolved_to_the_same_bits(
    batch: int, frames: int, channels: int
) -> None:
    torch.manual_seed(1)
    depthwise = nn.Conv1d(channels, channels, 15, padding=7, groups=channels)
    hidden = torch.randn(batch, frames, channels, requires_grad=True)
    expected = depthwise(hidden.transpose(1, 2)).transpose(1, 2)
    found = convolved(depthwise, hidden)
    assert found.shape == hidden.shape
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    pairs = zip(
        gradients(depthwise, hidden, found, weights),
        gradients(depthwise, hidden, expected, weights),
        strict=True,
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
