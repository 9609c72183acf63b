"""What benchmarks/experts_cuda.py holds its systems against, and what it says without a GPU."""

import math
import sys

import cuda_layers
import experts_cuda
import pytest
import torch

CPU = torch.device("cpu")
SIZE = cuda_layers.Size(width=16, inner=32, valid=48, experts=(4,))


def alike(monkeypatch: pytest.MonkeyPatch, factor: float) -> dict:
    """How far all are from the truth where the sorted loop's output is times `factor`."""
    for name in ("PEERS", "their_groups"):
        there = cuda_layers.layers if name == "PEERS" else cuda_layers
        monkeypatch.setattr(there, name, {} if name == "PEERS" else missing)
    made, lacking = cuda_layers.systems(SIZE, 4, CPU)
    assert lacking == {"grouped products of transformers": "ImportError: not installed"}
    layer, module = made["turnout, sorted loop"]
    made["turnout, sorted loop"] = (lambda given: factor * layer(given)), module
    found = cuda_layers.held_against_truth(made, cuda_layers.batches(SIZE, CPU)[0])
    assert "truth" not in made and set(found) == {"turnout", "turnout, sorted loop"}
    return found


def missing(*_: object) -> cuda_layers.layers.Made:
    raise ImportError("not installed")


@pytest.mark.parametrize(("factor", "told"), [(1.0, []), (1.02, ["turnout, sorted loop"])])
def test_a_way_that_computes_something_else_is_told(
    factor: float, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = alike(monkeypatch, factor)
    assert cuda_layers.wrong(found) == told
    assert found["turnout"]["finite beside NaN"] and found["turnout"]["zero without frames"]
    for broken in ({"output": math.inf}, {"finite beside NaN": False}, {"gradients": 0.06}):
        worse = {"turnout": found["turnout"] | broken}
        assert cuda_layers.wrong(worse) == ["turnout"]
    assert cuda_layers.wrong({"turnout": {"failed": "RuntimeError: none"}}) == ["turnout"]


def test_what_is_not_finite_is_infinitely_far() -> None:
    off = cuda_layers.apart(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
    assert off == pytest.approx(0.1)
    assert cuda_layers.apart(torch.tensor([math.nan]), torch.ones(1)) == math.inf
    assert cuda_layers.apart(torch.zeros(2), torch.zeros(2)) == 0


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["experts_cuda.py"])
    with pytest.raises(SystemExit, match="PyTorch sees no GPU; --device cpu --quick tries it out"):
        experts_cuda.main()
