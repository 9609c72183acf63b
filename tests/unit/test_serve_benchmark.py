"""What the server's benchmark says of growth, of rates and of wrong answers, and its tables."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import serve_rows
from serve import peer_server, rates
from serve_growth import LEAST_LOOKS, Look, enough, growth
from serve_soak import LEAKED_BYTES, bad_request, is_quiet, is_seen
from serving import Answer, Upload, latencies, wrong

from turnout.serving.metrics import Metrics

UPLOAD = Upload("a.flac", bytes(range(256)), 2.0, "hello")


def looks(
    left: dict[str, float], *, jump_mb: float = 0.0, every: int = 40, count: int = 120
) -> list[Look]:
    """Of a server of which every request leaves so much, beside what was seen of a sound one: noise
    of malloc's, and memory of the system in steps of some MB, ever rarer."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        requests = number * every
        steps = 2**20 * (3 * int(np.log2(1 + number)) + jump_mb * (number > 0.75 * count))
        held = {
            "malloc_bytes": 83.4e6 + rng.normal(0, 50_000),
            "python_blocks": 333_900 + rng.normal(0, 10),
            "resident_bytes": 204e6 + steps + rng.uniform(0, 300_000),
        }
        grown = {name: value + requests * left.get(name, 0) for name, value in held.items()}
        found.append(Look(10.0 * number, requests, grown))
    return found


def test_steps_of_an_allocator_are_no_growth() -> None:
    assert not growth(looks({}))["grows"]
    found = growth(looks({}, jump_mb=20.0))
    assert not found["grows"]
    one = found["left_by_a_request"]["resident_bytes"]
    assert one["low"] < 500 < one["high"], "the interval does not say how little is known"


@pytest.mark.parametrize(
    ("name", "left"),
    [("malloc_bytes", LEAKED_BYTES), ("python_blocks", 1.0), ("resident_bytes", 8192.0)],
)
def test_what_a_request_leaves_is_seen_wherever_it_is(name: str, left: float) -> None:
    found = growth(looks({name: left}))
    one = found["left_by_a_request"][name]
    assert found["grows"]
    assert one["low"] <= left * 1.2 and one["high"] >= left * 0.8
    assert one["a_request"] == pytest.approx(left, rel=0.3)


def test_the_planted_leak_is_seen_in_a_tenth_of_the_requests() -> None:
    short = growth(looks({"malloc_bytes": LEAKED_BYTES}, every=13, count=40))
    assert is_seen(short)
    assert not is_seen(growth(looks({}, every=13, count=40)))
    # Growth of something else is no proof that the planted leak was seen.
    assert not is_seen(growth(looks({"python_blocks": 3.0}, every=13, count=40)))


def test_a_soak_goes_on_until_something_can_be_told() -> None:
    assert not enough([])
    assert not enough(looks({})[: LEAST_LOOKS + 5])
    assert enough(looks({})[: 2 * LEAST_LOOKS + 1])


def test_a_server_is_quiet_once_nobody_is_at_work_or_waits() -> None:
    metrics = Metrics()
    assert is_quiet(metrics.render().decode())
    metrics.queued.set(1)
    assert not is_quiet(metrics.render().decode())


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


def test_the_peer_has_the_packages_of_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faster_whisper.py").write_text("raise SystemExit('the peer is here')")
    monkeypatch.syspath_prepend(tmp_path)
    done = subprocess.run(
        peer_server(tmp_path / "weights"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (1, "the peer is here")


def test_the_tables_of_the_document_are_those_of_the_results() -> None:
    found = serve_rows.MARKS.search(serve_rows.DOCUMENT.read_text("utf-8"))
    assert found is not None
    assert found[0] == f"{found[1]}{serve_rows.rendered(serve_rows.RESULTS)}\n{found[2]}"


def test_every_part_has_its_table(tmp_path: Path) -> None:
    latency = {"p50_seconds": 0.5, "p95_seconds": 1.0}
    made = {"command": "python benchmarks/serve.py", "commit": "0123456789abcdef"}
    load = {
        "clients": 8, "requests": 90, "requests_per_second": 3.0, "wrong_answers": 0,
        "audio_seconds_per_second": 12.3, **latency,
    }  # fmt: skip
    fair = {
        "alone": latency, "beside": {"p95_seconds": 1.5}, "p95_ratio": 1.5, "long_minutes": 60.0,
        "long_seconds_taken": 70.2, "jain_of_requests": 0.9991, "wrong_answers": 0,
    }  # fmt: skip
    whisper = [
        {"system": "turnout", "batching": True, **load},
        {"system": "faster-whisper", "batching": False, **load, "p95_seconds": None},
    ]
    for name, content in (
        ("serve", {"fairness": {**made, "found": fair}}),
        ("serve_whisper", {"load": {**made, "found": whisper}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    lines = serve_rows.rendered(tmp_path).splitlines()
    assert "| turnout | 8 | 3.0 | 12 | 0.50, 1.00 | 0 of 90 |" in lines
    assert "| faster-whisper | 8 | 3.0 | 12 | 0.50, - | 0 of 90 |" in lines
    assert (
        "| 20 clients of 5 s beside a file of 60 minutes | p95 1.50 s, without it 1.00 s: 1.50 "
        "times; Jain 0.999; the long file was done in 70 s; 0 wrong | `python benchmarks/serve.py`"
        ", commit 01234567 |"
    ) in lines
