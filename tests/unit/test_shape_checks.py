"""Shapes are checked in each test's first calls, as `tests/conftest.py` says."""

import pytest
import torch
from jaxtyping import TypeCheckError, _decorator

from turnout.experts.bank import Expert


@pytest.mark.parametrize("_", ["a test", "another, which begins anew"])
def test_a_wrong_shape_is_found_in_the_first_calls_alone(_: str) -> None:
    expert, cube = Expert(8, 12, "relu"), torch.zeros(2, 3, 8)
    with pytest.raises(TypeCheckError):
        expert(cube)
    checked = 0
    while not _decorator.config.jaxtyping_disable:
        checked += 1
    assert checked > 1_000
    assert expert(cube).shape == cube.shape
