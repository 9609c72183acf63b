"""The parts of the loss, and that accumulation divides by what the whole step holds."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.unit.training.toy import joined, toy_batch, toy_config, toy_model
from turnout.config import ObjectiveConfig, RoutingConfig
from turnout.data.batch import Batch, padded_ids
from turnout.model.build import build_model
from turnout.model.decoder import DecoderOutput
from turnout.model.speech_model import EncoderOutput, SpeechModel
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.objective import (
    Objective,
    Parts,
    attention_loss,
    count_step,
    ctc_loss,
    frames_needed,
)
from turnout.training.step import Stepper

LEARNED = [
    RoutingConfig(kind="switch", num_experts=3, jitter=0.0),
    RoutingConfig(kind="omni", num_experts=3, jitter=0.0),
    RoutingConfig(kind="hybrid", num_experts=2, jitter=0.0),
]
FIXED = [RoutingConfig(kind="dense"), RoutingConfig(kind="supervised")]


@pytest.fixture
def ranks(tmp_path) -> Ranks:
    return Ranks(open_fabric(toy_config(tmp_path)))


def run(model: SpeechModel, batch: Batch) -> tuple[EncoderOutput, DecoderOutput | None]:
    return model(
        batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth, batch.rows,
        batch.tokens, batch.token_counts, batch.decoder_guide,
    )  # fmt: skip


def parts_of(model: SpeechModel, batch: Batch, ranks: Ranks, **changes: float) -> Parts:
    counts, _ = count_step([batch], ranks)
    return Objective(ObjectiveConfig(**changes), model, ranks)(run(model, batch), batch, counts)


def test_the_loss_is_the_weighted_sum_of_its_parts(ranks: Ranks) -> None:
    torch.manual_seed(0)
    model = build_model(toy_model(LEARNED[1])).eval()
    parts = parts_of(model, toy_batch("a"), ranks, ctc_weight=0.4, balance_weight=0.5)
    ctc, attention, _, _ = parts.local.tolist()
    expected = 0.4 * ctc + 0.6 * attention + 0.5 * float(parts.balance)
    assert float(parts.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(parts.balance) > 0.9 * 4  # two conformer blocks, two routed halves each


def test_a_batch_without_a_single_token_is_trained_on(ranks: Ranks) -> None:
    """Noise with empty text may fill a batch."""
    model, batch = build_model(toy_model()), toy_batch("e")
    none = torch.zeros_like(batch.ctc_lengths)
    empty = replace(batch, ctc_targets=padded_ids([[]] * len(none), 0), ctc_lengths=none)
    parts = parts_of(model, empty, ranks)
    parts.loss.backward()
    assert bool(torch.isfinite(parts.loss))
    assert int(parts.local[2]) == 0


def test_ctc_is_per_target_token_and_equals_the_definition(ranks: Ranks) -> None:
    torch.manual_seed(0)
    model, batch = build_model(toy_model()).eval(), toy_batch("b")
    with torch.no_grad():
        output, _ = run(model, batch)
        parts = parts_of(model, batch, ranks)
    total = 0.0
    assert output.ctc_logits is not None
    for row in range(len(batch.ctc_lengths)):
        frames, tokens = int(output.frame_mask[row].sum()), int(batch.ctc_lengths[row])
        log_probs = output.ctc_logits[row, :frames].log_softmax(-1).unsqueeze(1)
        target = batch.ctc_targets[row : row + 1, :tokens]
        total += float(
            functional.ctc_loss(
                log_probs, target, torch.tensor([frames]), torch.tensor([tokens]), reduction="sum"
            )
        )
    assert float(parts.local[0]) == pytest.approx(total / int(batch.ctc_lengths.sum()), rel=1e-4)


def test_an_utterance_too_short_for_its_target_adds_zero_and_is_counted(ranks: Ranks) -> None:
    logits = torch.zeros(2, 4, 9, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True] * 4])
    targets, lengths = padded_ids([[5, 5, 5], [5, 6, 7, 8]], 0), torch.tensor([3, 4])
    assert frames_needed(targets, lengths).tolist() == [5, 4]
    batch = replace(toy_batch("c", 2), ctc_targets=targets, ctc_lengths=lengths)
    loss, too_short = ctc_loss(logits, mask, batch)
    loss.backward()
    assert int(too_short) == 1
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad[1].any()


def test_attention_leaves_out_what_is_not_trained() -> None:
    logits = torch.randn(2, 3, 7)
    labels = torch.tensor([[1, -100, 2], [-100, 3, -100]])
    loss, right = attention_loss(logits, labels, 0.1)
    chosen = [(0, 0, 1), (0, 2, 2), (1, 1, 3)]
    expected = 0.0
    for row, place, label in chosen:
        log_probs = logits[row, place].log_softmax(-1)
        expected -= 0.9 * float(log_probs[label]) + 0.1 * float(log_probs.mean())
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    found = [int(logits[row, place].argmax()) == label for row, place, label in chosen]
    assert int(right) == sum(found)


@pytest.mark.parametrize("routing", LEARNED, ids=lambda r: r.kind)
def test_balance_is_one_per_layer_when_balanced(routing: RoutingConfig, ranks: Ranks) -> None:
    model = build_model(toy_model(routing)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "router" in name:
                parameter.zero_()
    parts = parts_of(model, toy_batch("d"), ranks)
    # Equal probabilities: N * sum(f_i / N) = 1 whoever gets the frames.
    assert float(parts.balance) == pytest.approx(4.0, rel=1e-5)


def test_a_batch_without_rows_still_counts_the_decoder_experts(ranks: Ranks) -> None:
    model, batch = build_model(toy_model()).eval(), toy_batch("e")
    none = torch.zeros(0, dtype=torch.int64)
    empty = replace(
        batch,
        rows=none,
        decoder_guide=none,
        tokens=batch.tokens[:0],
        token_counts=none,
        labels=batch.labels[:0],
    )
    with_rows, without = parts_of(model, batch, ranks), parts_of(model, empty, ranks)
    assert [len(f) for f in without.frames] == [len(f) for f in with_rows.frames]
    assert not without.frames[-1].any()
    assert with_rows.frames[-1].all()


@pytest.mark.parametrize("routing", [*FIXED, *LEARNED], ids=lambda r: r.kind)
def test_accumulation_equals_one_batch(routing: RoutingConfig, tmp_path, ranks: Ranks) -> None:
    """Two micro-batches of different sizes give the gradient of the two joined (the balance loss,
    which is not linear, left out)."""
    config = toy_config(tmp_path, objective=ObjectiveConfig(balance_weight=0.0))
    torch.manual_seed(0)
    model = build_model(toy_model(routing, dropout=0.0))
    stepper = Stepper(config, model, ranks)
    parts = [toy_batch("f", 2), toy_batch("g", 5)]

    def gradients(batches: list[Batch]) -> list[torch.Tensor]:
        counts, _ = count_step(batches, ranks)
        model.train()
        stepper._gradients(batches, counts, 0)
        ranks.sum_gradients(stepper.gradients.parameters)
        return [p.grad.clone() for p in stepper.gradients.parameters if p.grad is not None]

    for one, two in zip(gradients([joined(*parts)]), gradients(parts), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
