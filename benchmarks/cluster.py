"""What Ray's actors cost: against plain processes, and against the number of actors.

    python benchmarks/cluster.py [--model NAME] [--items 200] [--rounds 3] [--seconds 1]
        [--actors 1 2 4 8 16 32] [--each 10]

Needs the extra `cluster`.

- Two: two actors, and two plain processes, each with the model and one thread (of ONNX Runtime, and
  by OMP_NUM_THREADS of all else; both import NumPy under it), hear the recordings
  of examples/ over and over (`--items` in all, in parts of ten), in turns, `--rounds` times; from
  the moment that all are ready. The ratio is of the medians of their times. For a machine with two
  idle cores: `cores` says how many this process might use, `load` what else the machine did.
  --items 0 leaves it out.
- Simulated: a model that sleeps `--seconds` an item, on so many actors of Ray's local nodes (eight
  to a node), `--each` items an actor, each a part of its own; from the moment that all are ready.
  Efficiency is of what as many sleepers would take; what is beyond that, over the items of one
  actor, is the overhead of an item.

Writes results/cluster.json beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from origin import ROOT, origin

from turnout.cli.bulk import writer_of
from turnout.cli.options import ModelOptions
from turnout.config.transcription import TranscriptionOptions
from turnout.labelling.cluster import Actors, Cluster, Unit
from turnout.labelling.inputs import open_inputs
from turnout.labelling.models import Row, model_digest
from turnout.labelling.transcribing import Writer
from turnout.transcription.transcriber import Transcriber

PART = 10
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What Ray sets for an actor of one CPU, and NumPy's BLAS obeys."""
NODE = 8
"""Actors of a simulated node."""
OPTIONS = TranscriptionOptions()


class Sleeper:
    """A model that takes its time; says which process it is in."""

    def __init__(self, seconds: float) -> None:
        self.all: tuple[Transcriber, ...] = ()
        self._seconds = seconds

    def heard(self, part: Sequence[Any], told: Callable[[float], None]) -> list[Row]:  # noqa: ARG002
        """A row for each item, once it was slept over."""
        time.sleep(self._seconds * len(part))
        return [{"process": os.getpid()} for _ in part]


class Placed:
    """A model, and which process it is in."""

    def __init__(self, writer: Writer) -> None:
        self.all = tuple(writer.all)
        self._writer = writer

    def heard(self, part: Sequence[Any], told: Callable[[float], None]) -> list[Row]:
        """What became of each item; a word in its place says nothing but the process."""
        if all(isinstance(one, str) for one in part):
            time.sleep(0.1)
            return [{"process": os.getpid()} for _ in part]
        return self._writer.heard(part, told)


def placed(model: ModelOptions) -> Placed:
    """As an actor loads it."""
    return Placed(writer_of(model, OPTIONS))


def examples(items: int) -> list[list[Any]]:
    """So many recordings, in parts."""
    lines = islice(cycle(open_inputs(ROOT / "examples").read()), items)
    return list(iter(lambda: list(islice(lines, PART)), []))


def hear(actors: Actors, parts: Sequence[Sequence[Any]]) -> tuple[float, list[Row]]:
    """Seconds that it takes, and the rows."""
    units = (Unit(number, 0, part) for number, part in enumerate(parts))
    began = time.perf_counter()
    rows = [row for _, of_unit in actors.rows(units) for row in of_unit]
    return time.perf_counter() - began, rows


def ready(actors: Actors, count: int) -> None:
    """Wait until so many processes answer at once."""
    while len({row["process"] for row in hear(actors, [["x"]] * count)[1]}) < count:
        pass


def plain_process(model: ModelOptions, items: int, place: int) -> None:
    """Hear every other part, once a line comes in."""
    writer = writer_of(model, OPTIONS)
    parts = examples(items)[place::2]
    print("ready", flush=True)
    while sys.stdin.readline():
        for part in parts:
            writer.heard(part, lambda _: None)
        print("done", flush=True)


@contextmanager
def plain_processes(options: argparse.Namespace) -> Iterator[Callable[[], float]]:
    """Two of them, ready; what is given measures the seconds that they take for everything."""
    words = [sys.executable, __file__, "--items", str(options.items)]
    words += ["--model", options.model] if options.model else []
    started = [
        subprocess.Popen(
            [*words, "--plain", str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **ONE_THREAD},
        )
        for place in range(2)
    ]  # fmt: skip

    def answers(word: str) -> None:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == word

    def measured() -> float:
        began = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers("done")
        return time.perf_counter() - began

    answers("ready")
    yield measured
    for process in started:
        process.communicate()


def two(options: argparse.Namespace) -> dict[str, Any]:
    """Two actors against two plain processes."""
    model = ModelOptions(model=options.model, threads=1)
    parts = examples(options.items)
    digest = model_digest(writer_of(model, OPTIONS).transcriber)
    cluster = Cluster(make=partial(placed, model), address=None, actors=2, cpus=1)
    times: dict[str, list[float]] = {"plain": [], "actors": []}
    with plain_processes(options) as plain, cluster.opened([digest]) as actors:
        ready(actors, 2)
        for _ in range(options.rounds):
            times["plain"].append(plain())
            times["actors"].append(hear(actors, parts)[0])
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        "items": options.items,
        "seconds": times,
        "efficiency": round(medians["plain"] / medians["actors"], 4),
        "overhead_ms_an_item": 2e3 * (medians["actors"] - medians["plain"]) / options.items,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def simulated(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Sleepers on local nodes, for each number of actors."""
    nodes = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": NODE, "include_dashboard": False}
    )
    for _ in range(-(-max(options.actors) // NODE) - 1):
        nodes.add_node(num_cpus=NODE)
    nodes.wait_for_nodes()
    for count in options.actors:
        cluster = Cluster(
            make=partial(Sleeper, options.seconds), address=nodes.address, actors=count, cpus=1
        )
        with cluster.opened([]) as actors:
            ready(actors, count)
            took, rows = hear(actors, [["x"]] * (count * options.each))
        assert len(rows) == count * options.each
        wanted = options.each * options.seconds
        yield {
            "actors": count,
            "items": len(rows),
            "seconds": round(took, 3),
            "efficiency": round(wanted / took, 4),
            "overhead_ms_an_item": round(1e3 * (took - wanted) / options.each, 2),
        }
    nodes.shutdown()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain is not None:
        model = ModelOptions(model=options.model, threads=1)
        plain_process(model, options.items, options.plain)
        return
    report = origin(0, "ray")
    if options.items:
        report["two"] = two(options)
    report["simulated"] = []
    for row in simulated(options):
        print(row, flush=True)
        report["simulated"].append(row)
    text = json.dumps(report, indent=2) + "\n"
    (Path(__file__).parent / "results" / "cluster.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
