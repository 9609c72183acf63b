"""What the server's benchmark says of growth, of rates and of wrong answers."""

import numpy as np
import pytest
from serve import rates
from serve_soak import LEAKED_BYTES, MOST_BYTES, bad_request, slope
from serving import Answer, Taken, Upload, latencies, wrong

UPLOAD = Upload("a.flac", bytes(range(256)), 2.0, "hello")


def looks(left: float, noise_mb: float = 2.0) -> list[tuple[float, int, Taken]]:
    """Of a server of which every request leaves so many bytes."""
    rng = np.random.default_rng(0)
    memory = [180 + 10 * n * left / 2**20 + rng.uniform(0, noise_mb) for n in range(300)]
    return [(2.0 * n, 10 * n, Taken(one, 13, 11, 1)) for n, one in enumerate(memory)]


@pytest.mark.parametrize("left", [0, 20_000, LEAKED_BYTES])
def test_what_a_request_leaves_is_seen_through_noise(left: int) -> None:
    found = slope(looks(left))
    assert abs(found - left) < MOST_BYTES
    assert (found > MOST_BYTES) == (left > 0)


def test_one_jump_is_no_slope() -> None:
    steady = looks(0)
    jumped = [(at, sent, Taken(190.0 + 60 * (sent > 2950), 13, 11, 1)) for at, sent, _ in steady]
    assert abs(slope(jumped)) < MOST_BYTES


def test_a_soak_that_is_too_short_says_so() -> None:
    with pytest.raises(SystemExit, match="too short"):
        slope(looks(0)[:1])


def test_what_comes_too_late_counts_for_no_rate_and_what_is_refused_neither() -> None:
    answers = [
        (UPLOAD, Answer(200, 1.0, "hello")),
        (UPLOAD, Answer(200, 3.0, "other")),
        (UPLOAD, Answer(200, 9.0, "hello", late=True)),
        (UPLOAD, Answer(429, 0.1, retry_after=2.0)),
    ]
    found = rates(answers, 4.0)
    assert (found["requests"], found["requests_per_second"]) == (3, 0.5)
    assert found["audio_seconds_per_second"] == 1.0
    assert found["statuses"] == {"200": 3, "429": 1}
    assert wrong(answers) == 1
    assert latencies([]) == {"p50_seconds": None, "p95_seconds": None}


def test_bad_requests_are_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    found = [bad_request(rng, [UPLOAD]) for _ in range(60)]
    names = {upload.name for upload, _ in found}
    assert names == {"cut", "noise", "flipped", UPLOAD.name}
    assert {key for _, fields in found for key in fields} == {"language", "response_format"}
    assert all(upload.data != UPLOAD.data or fields for upload, fields in found)
