"""The laws of routing: what must be equal to what."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from turnout.experts.bank import ExpertBank
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import (
    Learned,
    Route,
    Router,
    Supervised,
    among_experts,
    balance_loss,
    frames_per_expert,
    probability_per_expert,
)

D_MODEL = 12


def bank(experts: int, seed: int = 0) -> ExpertBank:
    torch.manual_seed(seed)
    return ExpertBank(experts, D_MODEL, 20, "silu")


def batch(seed: int, size: int = 3, frames: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(size, frames, D_MODEL, generator=generator)
    lengths = torch.randint(1, frames + 1, (size, 1), generator=generator)
    return hidden, torch.arange(frames) < lengths


def slowly(
    bank: ExpertBank,
    hidden: torch.Tensor,
    expert_index: torch.Tensor,
    frame_mask: torch.Tensor,
    gate: torch.Tensor | None,
) -> torch.Tensor:
    """The definition of a bank, frame by frame."""
    mixed = [[torch.zeros_like(frame) for frame in utterance] for utterance in hidden]
    for batch, frame in frame_mask.nonzero().tolist():
        expert = bank.experts[int(expert_index[batch, frame])]
        output = expert(hidden[batch, frame].unsqueeze(0)).squeeze(0)
        mixed[batch][frame] = output if gate is None else output * gate[batch, frame]
    return torch.stack([torch.stack(utterance) for utterance in mixed])


@settings(max_examples=25, deadline=None)
@given(experts=st.integers(1, 5), seed=st.integers(0, 1000), gated=st.booleans())
def test_fast_dispatch_is_the_slow_loop_gradients_included(
    experts: int, seed: int, gated: bool
) -> None:
    both = bank(experts)
    hidden, mask = batch(seed)
    index = torch.randint(0, experts, mask.shape)
    results = []
    for dispatch in (both, partial(slowly, both)):
        leaf = hidden.clone().requires_grad_()
        gate = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        output = dispatch(leaf, index, mask, gate if gated else None)
        wanted = [leaf, *both.parameters()] + ([gate] if gated else [])
        gradients = torch.autograd.grad(output.square().sum(), wanted, allow_unused=True)
        results.append((output, [g if g is not None else torch.zeros(1) for g in gradients]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    for fast, slow in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(fast, slow.expand_as(fast), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("autocast", "stream"),
    [(False, torch.float32), (True, torch.float32), (True, torch.bfloat16)],
)
@pytest.mark.parametrize("gated", [False, True])
def test_sorted_frames_are_the_static_loop_to_the_last_bit(
    gated: bool, autocast: bool, stream: torch.dtype
) -> None:
    """Gradients included, and of experts without frames: each sees the same rows both ways. Not to
    the last bit in bfloat16, where the loop adds to a stream of its precision."""
    six = bank(6)
    hidden, mask = batch(21)
    index = torch.randint(0, 5, mask.shape, generator=torch.Generator().manual_seed(2))
    results = []
    for dispatch in (six.sorted, six.dispatched):
        leaf = hidden.to(stream).requires_grad_()
        gate = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = dispatch(leaf, index, mask, gate if gated else None)
        assert output.dtype == stream
        wanted = [leaf, *six.parameters()] + ([gate] if gated else [])
        results.append((output, *torch.autograd.grad(output.square().sum(), wanted)))
    for one, other in zip(*results, strict=True):
        if autocast:
            torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-3)
        else:
            assert torch.equal(one, other)


@pytest.mark.parametrize("experts", [1, 3])
def test_padding_is_not_computed(experts: int) -> None:
    hidden, mask = batch(5)
    some = bank(experts)
    rows: list[int] = []
    for expert in some.experts:
        expert.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    index = torch.randint(0, experts, mask.shape)
    some(hidden, index, mask)
    assert not mask.all() and sum(rows) == mask.sum()


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("experts", [1, 3])
def test_a_batch_without_frames_is_zeros(experts: int, grad: bool) -> None:
    hidden, mask = batch(5)
    with torch.set_grad_enabled(grad):
        output = bank(experts)(hidden, torch.zeros_like(mask, dtype=torch.int64), mask & False)
    assert output.shape == hidden.shape and not output.any()


@pytest.mark.parametrize("experts", [1, 2])
def test_padding_reaches_no_expert(experts: int) -> None:
    hidden, mask = batch(5)
    hidden = hidden.masked_fill(~mask.unsqueeze(-1), float("nan"))
    some = bank(experts)
    output = some(hidden, torch.zeros_like(mask, dtype=torch.int64), mask)
    assert torch.isfinite(output).all()
    assert (output[~mask] == 0).all()
    output.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in some.parameters())


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_plain_is_the_dispatch_to_one_expert(padded: bool, gated: bool) -> None:
    """To the last bit where nothing is padded; the dispatch then sees the same rows."""
    three = bank(3)
    hidden, mask = batch(11)
    mask = mask if padded else torch.ones_like(mask)
    index = torch.full(mask.shape, 2)
    results = []
    for plain in (True, False):
        leaf = hidden.clone().requires_grad_()
        gate = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        given = gate if gated else None
        output = (
            three.plain(leaf, mask, 2, given)
            if plain
            else three.dispatched(leaf, index, mask, given)
        )
        wanted = [leaf, *three.experts[2].parameters()] + ([gate] if gated else [])
        results.append((output, *torch.autograd.grad(output.square().sum(), wanted)))
    for one, other in zip(*results, strict=True):
        if padded:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(one, other)


class Called(TorchDispatchMode):
    """The names of the operations that PyTorch is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.name().removeprefix("aten::").partition(".")[0])
        return func(*args, **(kwargs or {}))


SEEKING = {"nonzero", "index_select", "index_add", "index_add_", "index", "index_put_"}


@pytest.mark.parametrize(
    ("experts", "rule", "guide", "seeks"),
    [
        (1, None, [0, 0, 0], False),
        (1, Learned(), [0, 0, 0], False),
        (3, Supervised(3), [2, 2, 2], False),
        (3, Supervised(3), [2, 0, 2], True),
    ],
)
def test_one_expert_for_all_seeks_no_rows(
    experts: int, rule: Supervised | Learned | None, guide: list[int], seeks: bool
) -> None:
    hidden, mask = batch(4)
    mask = torch.ones_like(mask)
    layer = FeedForward(bank(experts), rule).eval()
    with Called() as called:
        layer(hidden, mask, Route(torch.tensor(guide), Router(D_MODEL, experts)))
    assert bool(called.names & SEEKING) is seeks, called.names & SEEKING


def test_under_one_guide_a_batch_is_that_of_the_dense_model() -> None:
    hidden, mask = batch(12)
    layer = FeedForward(bank(3), Supervised(3))
    guide = torch.tensor([1, 1, 1])
    dense = FeedForward(bank(1))
    dense.bank.experts[0].load_state_dict(layer.bank.experts[1].state_dict())
    expected, _ = dense(hidden, mask, Route(guide * 0))
    found, _ = layer.eval()(hidden, mask, Route(guide))
    assert torch.equal(found, expected)
    # In training every expert has a gradient, as each rank's optimizer expects.
    trained, _ = layer.train()(hidden, mask, Route(guide))
    torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)
    trained.sum().backward()
    assert all(parameter.grad is not None for parameter in layer.bank.parameters())


def test_an_expert_without_frames_has_a_gradient_of_zeros() -> None:
    hidden, mask = batch(5)
    experts = bank(2)
    experts(hidden, torch.zeros_like(mask, dtype=torch.int64), mask).sum().backward()
    gradients = [parameter.grad for parameter in experts.experts[1].parameters()]
    assert all(grad is not None and not grad.any() for grad in gradients)
    assert all(p.grad is not None and p.grad.any() for p in experts.experts[0].parameters())


def test_one_expert_is_dense() -> None:
    hidden, mask = batch(1)
    route = Route(torch.zeros(3, dtype=torch.int64), Router(D_MODEL, 1))
    dense, _ = FeedForward(bank(1))(hidden, mask, route)
    for rule in (Supervised(1), Learned()):
        routed, _ = FeedForward(bank(1), rule)(hidden, mask, route)
        assert torch.equal(dense, routed)


def test_hybrid_with_one_group_is_omni_and_with_groups_of_one_is_supervised() -> None:
    hidden, mask = batch(2)
    guide = torch.tensor([1, 0, 2])
    torch.manual_seed(3)
    router = Router(D_MODEL, 3)
    omni, decisions = FeedForward(bank(3), Learned())(hidden, mask, Route(guide * 0, router))
    one_group = Router(D_MODEL, 3, num_groups=1)
    one_group.load_state_dict(router.state_dict())
    hybrid, _ = FeedForward(bank(3), Learned())(hidden, mask, Route(guide * 0, one_group))
    assert torch.equal(omni, hybrid)
    assert decisions is not None and len(decisions.expert_index.unique()) > 1

    singles = Router(D_MODEL, 1, num_groups=3)
    hybrid, _ = FeedForward(bank(3), Learned())(hidden, mask, Route(guide, singles))
    supervised, _ = FeedForward(bank(3), Supervised(3))(hidden, mask, Route(guide))
    assert torch.equal(hybrid, supervised)


def test_hybrid_stays_inside_the_group() -> None:
    hidden, mask = batch(7)
    guide = torch.tensor([1, 0, 1])
    _, routing = FeedForward(bank(6), Learned())(hidden, mask, Route(guide, Router(D_MODEL, 3, 2)))
    assert routing is not None
    assert torch.equal(routing.expert_index // 3, guide.unsqueeze(1).expand(mask.shape))
    torch.testing.assert_close(routing.probabilities.sum(-1), torch.ones(mask.shape))


@pytest.mark.parametrize("gate", ["probability", "straight_through"])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_router_learns_from_the_task(gate: str, groups: int) -> None:
    """By hand: y = g E(x) with dg = dp, so that dL/dz_k = (dL/dy . E(x)) p (1[k chosen] - p_k)."""
    hidden, mask = batch(3)
    router = Router(D_MODEL, 4 // groups, groups)
    guide = torch.tensor([0, 1, 0]) % groups
    experts = bank(4)
    layer = FeedForward(experts, Learned(gate))  # type: ignore[arg-type]
    output, routing = layer(hidden, mask, Route(guide, router))
    wanted = torch.randn(output.shape, generator=torch.Generator().manual_seed(9))
    (output * wanted).sum().backward()
    assert routing is not None
    by_hand = torch.zeros_like(router.linear.weight)
    with torch.no_grad():
        for place, frame in mask.nonzero().tolist():
            chosen = int(routing.expert_index[place, frame])
            p = routing.probabilities[place, frame]
            answer = experts.experts[chosen](hidden[place, frame].unsqueeze(0)).squeeze(0)
            pull = float(wanted[place, frame] @ answer) * p[chosen]
            slope = pull * (torch.nn.functional.one_hot(torch.tensor(chosen), 4) - p)
            by_hand += torch.outer(slope, hidden[place, frame])
    assert router.linear.weight.grad is not None
    torch.testing.assert_close(router.linear.weight.grad, by_hand, rtol=1e-4, atol=1e-5)
    assert by_hand.abs().max() > 0.01


def test_straight_through_keeps_the_function_of_equal_experts() -> None:
    hidden, mask = batch(4)
    experts = bank(4)
    for expert in experts.experts:
        expert.load_state_dict(experts.experts[0].state_dict())
    route = Route(torch.zeros(3, dtype=torch.int64), Router(D_MODEL, 4))
    dense, _ = FeedForward(bank(1))(hidden, mask, route)
    kept, _ = FeedForward(experts, Learned("straight_through"))(hidden, mask, route)
    scaled, _ = FeedForward(experts, Learned("probability"))(hidden, mask, route)
    torch.testing.assert_close(kept, dense, rtol=1e-5, atol=1e-6)
    assert (scaled - dense).abs().max() > 0.05


def test_the_router_stays_in_float32_under_autocast() -> None:
    hidden, _ = batch(6)
    router = Router(D_MODEL, 4)
    group = torch.zeros(3, dtype=torch.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        probabilities = router(hidden, group)
    assert probabilities.dtype == torch.float32
    assert torch.equal(probabilities, router(hidden, group))


def test_probabilities_are_the_softmax_over_experts_gradient_included() -> None:
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    logits[0, :, 2] = float("-inf")  # outside a group
    upstream = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(2))
    results = []
    for softmax in (among_experts, lambda given: given.softmax(dim=-1)):
        leaf = logits.clone().requires_grad_()
        found = softmax(leaf)
        results.append((found, *torch.autograd.grad((found * upstream).sum(), leaf)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    assert results[0][0].shape == logits.shape and (results[0][0][0, :, 2] == 0).all()


def test_balance_loss_golden_values() -> None:
    # Two experts, 3 of 4 frames on the first, mean probabilities 0.7 and 0.3:
    # 2 * (0.75 * 0.7 + 0.25 * 0.3) = 1.2.
    loss = balance_loss(torch.tensor([3.0, 1.0]), torch.tensor([2.8, 1.2]), 2)
    assert loss.item() == pytest.approx(1.2)
    even = balance_loss(torch.full((4,), 5.0), torch.full((4,), 5.0), 4)
    assert even.item() == pytest.approx(1.0)
    # Two groups of two: 1.2 over 4 frames, 1.0 over 12: (1.2 * 4 + 1.0 * 12) / 16.
    grouped = balance_loss(
        torch.tensor([3.0, 1.0, 6.0, 6.0]), torch.tensor([2.8, 1.2, 6.0, 6.0]), 2
    )
    assert grouped.item() == pytest.approx(1.05)
    assert balance_loss(torch.zeros(4), torch.zeros(4), 2).item() == 0


def test_statistics_leave_padding_out() -> None:
    hidden, mask = batch(8)
    _, routing = FeedForward(bank(2), Learned())(
        hidden, mask, Route(torch.zeros(3, dtype=torch.int64), Router(D_MODEL, 2))
    )
    assert routing is not None
    assert frames_per_expert(routing).sum() == mask.sum()
    torch.testing.assert_close(probability_per_expert(routing).sum(), mask.sum().float())
