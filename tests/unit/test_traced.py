"""What tests keep of traced graphs is of the model, and whole."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import turnout
from tests import traced
from tests.models import SHAPES
from turnout.guidance import Task
from turnout.model.build import build_model
from turnout.model.speech_model import SpeechModel

NO_MAKERS = ("__init__", "backends", "decoding", "files", "model_folder", "text", "verified_folder")
"""What tracing imports and no graph is made of."""


class Tracer:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _: SpeechModel) -> dict[str, bytes]:
        """Another graph each time."""
        self.asked += 1
        return {"encoder.onnx": bytes([self.asked]), "decoder.onnx": b"d"}


def test_a_model_is_traced_once_whatever_its_weights(tmp_path: Path) -> None:
    tracer = Tracer()
    first, again = build_model(SHAPES["ctc_only"]), build_model(SHAPES["ctc_only"])
    found = traced.remembering(tracer, tmp_path)(first)
    assert traced.remembering(tracer, tmp_path)(again) == found == {
        "encoder.onnx": b"\x01", "decoder.onnx": b"d",
    }  # fmt: skip
    assert tracer.asked == 1


def test_another_model_is_traced_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = Tracer()
    trace, config = traced.remembering(tracer, tmp_path), SHAPES["dense"]
    trace(build_model(config))
    trace(build_model(replace(config, encoder=replace(config.encoder, left_context=7))))
    trace(build_model(config).half())
    monkeypatch.setattr(traced, "made_by", lambda: b"other sources")
    trace(build_model(config))
    assert tracer.asked == 4


def test_what_is_asked_of_a_model_is_in_no_graph(tmp_path: Path) -> None:
    tracer = Tracer()
    trace, config = traced.remembering(tracer, tmp_path), SHAPES["dense"]
    less = replace(config.vocabulary, languages=("en",), translations=())
    trace(build_model(config))
    trace(build_model(replace(config, vocabulary=less, tasks=(Task.TRANSCRIBE,))))
    trace(build_model(replace(config, window_seconds=7.0, domains=("base", "call"))))
    assert tracer.asked == 1
    root = Path(turnout.__file__).parent
    makers = [name for name in traced.SOURCES if name not in ("config", "guidance.py")]
    for file in (file for name in makers for file in traced.files_of(root / name)):
        read = {
            n.attr for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute)
        }
        assert not read & {*traced.ASKED}, file


@pytest.mark.parametrize("name", ["encoder.onnx", "digest"])
def test_what_is_not_whole_is_made_again(tmp_path: Path, name: str) -> None:
    tracer = Tracer()
    trace, model = traced.remembering(tracer, tmp_path), build_model(SHAPES["ctc_only"])
    trace(model)
    (tmp_path / traced.key_of(model) / name).write_bytes(b"")
    assert trace(model) == trace(model)
    assert tracer.asked == 2


def test_what_nobody_uses_any_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(SHAPES["ctc_only"])
    traced.remembering(Tracer(), tmp_path)(model)
    monkeypatch.setattr(traced, "KEPT_DAYS", -1)
    tracer = Tracer()
    traced.remembering(tracer, tmp_path)(model)
    assert tracer.asked == 1


def test_all_that_graphs_are_made_of_is_in_the_key() -> None:
    program = "import sys, turnout.export.tracing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    imported = {name for name in done.stdout.decode().split() if name.startswith("turnout.")}
    root = Path(turnout.__file__).parent
    known = {file for name in traced.SOURCES for file in traced.files_of(root / name)}
    for name in sorted(imported):
        path = root.parent / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert file in known or {*file.relative_to(root).with_suffix("").parts} & {*NO_MAKERS}, name
