from dataclasses import dataclass, field
from typing import Any

import numpy as np

from turnout.config import EncoderConfig, RoutingConfig
from turnout.decoding.backend import Encoded
from turnout.guidance import Bandwidth, Guidance
from turnout.inspection.trace import trace
from turnout.transcription.segments import AudioSegment

from tests.doubles import model_config  # isort: skip


@dataclass
class CountingBackend:
    """Sends hidden frame t of the feed-forward k to expert (first mel value + t + k) % 4."""

    config: Any = field(
        default_factory=lambda: model_config(
            encoder=EncoderConfig(num_layers=1, routing=RoutingConfig(kind="omni"))
        )
    )

    def encode(self, log_mel, frame_mask, guidance):  # noqa: ARG002
        hidden = -(-log_mel.shape[1] // self.config.encoder.subsampling_factor)
        steps = np.arange(hidden) + int(log_mel[0, 0, 0])
        index = np.stack([steps % 4, (steps + 1) % 4])[:, None]
        return Encoded(np.ones((1, hidden), np.bool_), None, index, None)


GUIDANCE = Guidance(bandwidth=Bandwidth.WIDEBAND, language="ar")


def segment(start, frames, value=0, sound=None):
    log_mel = np.full((frames, 80), value, np.float32)
    return AudioSegment(start, start + frames / 100, log_mel, sound if sound else frames)


def test_one_segment_is_taken_as_it_is():
    log_mel, expert_index = trace(CountingBackend(), [segment(0.0, 9)], GUIDANCE)
    assert expert_index.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert log_mel.shape == (9, 80)


def test_segments_lie_where_they_belong_and_gaps_have_no_expert():
    windows = [segment(0.0, 8), segment(0.16, 8, 3)]
    log_mel, expert_index = trace(CountingBackend(), windows, GUIDANCE)
    assert expert_index[0].tolist() == [0, 1, -1, -1, 3, 0]
    assert log_mel[:, 0].tolist() == [0] * 16 + [3] * 8


def test_a_segment_that_overhangs_by_a_fraction_is_cut():
    _, expert_index = trace(CountingBackend(), [segment(0.0, 6), segment(0.06, 5)], GUIDANCE)
    assert expert_index.shape == (2, 3)


def test_a_recording_without_a_frame_has_no_experts():
    assert trace(CountingBackend(), [segment(0.0, 0)], GUIDANCE)[1].shape == (2, 0)
    assert trace(CountingBackend(), [], GUIDANCE)[0].shape == (0, 80)


def test_the_silence_that_pads_a_window_takes_no_expert():
    log_mel, index = trace(CountingBackend(), [segment(0.0, 32, sound=9)], GUIDANCE)
    assert index.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert log_mel.shape == (9, 80)
