"""Attention where the device is no CPU."""

from typing import Any

import pytest
import torch
from torch import Tensor

from turnout.model.layers import attend


def test_attention_on_a_gpu_prepares_nothing_for_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's kernel would, for each; "meta" stands for a device that is no CPU."""
    allowed: list[bool] = []
    real = torch.nn.functional.scaled_dot_product_attention

    def asked(*arguments: Any, **options: Any) -> Tensor:
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return real(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", asked)
    before = torch.backends.cuda.cudnn_sdp_enabled()
    queries, keys, values = (torch.empty(2, 4, 7, 8, device="meta") for _ in range(3))
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool, device="meta")
    assert attend(queries, keys, values, mask).shape == queries.shape
    assert allowed == [False]
    assert torch.backends.cuda.cudnn_sdp_enabled() == before
