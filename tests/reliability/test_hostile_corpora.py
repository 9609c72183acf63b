"""T7: corpora, recordings and recipes with code in them: none is ever run, and what cannot
be used is refused in one line."""

import gc
import gzip
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from lhotse import CutSet
from pyarrow import parquet

from tests.reliability.canaries import NESTED, Canary, Miners, refusal
from tests.reliability.mates import EXAMPLES
from tests.reliability.tally import Tally
from tests.unit.data.words import TEXTS, cut_of, write_words
from turnout.audio.waveform import read_audio
from turnout.cli import main
from turnout.cli.configuration import read_config
from turnout.cli.train import OWN
from turnout.config import FeatureConfig, TrainConfig
from turnout.corpora.clips import read_clips
from turnout.corpora.prepare import prepare
from turnout.data.store import open_store
from turnout.data.variants import VariantConfig
from turnout.evaluation.references import read_data
from turnout.synthesis.grammar import read_grammar

CONFIG = VariantConfig(features=FeatureConfig(), telephone_variants=0, narrowband=False, trim=True)
Cut = dict[str, Any]


def hostile_cuts(plain: Cut, canary: Canary, objects: Path) -> dict[str, Cut]:
    """Cuts that name commands where audio or arrays are expected."""
    recording = plain["recording"]
    (file,) = recording["sources"]
    command = {"type": "command", "channels": [0], "source": f"mkdir {canary.path}"}
    run = {**recording, "sources": [command]}
    pipe = {"type": "file", "channels": [0], "source": f"pipe:mkdir {canary.path}"}
    array = {
        "storage_type": "numpy_files", "storage_path": str(objects.parent),
        "storage_key": objects.name, "shape": [1],
    }  # fmt: skip
    features = {
        "type": "fbank", "num_frames": 100, "num_features": 80, "frame_shift": 0.01,
        "sampling_rate": 16000, "start": 0, "duration": 1.0, "storage_type": "kaldiio",
        "storage_path": f"mkdir {canary.path} |", "storage_key": f"mkdir {canary.path} |",
    }  # fmt: skip
    effect = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": run}}
    return {
        "command": {**plain, "recording": run},
        "second command": {**plain, "recording": {**run, "sources": [file, command]}},
        "pipe as path": {**plain, "recording": {**recording, "sources": [pipe]}},
        "command in a transform": {**plain, "recording": {**recording, "transforms": [effect]}},
        "command in a custom recording": {**plain, "custom": {"noise": run}},
        "objects in a custom array": {**plain, "custom": {"array": array}},
        "pipe in features": {**plain, "features": features},
        "mixed": {"type": "MixedCut", "id": "m", "tracks": [{"cut": {**plain, "recording": run}}]},
        "padding": {"type": "PaddingCut", "id": "p", "duration": 1.0},
        "__reduce__": {"type": "MonoCut", "__reduce__": ["os.mkdir", str(canary.path)]},
        "_target_": {**plain, "_target_": "os.mkdir", "path": str(canary.path)},
    }


def trained_on(cuts: Path) -> None:
    """What training reads of cuts."""
    open_store(read_clips(cuts), CONFIG, cuts.parent / "cache")


def evaluated(corpus: Path) -> None:
    """What `turnout evaluate` reads."""
    read_data([corpus])


def prepared(corpus: Path) -> None:
    """What `turnout prepare` reads."""
    prepare(corpus, corpus.parent / "out")


@pytest.mark.counts("T7", "cuts")
def test_cuts_with_code(tally: Tally, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    canary = Canary(tmp_path / "canary")
    miners, pickles = Miners(tally, canary), canary.pickles()
    good = Path(write_words(tmp_path / "words", takes=1, speakers=1))
    plain = cut_of(tmp_path / "words" / "uno-0-0.wav", next(iter(TEXTS)), "s0", 16_000).to_dict()
    objects = tmp_path / "objects.npy"
    objects.write_bytes(pickles["NumPy objects"])
    for name, cut in hostile_cuts(plain, canary, objects).items():
        file = tmp_path / "hostile.jsonl.gz"
        file.write_bytes(gzip.compress(json.dumps(cut).encode()))
        for use in (trained_on, prepared, evaluated):
            with miners.down(f"{name}, {use.__name__}"):
                refusal(use, file)  # or it is taken, where the hostile field is not used
    for kind, data in {**pickles, "nested deeply": NESTED}.items():
        for ending in ("jsonl.gz", "jsonl", "pkl"):
            file = tmp_path / f"pickled.{ending}"
            file.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
            miners.refuse(f"{ending} is {kind}, trained on", file.name, trained_on, file)
            miners.refuse(f"{ending} is {kind}, prepared", file.name, prepared, file)
            miners.refuse(f"{ending} is {kind}, evaluated", file.name, evaluated, file)
            file.unlink()
    file = tmp_path / "endless.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"' + bytes(2**28), 1))
    for use in (trained_on, prepared, evaluated):
        with miners.down(f"a line without an end, {use.__name__}"):
            took: list[str | None] = []
            _, megabytes = cost(lambda: took.append(refusal(use, file)))  # noqa: B023
            assert "is longer than 16 MiB" in str(took[0]), took
            assert megabytes < MOST_MB_OF_A_LINE, f"{megabytes:.0f} MB"
    file.unlink()
    piped = Path(f"pipe:mkdir {canary.path.name} #.jsonl.gz")
    piped.write_bytes(good.read_bytes())
    for use in (trained_on, prepared, evaluated):
        with miners.down(f"a name that is a command, {use.__name__}"):
            assert refusal(use, piped) is None
    miners.control(
        piped=lambda: refusal_by_others(piped),
        objects=lambda: np.load(objects, allow_pickle=True),
    )


def refusal_by_others(path: Path) -> None:
    """lhotse runs the command and then finds no cuts."""
    with pytest.raises(Exception):  # noqa: B017 - whichever
        list(CutSet.from_file(path))


@pytest.mark.counts("T7", "corpora")
def test_corpora_with_code_beside_them(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, pickles, corpus = Miners(tally, canary), canary.pickles(), tmp_path / "corpus"
    evil = f"import os\nos.mkdir({str(canary.path)!r})\n"
    corpus.mkdir()
    (corpus / "one.flac").write_bytes((EXAMPLES / "english-1.flac").read_bytes())
    (corpus / "metadata.csv").write_text("file_name,text,language\none.flac,yes,en\n")
    (corpus / "dataset_info.json").write_text(json.dumps({"builder_name": "corpus", "code": evil}))
    for name in ("corpus.py", "dataset_infos.py", "__init__.py", "conftest.py", "setup.py"):
        (corpus / name).write_text(evil)
    for name, data in pickles.items():
        (corpus / f"{name}.pkl").write_bytes(data)
    with miners.down("a loading script and pickles beside the table"):
        assert refusal(prepared, corpus) is None
    (corpus / "metadata.csv").unlink()
    for ending in ("arrow", "parquet"):
        for kind, data in pickles.items():
            (corpus / f"data.{ending}").write_bytes(data)
            miners.refuse(f"{kind} as {ending}", str(corpus), prepared, corpus)
        (corpus / f"data.{ending}").unlink()
    for kind, data in pickles.items():
        for ending in ("wav", "npy", "pt"):
            path = tmp_path / f"recording.{ending}"
            path.write_bytes(data)
            miners.refuse(f"{ending} is {kind}", path.name, read_audio, path)
    miners.control(script=lambda: exec(evil))


@pytest.mark.counts("T7", "names in Parquet")
def test_names_in_parquet_that_lead_elsewhere(tally: Tally, tmp_path: Path) -> None:
    """Each row's audio lies in the corpus's own folder, whatever it calls itself."""
    canary = Canary(tmp_path / "canary")
    miners, audio = Miners(tally, canary), (EXAMPLES / "english-1.flac").read_bytes()
    names = [
        "../../canary", "../../../canary", str(canary.path), "C:\\canary", "..\\..\\canary",
        "a\0b", "x" * 5_000, "", ".", "..", "/", "-", f"$(mkdir {canary.path})",
        f"mkdir {canary.path} |", "\u202ea.wav",
    ]  # fmt: skip
    for number, name in enumerate(names):
        corpus, out = tmp_path / f"corpus{number}", tmp_path / f"out{number}"
        corpus.mkdir()
        row = {"audio": {"bytes": audio, "path": name}, "text": "yes", "locale": "en"}
        parquet.write_table(pa.Table.from_pylist([row]), corpus / "x.parquet")
        before = {*tmp_path.iterdir()}
        with miners.down(f"{name[:30]!r}"):
            prepare(corpus, out)
            assert {*tmp_path.iterdir()} - before == {out}
            (file,) = (out / "audio").iterdir()
            assert file.name.isprintable()
            assert len(file.name) < 100
    miners.control(joined=lambda: (tmp_path / "out0" / "audio" / names[0]).resolve().mkdir())


def kaldi(folder: Path, wav: str, **files: str) -> Path:
    """A Kaldi data directory with one recording, `r`."""
    folder.mkdir()
    for name, text in {"wav.scp": f"r {wav}", "text": "r yes", "utt2lang": "r en", **files}.items():
        (folder / name.replace("_", ".")).write_text(f"{text}\n", errors="surrogateescape")
    return folder


@pytest.mark.counts("T7", "Kaldi directories")
def test_kaldi_directories_with_commands(tally: Tally, tmp_path: Path) -> None:
    canary = Canary(tmp_path / "canary")
    miners, run = Miners(tally, canary), f"mkdir {canary.path}"
    good = str(EXAMPLES / "english-1.flac")
    hostile: dict[str, tuple[str, dict[str, str]]] = {
        "pipe": (f"{run} |", {}),
        "pipe without a space": (f"{run}|", {}),
        "pipe, then blanks": (f"{run} | \t ", {}),
        "pipe first": (f"| {run}", {}),
        "pipe and an offset": (f"{run} |:17", {}),
        "two commands": (f"{good}; {run}", {}),
        "substitution": (f"$({run})", {}),
        "backquotes": (f"`{run}`", {}),
        "range": (f"{good}[0:9]", {}),
        "archive": (f"ark:{run} |", {}),
        "standard input": ("-", {}),
        "device": ("/dev/zero", {}),
        "folder": (str(tmp_path), {}),
        "NUL": ("a\0b.wav", {}),
        "huge time": (good, {"segments": "r r 1e308 1e309"}),
        "no number": (good, {"segments": "r r nan nan"}),
        "command as time": (good, {"segments": f"r r $({run}) 1"}),
        "command as a recording": (good, {"segments": f"r |{run} 0 1"}),
        "command as a language": (good, {"utt2lang": f"r $({run})"}),
        "no UTF-8": (good, {"text": "r \udcff"}),
        "nothing": ("", {}),
    }
    for number, (name, (wav, files)) in enumerate(hostile.items()):
        folder = kaldi(tmp_path / f"kaldi{number}", wav, **files)
        for use in (prepared, evaluated):
            miners.refuse(f"{name}, {use.__name__}", folder.name, use, folder)
    with miners.down("a good one"):
        assert refusal(prepared, kaldi(tmp_path / "good", good)) is None
    miners.control(pipe=lambda: os.system(run), substitution=lambda: os.system(f"true $({run})"))


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which the command line refuses; raises AssertionError where it does not."""
    try:
        status = main(words)
    except Exception as error:
        raise AssertionError(f"failed with {error!r}") from error
    lines = capsys.readouterr().err.splitlines()
    assert status in (1, 2), f"exit status {status}"
    assert len(lines) == 1, f"{len(lines)} lines: {lines}"
    assert lines[0].startswith("turnout: error: "), lines[0]
    return lines[0]


def recipe_read(path: Path) -> None:
    """What `turnout train --config` reads."""
    read_config(path, TrainConfig, OWN)


@pytest.mark.counts("T7", "code in YAML")
def test_recipes_and_grammars_with_code(
    tally: Tally, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = Canary(tmp_path / "canary")
    miners, file, run = Miners(tally, canary), tmp_path / "recipe.yaml", tmp_path / "run"
    other = ("!!python/name:os.mkdir", "!!python/module:os", "!canary", "2001-99-99", "!!int os")
    for value in (*canary.yamls(), *other, "[" * 1_000):
        for name, read, text in (
            ("recipe", recipe_read, value),
            ("recipe's field", recipe_read, f"data:\n  workers: {value}"),
            ("recipe's key", recipe_read, f"? {value}\n: 1"),
            ("grammar", read_grammar, value),
            ("grammar's field", read_grammar, f"language: en\nsentences: {value}"),
            ("grammar's key", read_grammar, f"language: en\n? {value}\n: 1"),
        ):
            file.write_text(text)
            miners.refuse(f"{name} {value[:60]}", file.name, read, file)
    file.write_text(f"language: {canary.yamls()[0]}")
    for words in (("train", "--output", str(run), "--config", str(file)),
                  ("synthesize", str(file), "--output", str(run))):  # fmt: skip
        with miners.down(f"turnout {words[0]}"):
            assert f"{file.name}:1" in complaint(capsys, *words)
    assert not run.exists()
    calls = {f"tag{n}": lambda t=text: yaml.unsafe_load(t) for n, text in enumerate(canary.yamls())}
    miners.control(**calls)


MOST_MB_OF_A_LINE = 100.0
MOST_CPU_SECONDS = 0.5
MOST_MB = 1.0
LONGEST_MESSAGE = 400
"""Characters, beside the file's path."""


def laughs(levels: int) -> str:
    """Aliases of aliases: each level holds ten of the one before."""
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(["a0: &a0 [ha]", *lists, f"sentences: *a{levels - 1}", "speakers: *a1"])


def merges(lines: int) -> str:
    """Each line merges the one before twice."""
    merged = [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, lines)]
    return "\n".join(["a0: &a0 {x: 1}", *merged])


def cost(call: Callable[[], object], traced: bool = True) -> tuple[float, float]:
    """CPU seconds and, where it is traced, which is slow, the most megabytes that a call takes."""
    gc.disable()  # or all that other tests left is gone through meanwhile
    if traced:
        tracemalloc.start()
    start = time.thread_time()
    try:
        call()
        return time.thread_time() - start, tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.counts("T7", "YAML that grows")
def test_yaml_that_grows_or_has_values_that_are_none(tally: Tally, tmp_path: Path) -> None:
    file, worst, largest = tmp_path / "grows.yaml", 0.0, 0.0
    aliases = {
        "laughs": laughs(9), "merges": merges(40), "itself": "a: &a {b: *a}", "key": "? &a [*a]\n:",
        "anchor alone": "language: &l en", "unknown alias": "language: *l",
    }  # fmt: skip
    values = {
        "hex": "0x" + "f" * 9_999, "minutes": "1:" * 300 + "0.5", "bool": "!!bool x",
        "timestamp": "!!timestamp x", "no int": "!!int ''", "long list": str([1] * 300),
        "long word": "x" * 9_000, "deep": "[" * 400 + "]" * 400,
    }  # fmt: skip
    texts = {**aliases, **{name: f"a: {value}\nb: {value}" for name, value in values.items()}}
    texts |= {f"{name} there": f"language: en\nsentences: {v}" for name, v in values.items()}
    texts |= {f"{name} as a key": f"? {value}\n: 1" for name, value in values.items()}
    for name, text in texts.items():
        file.write_text(text)
        for read in (recipe_read, read_grammar):
            said: list[str | None] = []
            with tally.trial(f"{name}, {read.__name__}"):
                seconds, megabytes = cost(
                    lambda: said.append(refusal(read, file)),  # noqa: B023
                    traced=name in aliases,
                )
                worst, largest = max(worst, seconds), max(largest, megabytes)
                (line,) = said
                assert line is not None, "was not refused"
                assert file.name in line
                assert len(line.replace(str(file), "")) < LONGEST_MESSAGE, f"{len(line)} characters"
                assert name not in aliases or "anchors (&name) and aliases" in line, line
                assert seconds < MOST_CPU_SECONDS, f"{seconds:.1f} s"
                assert megabytes < MOST_MB, f"{megabytes:.1f} MB"
    slow, _ = cost(lambda: yaml.safe_load(merges(21)), traced=False)
    _, large = cost(lambda: repr(yaml.safe_load(laughs(6))))
    tally.measure(worst_cpu_seconds=worst, worst_mb=largest)
    tally.measure(control_cpu_seconds=slow, control_mb=large)
    tally.controlled(slow > MOST_CPU_SECONDS and large > MOST_MB)
