"""Labels on actors of Ray: the same as without, whoever is killed. Each run is a process of its
own, with a cluster of its own."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.labelling.hearer import Hearer, labelled, models
from tests.unit.labelling.test_label import ROOT, lines, written
from tests.unit.shards.corpus import recording
from turnout.errors import GuidanceError, TurnoutError, UsageError
from turnout.labelling import cluster as joined
from turnout.labelling.cluster import (
    Actors,
    Cluster,
    Hearing,
    Make,
    Unit,
    check_answers,
    given_up,
    parted,
)
from turnout.labelling.cluster import _Piece as Piece

ray = pytest.mark.skipif("not __import__('importlib.util').util.find_spec('ray')")


def clustered(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.labelling.clustered", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@ray
@pytest.mark.slow
def test_actors_and_drivers_that_die_change_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(1, 6):
        recording(folder / f"r{number}.wav", 3.0 if number != 2 else 1.0)
    labelled(folder, tmp_path / "at once", Hearer(), Hearer("other"))
    # The driver is killed behind a part, and the same command goes on.
    assert clustered(folder, out, 1).returncode == -9
    assert not (out / "cuts.jsonl.gz").exists()
    done = clustered(folder, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["5", "5"]
    assert written(out) == written(tmp_path / "at once")
    heard = Counter((tmp_path / "out.log").read_text().splitlines())
    assert len(heard) == 10
    # Two actors may each have had a part that was not written when the driver ended.
    assert sum(heard.values()) <= 10 + 2 * 2


@ray
@pytest.mark.slow
def test_an_input_that_ends_its_process_is_given_up(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "poison", "z"):
        recording(folder / f"{name}.wav", 1.0)
    done = clustered(folder, out)
    assert done.returncode == 0, done.stderr
    assert [one["id"] for one in lines(out / "cuts.jsonl.gz")] == ["a", "z"]
    report = (out / "report.json").read_text()
    assert "poison.wav: the process that heard it ended, 2 times" in report
    heard = Counter((tmp_path / "out.log").read_text().splitlines())
    assert heard["hearer poison"] == 4  # twice among others, twice alone


def test_a_piece_is_tried_twice_then_its_items_alone() -> None:
    unit = Unit(0, 0, ["a", "b", "c"])
    whole = Piece(unit, range(3))
    (again,) = parted(whole)
    assert (list(again.places), again.deaths) == ([0, 1, 2], 1)
    alone = parted(again)
    assert [(list(one.places), one.deaths) for one in alone] == [([0], 0), ([1], 0), ([2], 0)]
    assert [list(given_up(one)) for one in (whole, again, alone[1])] == [[], [], []]
    (last,) = parted(alone[1])
    assert parted(last) == []
    assert list(given_up(last)) == [1]


class RayError(Exception):
    """As Ray's: of a process that ended, or a node that its answer lay on."""


class TaskError(RayError):
    """As Ray's, of a call that raised something."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class StandIn:
    """Ray, and its actors, in one process: calls are done when they are asked for. `fails` says
    what becomes of an item, or of a beginning."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, RayError=RayError)

    def __init__(self, **fails: Exception) -> None:
        self.fails = fails
        self.facts = ("1", "digest")
        self.heard: Counter[str] = Counter()
        self.killed = self.made = 0
        self.full = 0
        """How often nothing is through yet."""

    def actor(self) -> SimpleNamespace:
        """A new one."""
        self.made += 1
        begin = SimpleNamespace(remote=lambda: lambda: self._done(["begin"]) and self.facts)
        hear = SimpleNamespace(remote=lambda items: lambda: self._done(items))
        return SimpleNamespace(begin=begin, hear=hear)

    def wait(
        self, calls: list[Any], num_returns: int, timeout: float
    ) -> tuple[list[Any], list[Any]]:
        assert num_returns == 1 and timeout == 60.0
        if self.full:
            self.full -= 1
            return [], calls
        return calls[:1], calls[1:]

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.5}

    def get(self, call: Any) -> Any:
        return call()

    def kill(self, _actor: object) -> None:
        self.killed += 1

    def _done(self, items: list[str]) -> list[dict[str, str]]:
        self.heard.update(items)
        for item in items:
            if item in self.fails:
                raise self.fails[item]
        return [{"row": item} for item in items]

    def rows(self, *units: str, asked: list[int] | None = None) -> dict[int, list[Any]]:
        """What comes of units, each a word of items, on two actors."""
        actors = Actors(self, self.actor, 2, ("1", "digest"))

        def each() -> Iterator[Unit]:
            for number, items in enumerate(units):
                if asked is not None:
                    asked.append(number)
                yield Unit(number, 0, list(items))

        found = {}
        for unit, rows in actors.rows(each()):
            assert asked is None or len(asked) <= len(found) + 2 + 2
            found[unit.number] = [row.get("row", row) for row in rows]
        return found


class Here:
    """A cluster of actors in this process."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def actor(self) -> SimpleNamespace:
        """A new one."""
        actor = Hearing(self._make)
        begin = SimpleNamespace(remote=lambda: actor.begin)
        return SimpleNamespace(
            begin=begin, hear=SimpleNamespace(remote=lambda items: lambda: actor.hear(items))
        )

    @contextmanager
    def opened(self, digests: Sequence[str]) -> Iterator[Actors]:
        """As of a Cluster."""
        yield Actors(StandIn(), self.actor, 2, (version("turnout"), *digests))


def test_actors_hear_what_is_not_there_and_the_driver_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(1, 5):
        recording(folder / f"r{number}.wav", number)
    labelled(folder, tmp_path / "at once", Hearer(), Hearer("other"))
    (folder / "bad.wav").touch()
    driver, heard = (Hearer(), Hearer("other")), (Hearer(), Hearer("other"))
    labelled(folder, tmp_path / "bad too", Hearer(), Hearer("other"))
    cluster = Here(lambda: models(*heard))
    _, told = labelled(folder, out, *driver, cluster)
    assert written(out) == written(tmp_path / "bad too") != written(tmp_path / "at once")
    assert sorted(told) == [0.0, 1.0, 2.0, 3.0, 4.0]
    # What is there is heard by nobody; where all is, nothing is begun.
    next(out.glob("second-*/000001.jsonl")).unlink()
    for one in heard:
        one.given.clear()
    _, told = labelled(folder, out, *driver, cluster)
    assert [one.given for one in heard] == [[], ["r3"]]
    assert told == [0.0] * 5
    labelled(folder, out, *driver, object())
    assert [one.given for one in driver] == [[], []]
    assert written(out) == written(tmp_path / "bad too")


def test_units_are_asked_for_as_there_is_room() -> None:
    asked: list[int] = []
    words = [f"{chr(97 + n)}x" for n in range(20)]
    assert StandIn().rows(*words, "", asked=asked) == {
        **{n: list(word) for n, word in enumerate(words)}, 20: [],
    }  # fmt: skip
    assert asked == list(range(21))
    assert StandIn().rows() == {}


def test_a_cluster_without_room_is_waited_for_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = StandIn()
    cluster.full = 3
    assert cluster.rows("ab") == {0: ["a", "b"]}
    (said,) = caplog.messages
    assert "no actor has begun within 60 s" in said and "free: 0.5 CPUs, 0 GPUs" in said


def test_what_ends_its_process_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turnout.labelling.cluster.lost", lambda item: {"row": f"lost {item}"})
    cluster = StandIn(p=RayError("it died"))
    found = cluster.rows("ab", "cpd", "ef", "p")
    assert found == {0: ["a", "b"], 1: ["c", "lost p", "d"], 2: ["e", "f"], 3: ["lost p"]}
    assert cluster.heard["p"] == 4 + 2
    assert cluster.killed == 6
    assert cluster.made == 2 + 6  # another for each


@pytest.mark.parametrize(
    ("fails", "kind", "reason"),
    [
        ({"begin": RayError("no memory")}, TurnoutError, "no actor of the cluster is left: no m"),
        ({"begin": TaskError(UsageError("no model 'x'"))}, UsageError, "no model 'x'"),
        ({"b": TaskError(GuidanceError("not that"))}, GuidanceError, "not that"),
        ({"b": TaskError(ValueError("odd\nline"))}, TurnoutError, r"go on: ValueError: odd\\nline"),
    ],
)
def test_what_is_no_inputs_fault_is_one_line(
    fails: dict[str, Exception], kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        StandIn(**fails).rows("ab", "cd")


@pytest.mark.parametrize(
    ("facts", "what"), [(("2", "digest"), "turnout"), (("1", "other"), "model of this name")]
)
def test_nodes_with_something_else_installed_are_refused(facts: tuple[str, str], what: str) -> None:
    cluster = StandIn()
    cluster.facts = facts
    with pytest.raises(UsageError, match=f"a node of the cluster has another {what}"):
        cluster.rows("ab")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "ray://127.0.0.1:1", "ray://me:secret@127.0.0.1:1", "127.0.0.1:x", "[::1]:99"],
)
def test_an_address_where_nobody_answers_is_one_line(address: str) -> None:
    with pytest.raises(UsageError, match="no cluster of Ray at ") as caught:
        check_answers(address)
    assert address.replace("me:secret@", "") in str(caught.value)
    assert "secret" not in str(caught.value)
    assert ("refused" in str(caught.value)) == address.endswith("127.0.0.1:1")
    check_answers("auto")
    check_answers(None)


@pytest.mark.parametrize(("mode", "told"), [(None, True), ("token", False)])
def test_a_cluster_that_lets_nobody_in_may_want_a_token(
    mode: str | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's clusters want one of whoever joins, and Ray does not say that it is missing."""

    def refused(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.1:6379")

    monkeypatch.setattr(joined, "ray_module", lambda: SimpleNamespace(init=refused))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    asked = Cluster(make=lambda: models(Hearer()), address="auto", actors=1, cpus=1)
    with pytest.raises(UsageError, match="no cluster of Ray at auto: Failed to connect") as caught:
        asked.opened(()).__enter__()
    assert ("set RAY_AUTH_MODE=token here" in str(caught.value)) == told


def test_a_cluster_of_this_machine_that_does_not_come_up_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nSee its logs.")  # as Ray does

    monkeypatch.setattr(joined, "ray_module", lambda: SimpleNamespace(init=late))
    asked = Cluster(make=lambda: models(Hearer()), address=None, actors=1, cpus=1)
    with pytest.raises(UsageError, match="^no cluster of Ray on this machine: The .* startup.$"):
        asked.opened(()).__enter__()
