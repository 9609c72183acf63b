"""Grouped products, CUDA's way through a bank, against the slow loop; their arithmetic, on CPU."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.nn import functional

from turnout.experts import grouped
from turnout.experts.bank import ExpertBank
from turnout.training.expert_parallel import SpreadBank
from turnout.training.low_rank import add_low_rank

pytestmark = pytest.mark.skipif(
    not hasattr(functional, "grouped_mm"), reason="this PyTorch has no F.grouped_mm"
)
D_MODEL, INNER, EXPERTS = 16, 24, 5
GROUPED_MM = getattr(functional, "grouped_mm", None)


def bank(dropout: float = 0.0) -> ExpertBank:
    torch.manual_seed(0)
    return ExpertBank(EXPERTS, D_MODEL, INNER, "silu", dropout)


def batch(utterances: int = 3, frames: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden frames, mask, experts; the last expert has none."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(utterances, frames, D_MODEL, generator=generator)
    lengths = torch.randint(1, frames + 1, (utterances, 1), generator=generator)
    index = torch.randint(EXPERTS - 1, (utterances, frames), generator=generator)
    return hidden, torch.arange(frames) < lengths, index


def results(
    way: str,
    some: ExpertBank,
    given: tuple[Tensor, Tensor, Tensor],
    *,
    gated: bool,
    outside: float = 0.0,
) -> list[Tensor]:
    """The output and every gradient: of the frames, of each expert's tensors, of the gate, which is
    `outside` at padding."""
    hidden, mask, index = given
    leaf = hidden.clone().requires_grad_()
    gate = torch.rand(mask.shape, generator=torch.Generator().manual_seed(2))
    gate = gate.masked_fill(~mask, outside).requires_grad_()
    output = getattr(some, way)(leaf, index, mask, gate if gated else None)
    upstream = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3))
    wanted = [leaf, *some.parameters()] + ([gate] if gated else [])
    found = torch.autograd.grad(output, wanted, upstream.to(output.dtype))
    return [output.detach(), *found]


def assert_alike(found: Sequence[Tensor], expected: Sequence[Tensor], share: float) -> None:
    """Each within this share of the largest element."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        room = share * float(other.float().abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=room)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("size", [(3, 9), (1, 1), (1, 9)])
def test_grouped_products_are_the_slow_loop(size: tuple[int, int], gated: bool) -> None:
    """Gradients included, and of an expert without frames."""
    given = batch(*size)
    found, expected = (
        results(way, bank(), given, gated=gated) for way in ("grouped", "dispatched")
    )
    assert_alike(found, expected, 1e-5)
    last = found[2 + 4 * (EXPERTS - 1) :][:4]
    assert len(last) == 4 and not any(gradient.any() for gradient in last)


@pytest.mark.parametrize(
    ("autocast", "stream"), [(True, torch.float32), (True, torch.bfloat16), (False, torch.bfloat16)]
)
def test_in_bfloat16_they_are_as_near_as_it_is(autocast: bool, stream: torch.dtype) -> None:
    hidden, mask, index = batch()
    some = bank() if autocast else bank().to(torch.bfloat16)
    given = hidden.to(stream), mask, index
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, expected = (
            results(way, some, given, gated=True) for way in ("grouped", "dispatched")
        )
    assert_alike(found, expected, 2e-2)
    assert found[0].dtype == stream and found[2].dtype == next(some.parameters()).dtype


def poisoned_product(rows: Tensor, weights: Tensor, *, offs: Tensor) -> Tensor:
    """A grouped product that leaves NaN behind the last end, as memory on CUDA may be, and reads
    nothing there."""
    assert GROUPED_MM is not None
    product = GROUPED_MM(rows, weights, offs=offs)
    if product.ndim == 2:
        product[int(offs[-1]) :] = float("nan")
    return product


@pytest.mark.parametrize("gated", [False, True])
def test_nothing_of_padding_reaches_anything(gated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what lay there nor what a product leaves behind."""
    hidden, mask, index = batch()
    index = index.masked_fill(~mask, -(2**40))
    expected = results("dispatched", bank(), (hidden, mask, index), gated=gated)
    monkeypatch.setattr(functional, "grouped_mm", poisoned_product)
    poisoned = hidden.masked_fill(~mask.unsqueeze(-1), float("nan")), mask, index
    found = results("grouped", bank(), poisoned, gated=gated, outside=float("nan"))
    assert_alike(found, expected, 1e-5)
    assert not mask.all() and not found[0][~mask].any() and not found[1][~mask].any()


def test_a_batch_of_padding_alone_is_zeros() -> None:
    hidden, mask, index = batch()
    found = results("grouped", bank(), (hidden, mask & False, index), gated=True)
    assert not any(tensor.any() for tensor in found)


def test_frozen_experts_have_no_gradient_and_the_others_theirs() -> None:
    some = bank()
    some.experts[1].requires_grad_(False)
    hidden, mask, index = batch()
    some.grouped(hidden, index, mask).square().sum().backward()
    assert all(p.grad is None for p in some.experts[1].parameters())
    assert all(p.grad is not None and p.grad.any() for p in some.experts[0].parameters())


def test_dropout_is_of_the_hidden_units() -> None:
    """The mean of many draws is the output without, and a draw is not."""
    some, (hidden, mask, index) = bank(dropout=0.25), batch()
    with torch.no_grad():
        kept = some.eval().grouped(hidden, index, mask)
        draws = torch.stack([some.train().grouped(hidden, index, mask) for _ in range(1000)])
    assert (draws[0] - kept).abs().max() > 0.05
    torch.testing.assert_close(draws.mean(dim=0), kept, rtol=0, atol=0.03)


def test_no_number_is_asked_of_the_device() -> None:
    """Fake tensors have shapes alone: whoever reads a value of one is told off."""
    with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
        some = bank()
        hidden = torch.randn(3, 9, D_MODEL, requires_grad=True)
        index, mask = torch.zeros(3, 9, dtype=torch.int64), torch.ones(3, 9).bool()
        some.grouped(hidden, index, mask, torch.rand(3, 9)).sum().backward()
        with pytest.raises(DynamicOutputShapeException):
            some.sorted(hidden, index, mask)


def test_where_grouped_products_have_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    capability = [9, 0]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: tuple(capability))
    assert grouped.has_kernel(cuda, torch.bfloat16, (256, 1024))
    assert not grouped.has_kernel(cpu, torch.bfloat16, (256, 1024))
    assert not grouped.has_kernel(cuda, torch.float32, (256, 1024))
    assert not grouped.has_kernel(cuda, torch.bfloat16, (256, 1020))
    capability[0] = 8
    assert not grouped.has_kernel(cuda, torch.bfloat16, (256, 1024))
    capability[0] = 10
    assert grouped.has_kernel(cuda, torch.bfloat16, (256, 1024))
    monkeypatch.delattr(functional, "grouped_mm")
    assert not grouped.has_kernel(cuda, torch.bfloat16, (256, 1024))


def test_the_precision_is_that_of_a_linear_layer() -> None:
    single, half = torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16)
    assert grouped.precision_of(single, single) == torch.float32
    assert grouped.precision_of(half, half) == torch.bfloat16
    assert grouped.precision_of(half, single) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert grouped.precision_of(single, single) == torch.bfloat16


@pytest.mark.parametrize("kernel", [False, True])
def test_a_bank_takes_them_where_there_is_a_kernel(
    kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, mask, index = batch()
    asked: list[tuple[torch.device, torch.dtype, tuple[int, ...]]] = []
    ways: list[str] = []

    def has_kernel(*given) -> bool:
        asked.append(given)
        return kernel

    monkeypatch.setattr(grouped, "has_kernel", has_kernel)
    for way in ("grouped", "sorted"):
        real = getattr(ExpertBank, way)
        monkeypatch.setattr(
            ExpertBank, way, lambda *given, way=way, real=real: (ways.append(way), real(*given))[1]
        )
    some = bank()
    some(hidden, index, mask)
    assert ways == ["grouped" if kernel else "sorted"]
    assert asked == [(torch.device("cpu"), torch.float32, (INNER, D_MODEL))]
    nobody = some(hidden[:0], index[:0], mask[:0])
    assert nobody.shape == hidden[:0].shape and ways[1] == "sorted"
    monkeypatch.setattr(grouped, "MOST_ROWS", 5)  # 27 frames, padding counted, of 5 experts
    some(hidden, index, mask)
    monkeypatch.setattr(grouped, "MOST_ROWS", 6)
    some(hidden, index, mask)
    assert ways[2:] == ["sorted", "grouped" if kernel else "sorted"]
    add_low_rank(some, 2)
    some(hidden, index, mask)
    assert ways[4] == "sorted", "the products of low rank would be left out"


def test_experts_that_are_dealt_to_ranks_are_not_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends frames has to know how many."""
    monkeypatch.setattr(grouped, "has_kernel", lambda *_: True)
    some = bank()
    assert some.groups(batch()[0])
    some.__class__ = SpreadBank
    assert not some.groups(batch()[0])
