"""Whose segments are decoded next: laws of fairness, whatever waits."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.serving.simulation import (
    ARRIVALS,
    LIMIT,
    SMALL,
    WHISPER,
    FirstCome,
    Machine,
    p95,
    segment,
    short_delays,
)
from turnout.serving.engine_queue import (
    ALIKE_SECONDS,
    SHORT_BATCH_SECONDS,
    FairQueue,
    Turn,
    Waiting,
)

INSTANT, SLOW = 1e-9, 1.0


def queue_of(
    lengths: Sequence[Sequence[float]], limit: int = LIMIT
) -> tuple[FairQueue, list[Turn], dict[int, int]]:
    """A queue, the turn of each of these requests, and whose each segment is, by its identity."""
    queue = FairQueue(limit)
    turns = [queue.join() for _ in lengths]
    owners = {}
    for number, (turn, seconds) in enumerate(zip(turns, lengths, strict=True)):
        for one in seconds:
            waiting = segment(one)
            owners[id(waiting)] = number
            queue.put(turn, waiting)
    return queue, turns, owners


lengths = st.lists(st.floats(0.1, 30), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(st.lists(lengths, min_size=1, max_size=12), st.sampled_from([None, INSTANT, SLOW]))
def test_everything_is_taken_once_and_in_each_request_s_order(
    requests: list[list[float]], pace: float | None
) -> None:
    queue, turns, _ = queue_of(requests)
    asked = [list(turn.waiting) for turn in turns]
    taken: list[Waiting] = []
    while batch := queue.take(pace):
        assert len(batch) <= LIMIT
        taken += batch
    assert len(queue) == 0
    for own in asked:
        assert [one for one in taken if any(one is each for each in own)] == own
    assert len(taken) == sum(map(len, asked))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.floats(0.1, 30), min_size=9, max_size=9), min_size=2, max_size=6))
def test_requests_that_always_wait_are_served_alike(requests: list[list[float]]) -> None:
    # Where a batch has room for everybody, nobody waits, and nothing has to be shared.
    queue, turns, _ = queue_of(requests, limit=1)
    longest = max(one.seconds for turn in turns for one in turn.waiting)
    while all(turn.waiting for turn in turns):
        served = [turn.served for turn in turns]
        assert max(served) - min(served) <= longest + 1e-6
        queue.take(SLOW)


@pytest.mark.parametrize("pace", [None, SLOW])
def test_a_long_request_never_holds_more_than_its_share_of_a_batch(pace: float | None) -> None:
    queue, _, owners = queue_of([[6.0] * 600, *[[5.0]] * 20])
    before: Counter[int] = Counter()
    for _ in range(3):
        batch = Counter(owners[id(one)] for one in queue.take(pace))
        assert batch[0] <= 1
        before += batch
    assert sum(before[short] for short in range(1, 21)) >= 20 - 2


@pytest.mark.parametrize("others", [1, 7, 8, 9, 30])
def test_whoever_comes_waits_for_no_more_batches_than_there_are_requests(others: int) -> None:
    queue, _, owners = queue_of([[20.0] * 100 for _ in range(others)])
    for _ in range(5):
        queue.take(SLOW)
    newcomer = segment(1.0)
    queue.put(queue.join(), newcomer)
    # As many as it takes to give all others one segment: nobody has to be served twice before.
    assert any(newcomer in queue.take(SLOW) for _ in range(-(-others // LIMIT) + 1))
    assert owners


def test_a_lone_request_fills_a_batch_only_where_batches_are_short() -> None:
    for pace, most in ((INSTANT, LIMIT), (SLOW, 1), (None, 1)):
        queue, _, _ = queue_of([[30.0] * 40])
        assert len(queue.take(pace)) == most
    of_four = SHORT_BATCH_SECONDS / (4 * 30.0)
    queue, _, _ = queue_of([[30.0] * 40])
    assert len(queue.take(of_four)) == 4


def test_one_at_a_time_is_one_at_a_time() -> None:
    queue, _, _ = queue_of([[3.0] * 3, [3.0]], limit=1)
    assert [len(queue.take(INSTANT)) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_like_lengths_are_decoded_together() -> None:
    queue, _, _ = queue_of([[6.0], [1.0], [5.0], [0.5], [6.0]], limit=3)
    assert [one.seconds for one in queue.take(SLOW)] == [6.0, 5.0, 6.0]
    assert [one.seconds for one in queue.take(SLOW)] == [1.0, 0.5]
    assert ALIKE_SECONDS < 5.0


def test_a_wider_beam_makes_nobody_wait() -> None:
    queue = FairQueue(LIMIT)
    greedy, wide = [segment(2.0) for _ in range(3)], [segment(2.0, beam_size=5) for _ in range(3)]
    for one, other in zip(greedy, wide, strict=True):
        queue.put(queue.join(), one)
        queue.put(queue.join(), other)
    assert [queue.take(INSTANT), queue.take(INSTANT)] == [greedy, wide]


def test_nobody_saves_up_by_asking_for_nothing() -> None:
    queue = FairQueue(1)
    idle, busy = queue.join(), queue.join()
    for _ in range(50):
        queue.put(busy, segment(6.0))
        queue.take(SLOW)
    for _ in range(10):
        queue.put(idle, segment(6.0))
        queue.put(busy, segment(6.0))
    for _ in range(10):
        queue.take(SLOW)
    assert 4 <= len(idle.waiting) <= 6


def test_what_leaves_is_not_decoded() -> None:
    queue, turns, owners = queue_of([[6.0] * 5, [6.0] * 2])
    queue.leave(turns[0])
    assert len(queue) == 2
    assert {owners[id(one)] for one in queue.take(INSTANT)} == {1}
    assert queue.take(INSTANT) == []


@pytest.mark.parametrize("machine", [WHISPER, SMALL], ids=["whisper", "shipped"])
@pytest.mark.parametrize("arrivals", ARRIVALS.values(), ids=ARRIVALS)
def test_short_requests_take_at_most_three_times_as_long_beside_a_long_one(
    machine: Machine, arrivals: Sequence[float]
) -> None:
    alone = p95(short_delays(machine, FairQueue(LIMIT), arrivals, 0))
    beside = p95(short_delays(machine, FairQueue(LIMIT), arrivals, 10_000))
    assert beside <= 3 * alone, f"{beside:.2f} s instead of {alone:.2f} s"
    first_come = p95(short_delays(machine, FirstCome(), arrivals, 10_000))
    assert first_come > 3 * alone, "the control"
