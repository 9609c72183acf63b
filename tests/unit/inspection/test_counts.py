"""Each count and statistic against a case that is worked by hand."""

from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest

from tests.unit.inspection.test_statistics import LAYOUT, record
from turnout.guidance import Bandwidth
from turnout.inspection.counts import SHUFFLES, Counts, count, counts_of, moves_of, nothing
from turnout.inspection.information import entropy, information
from turnout.inspection.labels import Span
from turnout.inspection.record import Layout, RoutingRecord
from turnout.inspection.statistics import Statistics, statistics_of

TWO = Layout(("1", "2"), ("0", "1"), "omni", 0.5)


def only(made: RoutingRecord, layout: Layout = TWO, shift: int = 1) -> Statistics:
    """The statistics of one recording, whose things are all moved by so many frames."""
    return Statistics(count(made, layout, lambda _: [shift] * SHUFFLES))


def test_information_of_a_table_worked_by_hand() -> None:
    # x is 0 three times of four; where x is 1, y is 1 as well.
    table = np.array([[2, 1], [0, 1]])
    of_x = -(3 / 4 * log(3 / 4) + 1 / 4 * log(1 / 4))
    together = -(1 / 2 * log(1 / 2) + 2 * 1 / 4 * log(1 / 4))
    assert entropy(table.sum(axis=1)) == pytest.approx(of_x)
    assert information(table) == pytest.approx(of_x + log(2) - together)
    assert information(np.array([[1, 1], [1, 1]])) == 0


def test_pairs_are_counted_as_they_are_and_moved_in_time() -> None:
    found = count(record([[0, 0, 0, 1], [0, 0, 1, 1]]), TWO, lambda _: [1])
    assert found.joint[0, 0, :, 1].tolist() == [[2, 1], [0, 1]]
    # The second row, one frame later: 1 0 0 1.
    assert found.joint[1, 0, :, 1].tolist() == [[2, 1], [0, 1]]
    # Against itself: 1 0 0 0.
    assert found.joint[1, 0, :, 0].tolist() == [[2, 1], [1, 0]]


def test_layers_that_are_alike_agree_fully_once_chance_is_taken_off() -> None:
    found = only(record([[0, 0, 0, 1], [0, 0, 0, 1]]))
    whole = -(3 / 4 * log(3 / 4) + 1 / 4 * log(1 / 4))
    chance = 2 * whole + (1 / 2 * log(1 / 2) + 2 * 1 / 4 * log(1 / 4))
    assert found.chance[0, 1] == pytest.approx(chance / whole)
    assert found.adjusted_information[0, 1] == pytest.approx(1)
    assert found.agreement == pytest.approx(1)


def test_agreement_with_chance_taken_off_worked_by_hand() -> None:
    found = only(record([[0, 0, 0, 1], [0, 0, 1, 1]]), shift=2)
    first = -(3 / 4 * log(3 / 4) + 1 / 4 * log(1 / 4))
    together = -(1 / 2 * log(1 / 2) + 2 * 1 / 4 * log(1 / 4))
    real = first + log(2) - together
    # Two frames later, the second row is 1 1 0 0: pairs 01 twice, 00 once, 10 once.
    chance = first + log(2) - together
    most = sqrt(first * log(2))
    assert found.mutual_information[0, 1] == pytest.approx(real / most)
    assert found.adjusted_information[0, 1] == pytest.approx((real - chance) / (most - chance))
    assert found.adjusted_information[0, 1] == pytest.approx(0)


def test_agreement_is_the_same_both_ways() -> None:
    random = np.random.default_rng(1)
    found = statistics_of([record(random.integers(0, 2, (2, 60)))], TWO)
    for values in (found.adjusted_information, found.chance):
        np.testing.assert_allclose(values, values.T)


def test_slow_layers_that_know_nothing_of_each_other_agree_by_chance_alone() -> None:
    """Without the controls, two that stay long on an expert would seem to agree."""
    random = np.random.default_rng(3)
    slow = [np.repeat(random.integers(0, 2, 40), 25) for _ in range(2)]
    found = statistics_of([record(slow)], TWO)
    assert found.mutual_information[0, 1] > 0.004
    assert abs(found.adjusted_information[0, 1]) < 0.03


def test_padding_is_in_no_count() -> None:
    plain = record([[0, 1, 1, 0], [1, 1, 0, 0]])
    wide = record([[0, 1, 1, 0, -1, -1], [1, 1, 0, 0, -1, -1]])
    one, other = (count(made, TWO, lambda _: [1]) for made in (plain, wide))
    for name in ("frames", "joint", "runs"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_the_mean_length_on_one_expert() -> None:
    found = only(record([[0, 0, 1, 1, 1, -1, 1, 0], [0] * 5 + [-1] + [0] * 2]))
    # 00 111 1 0 are four stretches, since a gap ends one; the second row has two.
    assert found.counts.runs.tolist() == [4, 2]
    assert found.run_length.tolist() == [7 / 4, 7 / 2]


def probabilities(*rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_doubt_is_the_mean_entropy_of_the_router_s_probabilities() -> None:
    made = replace(
        record([[0, 1, -1], [0, 0, -1]]),
        probabilities=probabilities(
            [[0.75, 0.25], [0.5, 0.5], [0.1, 0.9]], [[1, 0], [1, 0], [0.5, 0.5]]
        ),
    )
    found = only(made)
    quarter = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert found.doubt is not None and found.probability is not None
    np.testing.assert_allclose(found.doubt, [(quarter + log(2)) / 2 / log(2), 0], atol=1e-6)
    np.testing.assert_allclose(found.probability, [[0.625, 0.375], [1, 0]])


def test_a_group_s_doubt_is_of_the_experts_of_the_group() -> None:
    layout = Layout(("1",), ("a 0", "a 1", "b 0", "b 1"), "hybrid", 0.5, of_group=2)
    made = replace(record([[0, 1]]), probabilities=probabilities([[0.5, 0.5, 0, 0]] * 2))
    found = only(made, layout)
    assert found.doubt is not None
    np.testing.assert_allclose(found.doubt, [1.0])


def test_without_probabilities_doubt_is_not_known() -> None:
    found = only(record([[0, 1], [1, 0]]))
    assert found.doubt is None and found.probability is None


def test_letters_tell_what_experts_are_for() -> None:
    # Two frames a letter: a a b b, and a frame without one.
    spans = (Span("a", 0.0, 1.0), Span("b", 1.0, 2.0))
    made = replace(record([[0, 0, 1, 1, 1], [0, 1, 0, 1, 1]]), letters=spans)
    told = only(made).letters
    assert told.labels == ("a", "b")
    assert told.counts[0].tolist() == [[2, 0], [0, 2]]
    assert told.counts[1].tolist() == [[1, 1], [1, 1]]
    assert told.share.tolist() == [1, 0]
    assert told.best == 0
    # Moved by one frame, a a b b is b a a b: each expert has one of each.
    assert told.chance[0] == pytest.approx(0)


def test_silence_is_told_from_sound() -> None:
    made = replace(
        record([[0, 0, 1, 1], [0, 1, 0, 1]]), silent=np.array([True, True, False, False])
    )
    told = only(made, shift=2).silence
    assert sorted(told.labels) == ["silence", "sound"]
    assert told.share.tolist() == [1, 0]
    assert told.chance.tolist() == [1, 0]


def test_speakers_change_places_among_recordings_for_chance() -> None:
    def spoken(name: str, expert: int) -> RoutingRecord:
        return replace(record([[expert] * 4, [0, 1, 0, 1]]), speaker=name)

    found = statistics_of([spoken("x", 0), spoken("y", 1), spoken("x", 0), spoken("y", 1)], TWO)
    assert found.speakers.labels == ("x", "y")
    assert found.speakers.counts[0].tolist() == [[8, 0], [0, 8]]
    assert found.speakers.share.tolist() == [1, 0]
    assert 0 < found.speakers.chance[0] < 1 and found.speakers.chance[1] == 0


def test_who_alone_speaks_a_language_tells_no_more_than_the_language() -> None:
    def spoken(name: str, language: str, expert: int) -> RoutingRecord:
        return replace(record([[expert] * 4] * 2, language=language), speaker=name)

    alone = [spoken("x", "ar", 0), spoken("y", "en", 1)] * 2
    found = statistics_of(alone, TWO).speakers
    assert found.share.tolist() == found.chance.tolist() == [1, 1]
    # Beside x another speaker of Arabic takes expert 1: x tells more than Arabic does.
    told = statistics_of([*alone, spoken("z", "ar", 1), spoken("z", "ar", 1)], TWO).speakers
    assert told.share.tolist() == [1, 1]
    assert (told.chance < 0.95).all()


def test_starved_experts_are_those_below_a_tenth_of_their_share() -> None:
    # Of 60 frames, an equal share of two is 30: two are starved, four are not.
    found = only(record([[0] * 58 + [1] * 2, [0] * 56 + [1] * 4]))
    assert found.starved == (("1", "1"),)
    assert found.dead == ()


def test_only_the_experts_of_a_group_share_its_frames() -> None:
    layout = Layout(("1",), ("a 0", "a 1", "b 0", "b 1"), "hybrid", 0.5, of_group=2)
    found = only(record([[0] * 30 + [1] * 30 + [2]]), layout)
    assert found.starved == ()
    assert found.dead == (("1", "b 1"),)


def test_recordings_one_by_one_are_as_all_together() -> None:
    made = [
        replace(record([[0, 1, 1], [1, 1, 0]]), name="a", speaker="x"),
        replace(record([[1, 1], [0, 0]]), name="b", letters=(Span("é", 0, 1),)),
    ]
    whole = counts_of(made, TWO)
    parts = nothing(TWO) + counts_of(made[:1], TWO) + counts_of(made[1:], TWO)
    assert whole.frames.tolist() == [[1, 4], [3, 2]]
    for name in ("frames", "joint", "runs", "asked", "probability", "doubt"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert whole.letters.tables["é"].tolist() == parts.letters.tables["é"].tolist()
    assert [name for name, *_ in parts.speakers] == ["x"]


def test_what_is_moved_follows_from_the_name_alone() -> None:
    made = record([[0, 1] * 50, [1, 0] * 50])
    first = moves_of(made)(100)
    assert first == moves_of(made)(100) and len(first) == SHUFFLES
    assert all(25 <= shift <= 75 for shift in first)
    assert first != moves_of(replace(made, name="another"))(100)


@pytest.mark.parametrize("frames", range(2, 12))
def test_nothing_is_moved_back_to_its_own_place(frames: int) -> None:
    for name in "abcdefgh":
        made = replace(record([[0]]), name=name)
        assert all(0 < shift < frames for shift in moves_of(made)(frames))


def test_two_tokens_that_agree_agree_by_chance_no_less() -> None:
    """Of 0 1 there is no other order than 1 0, which tells as much."""
    found = counts_of([record([[0, 1], [0, 1]])], TWO)
    assert found.joint[1:, 0, :, 1].tolist() == [[[0, 1], [1, 0]]] * SHUFFLES


def test_letters_are_moved_among_the_frames_that_have_one() -> None:
    """By more than these are they would come back: a quarter of 100 frames is three times 8."""
    index = np.array([[0] * 4 + [1] * 4 + [0] * 92] * 2)
    made = replace(record(index), letters=(Span("a", 0, 2), Span("b", 2, 4)))
    tables = counts_of([made], TWO).letters.tables
    assert tables["a"][0, 0].tolist() == [4, 0]
    # By two to six frames of the eight, at most two of a's four stay with their expert.
    assert tables["a"][1:, 0, 0].max() <= 2
    assert tables["a"][1:, 0].sum(axis=-1).tolist() == [4] * SHUFFLES


def test_recordings_of_which_nothing_was_taken_are_of_no_kind() -> None:
    heard, silent = record([[0, 1]] * 2), record(np.zeros((2, 0)), bandwidth=Bandwidth.NARROWBAND)
    found = statistics_of([heard, silent], TWO)
    assert list(found.by_guidance) == ["wideband, ar"]


def test_a_router_is_balanced_that_uses_its_group_alike() -> None:
    """Which group it is was not its choice: 1 of 4 frames in another takes nothing from it."""
    layout = Layout(("1", "2"), ("a 0", "a 1", "b 0", "b 1"), "hybrid", 0.5, of_group=2)
    found = only(record([[0, 0, 1, 1, 1, 0, 2, 2], [0, 1, 0, 1, 0, 1, 2, 3]]), layout)
    np.testing.assert_allclose(found.entropy, [3 / 4, 1])


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_a_recording_of_hardly_a_frame_is_counted(frames: int) -> None:
    found = statistics_of([record(np.zeros((2, frames)))], LAYOUT)
    assert found.frames.sum() == 2 * frames
    for values in (found.adjusted_information, found.chance, found.run_length, found.load):
        assert np.isfinite(values).all()


def test_a_dense_stack_is_counted_as_nothing() -> None:
    dense = Layout((), (), "dense", 0.04)
    found: Counts = counts_of([record(np.zeros((0, 3)))], dense)
    assert found.frames.shape == (0, 0)
    assert Statistics(found).letters.labels == ()
