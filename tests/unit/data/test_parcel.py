"""Batches on their way between processes: the same to the bit, in one piece of memory."""

from dataclasses import replace
from multiprocessing import reduction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.data.test_batch import EXAMPLES, TOKENIZER
from tests.unit.data.test_loader import loader, same
from tests.unit.data.words import small_model, write_words
from turnout.config import DecoderConfig, ModelConfig
from turnout.data.batch import Batch, Collator, Example, Recorded
from turnout.data.parcel import ALIGNED, packed, unpacked
from turnout.guidance import Bandwidth

RECORDED = Recorded(log_mel=np.ones((70, 80), np.float32), bandwidth=Bandwidth.NARROWBAND)
HEARD = [replace(one, clean=RECORDED) for one in EXAMPLES]
CTC = small_model(decoder=DecoderConfig(num_layers=0))


def batch_of(examples: list[Example], model: ModelConfig) -> Batch:
    return replace(Collator(model, TOKENIZER).batch(examples), lost=("one", "two"))


def tensors_of(batch: Batch) -> list[Tensor]:
    return [v for v in vars(batch).values() if isinstance(v, Tensor)] + [*(batch.clean or ())]


@pytest.mark.parametrize("model", [small_model(), CTC], ids=["decoder", "ctc alone"])
@pytest.mark.parametrize("examples", [EXAMPLES, HEARD], ids=["alone", "with a teacher"])
def test_what_arrives_is_what_was_sent(examples: list[Example], model: ModelConfig) -> None:
    batch = batch_of(examples, model)
    assert (batch.clean is None) == (examples is EXAMPLES)
    arrived = unpacked(packed(batch))
    assert same([replace(arrived, clean=None)], [replace(batch, clean=None)])
    for one, other in zip(tensors_of(arrived), tensors_of(batch), strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype and one.is_contiguous()
        assert one.storage_offset() * one.itemsize % ALIGNED == 0


def test_one_piece_of_memory_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is asked of its worker by a greeting of its own."""
    sent: list[int] = []
    duplicate = reduction.DupFd
    monkeypatch.setattr(reduction, "DupFd", lambda fd: [sent.append(fd), duplicate(fd)][1])
    batch = batch_of(HEARD, small_model())
    reduction.ForkingPickler.dumps(packed(batch))
    assert len(sent) == 1
    reduction.ForkingPickler.dumps(batch)
    assert len(sent) > 10


def test_workers_hand_over_parcels(tmp_path: Path) -> None:
    working = loader(write_words(tmp_path, takes=8), workers=1)
    batch = next(iter(working.batches(0)))
    working.close()
    assert len({one.untyped_storage().data_ptr() for one in tensors_of(batch)}) == 1
