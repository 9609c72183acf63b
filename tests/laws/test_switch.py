"""Gate, experts and balance loss are Switch's: transformers' SwitchTransformers is the oracle."""

from typing import Any

import pytest
import torch

from turnout.experts.bank import ExpertBank
from turnout.experts.feed_forward import FeedForward
from turnout.experts.routing import (
    Learned,
    Route,
    Router,
    balance_loss,
    frames_per_expert,
    probability_per_expert,
)

pytest.importorskip("transformers")

D_MODEL, INNER, EXPERTS, FRAMES = 12, 20, 4, 50


def oracle_layer() -> Any:
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers import modeling_switch_transformers as theirs

    torch.manual_seed(0)
    config = SwitchTransformersConfig(
        d_model=D_MODEL,
        d_ff=INNER,
        num_experts=EXPERTS,
        expert_capacity=1000,  # dropless, as we are
        router_bias=False,
        router_jitter_noise=0.0,
        dropout_rate=0.0,
        dense_act_fn="relu",
    )
    return theirs.SwitchTransformersSparseMLP(config)


def same_as(oracle: Any) -> tuple[FeedForward, Router]:
    """Our layer with the oracle's weights; its experts have no biases."""
    layer = FeedForward(ExpertBank(EXPERTS, D_MODEL, INNER, "relu"), Learned("probability"))
    router = Router(D_MODEL, EXPERTS, bias=False)
    with torch.no_grad():
        # Wide apart, so that every expert has frames that it is chosen for without doubt.
        oracle.router.classifier.weight.normal_(generator=torch.Generator().manual_seed(1))
        router.linear.weight.copy_(oracle.router.classifier.weight)
        for ours, theirs in zip(layer.bank.experts, oracle.experts.values(), strict=True):
            ours.up.weight.copy_(theirs.wi.weight)
            ours.down.weight.copy_(theirs.wo.weight)
            ours.up.bias.zero_()
            ours.down.bias.zero_()
    return layer, router


def frames() -> torch.Tensor:
    return torch.randn(1, FRAMES, D_MODEL, generator=torch.Generator().manual_seed(2))


def test_the_layer_and_its_gradients_are_switchs() -> None:
    oracle = oracle_layer()
    layer, router = same_as(oracle)
    ours, theirs = frames().requires_grad_(), frames().requires_grad_()
    mask = torch.ones(1, FRAMES, dtype=torch.bool)
    found, routing = layer(ours, mask, Route(torch.zeros(1, dtype=torch.int64), router))
    expected = oracle(theirs)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert routing is not None
    index, gate, logits = oracle.router(frames())
    assert torch.equal(routing.expert_index, index.argmax(dim=-1))
    assert len(routing.expert_index.unique()) == EXPERTS
    torch.testing.assert_close(routing.gate, gate.squeeze(-1))
    torch.testing.assert_close(routing.probabilities, logits.softmax(dim=-1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)

    wanted = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    (found * wanted).sum().backward()
    (expected * wanted).sum().backward()
    pairs = [(ours, theirs), (router.linear.weight, oracle.router.classifier.weight)]
    for one, other in zip(layer.bank.experts, oracle.experts.values(), strict=True):
        pairs += [(one.up.weight, other.wi.weight), (one.down.weight, other.wo.weight)]
    for one, other in pairs:
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0])
def test_the_balance_loss_and_its_gradient_are_switchs(scale: float) -> None:
    from transformers.models.switch_transformers.modeling_switch_transformers import (
        load_balancing_loss_func,
    )

    router = Router(D_MODEL, EXPERTS)
    with torch.no_grad():
        router.linear.weight.mul_(scale * D_MODEL**0.5)
    mask = torch.ones(1, FRAMES, dtype=torch.bool)
    route = Route(torch.zeros(1, dtype=torch.int64), router)
    routing = Learned()(frames(), mask, route)
    ours = balance_loss(frames_per_expert(routing), probability_per_expert(routing), EXPERTS)
    (own,) = torch.autograd.grad(ours, router.linear.weight)
    again = Learned()(frames(), mask, route)
    theirs = load_balancing_loss_func(again.probabilities, again.expert_index)
    (other,) = torch.autograd.grad(theirs, router.linear.weight)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
    assert scale == 0.0 or own.abs().max() > 1e-3
