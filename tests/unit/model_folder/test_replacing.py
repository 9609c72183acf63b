"""A model that is replaced over and over: readers find one whole, whatever kills the writer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.unit.model_folder.test_folder import files
from turnout.files import PARTIAL
from turnout.model_folder import WEIGHTS, ModelFolder, write_folder

WRITER = """
import itertools, pickle, sys
from turnout.model_folder import WEIGHTS, write_folder
files = pickle.loads(sys.stdin.buffer.read())
print("begins", flush=True)
for number in itertools.count():
    write_folder(sys.argv[1], {**files, WEIGHTS: str(number).encode()})
"""
VERSIONS, KILLS = 40, 5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="exchanges as Linux does")


def writer(path: Path) -> subprocess.Popen[bytes]:
    import pickle

    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(pickle.dumps(files()))
    process.stdin.close()
    process.stdin = None
    assert process.stdout.readline() == b"begins\n"
    return process


def test_a_reader_always_finds_a_whole_model(tmp_path: Path) -> None:
    path = tmp_path / "model"
    write_folder(path, files(b"0"))
    replaced, seen = writer(path), set()
    try:
        deadline = time.monotonic() + 20
        while len(seen) < VERSIONS and time.monotonic() < deadline:
            assert path.is_dir(), "no folder"
            seen.add(ModelFolder.open(path).digests[WEIGHTS])
            assert replaced.poll() is None
    finally:
        replaced.kill()
        replaced.communicate()
    assert len(seen) > 5, "the model was hardly replaced"


def test_a_killed_writer_leaves_the_old_model_or_the_new(tmp_path: Path) -> None:
    path, rng = tmp_path / "model", Random(0)
    write_folder(path, files(b"0"))
    (path / "notes.txt").write_text("mine")
    for _ in range(KILLS):
        process = writer(path)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert ModelFolder.open(path).read(WEIGHTS).isdigit()
        assert (path / "notes.txt").read_text() == "mine"
    write_folder(path, files(b"last"))
    assert ModelFolder.open(path).read(WEIGHTS) == b"last"
    assert not list(tmp_path.glob(f"{PARTIAL}*")), "what the killed ones left is gone"
