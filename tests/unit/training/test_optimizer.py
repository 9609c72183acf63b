"""Groups, schedule, and experts that train as one."""

import copy

import pytest
import torch

from tests.unit.training.toy import toy_batch, toy_config, toy_model
from turnout.config import OptimizerConfig, RoutingConfig
from turnout.guidance import Guide
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.optimizer import Gradients, build_optimizer, learning_rate
from turnout.training.state import RunState
from turnout.training.step import Stepper

DENSE = RoutingConfig(kind="dense")


def test_decay_reaches_matrices_alone_and_a_shared_router_once() -> None:
    omni = RoutingConfig(kind="omni", num_experts=3)
    model = build_model(toy_model(omni, DENSE))
    matrices, vectors = build_optimizer(model, OptimizerConfig(weight_decay=0.3)).param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in matrices["params"])
    assert all(p.ndim < 2 for p in vectors["params"])
    everything = [id(p) for group in (matrices, vectors) for p in group["params"]]
    assert len(everything) == len(set(everything)) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("decay", "middle", "end"),
    [
        ("cosine", 0.505, 0.01),
        ("linear", 0.505, 0.01),
        ("constant", 1.0, 1.0),
        ("inverse_sqrt", (4 / 52) ** 0.5, 0.2),
    ],
)
def test_warm_up_then_decay(decay: str, middle: float, end: float) -> None:
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=4, decay=decay)  # pyright: ignore[reportArgumentType]
    assert [learning_rate(config, step, 0.0, 0.0) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate(config, 4, 0.04, 0.04) == pytest.approx(1.0)
    assert learning_rate(config, 52, 0.52, 0.04) == pytest.approx(middle)
    assert learning_rate(config, 100, 1.0, 0.04) == pytest.approx(end)


def steppers(tmp_path, **changes: object) -> tuple[Stepper, Stepper]:
    """A dense model and a tied supervised one with its weights."""
    config = toy_config(tmp_path, **changes)
    ranks = Ranks(open_fabric(config))
    torch.manual_seed(0)
    dense = build_model(toy_model(DENSE, DENSE, dropout=0.0))
    routed = build_model(
        toy_model(
            RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
            RoutingConfig(kind="supervised", guided_by=(Guide.TASK,)),
            dropout=0.0,
        )
    )
    fitted = fit_state(routed, dense.state_dict())
    assert not fitted.missing
    assert not fitted.mismatched
    return Stepper(config, dense, ranks), Stepper(config, routed, ranks)


def test_tied_experts_take_the_steps_of_the_dense_twin(tmp_path) -> None:
    dense, routed = steppers(tmp_path, tie_experts_until=10)
    for step in range(3):
        batches = [toy_batch(f"tied{step}")]
        reports = [s(batches, RunState(step=step, updates=step), 0.1) for s in (dense, routed)]
        # The norm counts a bank once, so that it is the dense model's.
        assert reports[1].norm == pytest.approx(reports[0].norm, rel=1e-4)
    expected = copy.deepcopy(routed.model)
    fit_state(expected, dense.model.state_dict())
    for (name, found), (_, wanted) in zip(
        routed.model.named_parameters(), expected.named_parameters(), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-3, msg=name)
    for same in routed.gradients.tied:
        for other in same[1:]:
            assert torch.equal(other, same[0])
            for moment in ("exp_avg", "exp_avg_sq"):
                states = routed.optimizer.state
                assert torch.equal(states[other][moment], states[same[0]][moment])


def test_afterwards_they_part(tmp_path) -> None:
    _, routed = steppers(tmp_path, tie_experts_until=1)
    same = routed.gradients.tied[0]
    for step in range(2):
        assert torch.equal(same[0], same[1])
        routed([toy_batch(f"apart{step}")], RunState(step=step, updates=step), 0.1)
    assert not torch.equal(same[0], same[1])


def test_a_tied_run_begins_with_equal_experts() -> None:
    gradients = Gradients(build_model(toy_model()))
    first, second = gradients.tied[0]
    assert not torch.equal(first, second)
    gradients.make_equal()
    assert all(torch.equal(other, same[0]) for same in gradients.tied for other in same)


def test_clipping_scales_to_the_largest_norm(tmp_path) -> None:
    _, routed = steppers(tmp_path)
    routed([toy_batch("clip")], RunState(), 0.0)
    gradients = routed.gradients
    for parameter in gradients.parameters:
        parameter.grad = torch.ones_like(parameter)
    norm = gradients.norm(tied=False)
    torch.nn.utils.clip_grads_with_norm_(gradients.parameters, 0.5, norm)
    assert float(gradients.norm(tied=False)) == pytest.approx(0.5, rel=1e-4)


def test_on_a_cpu_adamw_takes_its_step_in_one_pass_and_takes_the_same() -> None:
    """By hand: decoupled weight decay, then the step of bias-corrected moments (arXiv
    1711.05101)."""
    layer = torch.nn.Linear(3, 2)
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, betas=(0.8, 0.9))
    optimizer = build_optimizer(layer, config)
    assert optimizer.defaults["fused"] is True
    for parameter, decay in ((layer.weight, 0.5), (layer.bias, 0.0)):
        before = parameter.detach().clone()
        first, second = torch.zeros_like(before), torch.zeros_like(before)
        for step in range(1, 4):
            gradient = torch.full_like(before, 0.3 * step)
            parameter.grad = gradient.clone()
            optimizer.step()
            parameter.grad = None
            first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
            moved = (first / (1 - 0.8**step)) / ((second / (1 - 0.9**step)).sqrt() + 1e-8)
            before = before * (1 - 0.1 * decay) - 0.1 * moved
            torch.testing.assert_close(parameter.detach(), before)
