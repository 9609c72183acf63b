import numpy as np
import pytest

from turnout.guidance import Bandwidth, Guidance, Task
from turnout.inspection.record import Layout, RoutingRecord
from turnout.inspection.statistics import dead_in_words, statistics_of
from turnout.text.transcript import Transcript

LAYOUT = Layout(("1", "2"), ("0", "1", "2"), "omni", 0.04)


def record(index, bandwidth=Bandwidth.WIDEBAND, language="ar"):
    index = np.asarray(index, np.int64)
    return RoutingRecord(
        name="a.wav",
        log_mel=np.zeros((4 * index.shape[1], 80), np.float32),
        expert_index=index,
        guidance=Guidance(bandwidth=bandwidth, language=language),
        transcript=Transcript(
            text="", language=language, task=Task.TRANSCRIBE, duration_seconds=1.0,
            bandwidth=bandwidth,
        ),
    )  # fmt: skip


def test_load_counts_every_frame_once_and_leaves_gaps_out():
    found = statistics_of([record([[0, 0, 1, -1], [2, 2, 2, -1]])], LAYOUT)
    assert found.frames.tolist() == [[2, 1, 0], [0, 0, 3]]
    np.testing.assert_allclose(found.load, [[2 / 3, 1 / 3, 0], [0, 0, 1]])


def test_entropy_is_one_when_balanced_and_zero_for_one_expert():
    found = statistics_of([record([[0, 1, 2], [1, 1, 1]])], LAYOUT)
    np.testing.assert_allclose(found.entropy, [1.0, 0.0], atol=1e-12)


def test_the_same_path_in_both_layers_agrees_fully():
    found = statistics_of([record([[0, 1, 2, 0], [0, 1, 2, 0]])], LAYOUT)
    np.testing.assert_allclose(found.same_expert, np.ones((2, 2)))
    np.testing.assert_allclose(found.mutual_information, np.ones((2, 2)))


def test_renamed_experts_agree_in_information_alone():
    found = statistics_of([record([[0, 1, 0, 1], [1, 0, 1, 0]])], LAYOUT)
    assert found.same_expert[0, 1] == 0
    assert found.mutual_information[0, 1] == pytest.approx(1)


def test_independent_layers_share_no_information():
    first = np.repeat([0, 1, 2], 3)
    found = statistics_of([record([first, np.tile([0, 1, 2], 3)])], LAYOUT)
    assert found.same_expert[0, 1] == pytest.approx(1 / 3)
    assert found.mutual_information[0, 1] == pytest.approx(0, abs=1e-9)


def test_frames_are_counted_by_guidance():
    found = statistics_of(
        [
            record([[0, 0], [0, 0]]),
            record([[1], [1]], Bandwidth.NARROWBAND, "en"),
            record([[2], [2]]),
        ],
        LAYOUT,
    )
    counts = {key: value.tolist() for key, value in found.by_guidance.items()}
    assert counts == {"wideband, ar": [4, 0, 2], "narrowband, en": [0, 2, 0]}


def test_dead_experts_are_named_with_their_layers():
    found = statistics_of([record([[0, 0], [0, 1]])], LAYOUT)
    assert dead_in_words(found) == (
        "expert '1' took no frame in layer 1",
        "expert '2' took no frame in any layer",
    )


def test_no_recordings_are_no_crash():
    found = statistics_of([], LAYOUT)
    assert found.frames.sum() == 0
    assert not np.isnan(found.load).any()
    assert len(found.dead) == 6
