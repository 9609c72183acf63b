import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import turnout
from tests.doubles import Script, ScriptedBackend, tokenizer
from tests.models import saved
from turnout.errors import ConfigError, GuidanceError, ModelFolderError, UsageError
from turnout.model_folder import ModelFolder
from turnout.transcription import load as load_room
from turnout.transcription.load import choose_backend, load
from turnout.transcription.transcriber import Transcriber
from turnout.transcription.wishes import Wishes, spelled


def test_a_folder_without_graphs_runs_on_pytorch() -> None:
    transcriber = load(saved("supervised"))
    assert repr(transcriber) == "Transcriber('supervised-half', TorchBackend)"
    assert Transcriber.from_pretrained(saved("supervised")).backend.config.ctc


@pytest.mark.parametrize(
    ("backend", "device", "error", "message"),
    [
        ("onnx", "auto", ModelFolderError, "has no ONNX graphs: write them with 'turnout export'"),
        ("onnx", "cuda", UsageError, "the backend onnx runs on the CPU, not on 'cuda'"),
        ("tensorflow", "auto", UsageError, "no backend 'tensorflow': choose one of auto, onnx"),
        ("torch", "tpu", UsageError, "no device 'tpu': this machine has auto"),
    ],
)
def test_backends_that_cannot_be(
    backend: str, device: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(saved("supervised"), backend=backend, device=device)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("files", "device", "expected"),
    [
        ("weights graphs", "auto", "onnx"),
        ("weights graphs", "cpu", "onnx"),
        ("weights graphs", "cuda", "torch"),
        ("graphs", "auto", "onnx"),
        ("weights", "auto", "torch"),
    ],
)
def test_the_backend_follows_from_folder_and_device(files: str, device: str, expected: str) -> None:
    folder = saved_with(files)
    assert choose_backend(folder, "auto", device) == expected


def test_graphs_alone_do_not_run_on_pytorch() -> None:
    with pytest.raises(ModelFolderError, match="has no model.safetensors, only graphs"):
        choose_backend(saved_with("graphs"), "torch", "auto")


def saved_with(files: str) -> ModelFolder:
    """A folder that lists these files."""
    folder = ModelFolder.open(saved("supervised"))
    names = {"weights": ["model.safetensors"], "graphs": ["encoder.onnx", "decoder.onnx"]}
    listed = [name for kind in files.split() for name in names[kind]]
    digests = {"config.json": folder.digests["config.json"], **dict.fromkeys(listed, "")}
    return ModelFolder(folder.path, digests)


def test_pytorch_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_room, "find_spec", lambda _: None)
    with pytest.raises(
        UsageError, match=r"needs the extra 'train': pip install 'turnout\[train\]'"
    ):
        load(saved("supervised"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "summarise"}, GuidanceError, "no task 'summarise': choose one of transcribe"),
        ({"bandwidth": "broad"}, GuidanceError, "no bandwidth 'broad': choose one of auto, narr"),
        ({"language": "fr"}, GuidanceError, "the language 'fr' is unknown to this model"),
        (
            {"task": "both", "target_language": "fr"},
            GuidanceError,
            "does not translate to 'fr': choose one of en, de",
        ),
        ({"target_language": "fr"}, GuidanceError, "does not translate to 'fr': choose one of"),
        ({"language": "Ar-EG"}, GuidanceError, "the language 'Ar-EG' is unknown to this model"),
        ({"beam_size": 0}, ConfigError, "beam_size is 0"),
        ({"batch_size": 0}, UsageError, "batch_size is 0"),
        ({"max_duration": 0.0}, UsageError, "max_duration is 0"),
        ({"max_duration": float("nan")}, UsageError, "max_duration is nan"),
        ({"max_duration": float("inf")}, UsageError, "max_duration is inf: .* and finite"),
        ({"channel": -1}, UsageError, "channel is -1"),
        ({"task": ["both"]}, UsageError, r"task is \['both'\]: it must be a word"),
        ({"language": 5}, UsageError, "language is 5: it must be a word or None"),
        ({"beam_size": 2.5}, UsageError, "beam_size is 2.5: it must be a whole number"),
        ({"beam_size": True}, UsageError, "beam_size is True: it must be a whole number"),
        ({"batch_size": "8"}, UsageError, "batch_size is '8': it must be a whole number"),
        ({"max_duration": "5"}, UsageError, "max_duration is '5': it must be a number of seconds"),
        ({"channel": 0.5}, UsageError, "channel is 0.5: it must be a whole number or None"),
        ({"word_timestamps": "no"}, UsageError, "word_timestamps is 'no': it must be True or Fa"),
        ({"beam": 2}, UsageError, "unknown option 'beam': did you mean 'beam_size'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    transcriber = Transcriber(ScriptedBackend([Script()]), tokenizer())
    with pytest.raises(error, match=message):
        transcriber.transcribe_files(["missing.wav"], **options)  # type: ignore[arg-type]
    with pytest.raises(error, match=message):
        transcriber.transcribe("missing.wav", **options)  # type: ignore[arg-type]


def test_a_transcriber_without_a_folder_has_nothing_to_save(tmp_path: object) -> None:
    transcriber = Transcriber(ScriptedBackend([Script()]), tokenizer())
    with pytest.raises(UsageError, match="not made from a model folder"):
        transcriber.save_pretrained(str(tmp_path))


def test_save_pretrained_gives_the_folder_that_from_pretrained_reads(tmp_path: Path) -> None:
    first = Transcriber.from_pretrained(saved("supervised"))
    first.save_pretrained(tmp_path / "copy")
    second = Transcriber.from_pretrained(tmp_path / "copy")
    assert first.folder is not None
    assert second.folder is not None
    assert second.folder.files() == first.folder.files()


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert turnout.__all__ == sorted(turnout.__all__)
    assert all(getattr(turnout, name) is not None for name in turnout.__all__)
    assert turnout.load is load
    with pytest.raises(AttributeError, match="no attribute 'loud'"):
        _ = turnout.loud  # type: ignore[attr-defined]


def no_model() -> Transcriber:
    return Transcriber(ScriptedBackend([Script()]), tokenizer())


@pytest.mark.parametrize(
    "source",
    [np.zeros(16_000), None, 5, (byte for byte in b"RIFF"), io.StringIO("RIFF"), ["a.wav"]],
    ids=lambda source: type(source).__name__,
)
def test_what_is_no_recording_is_refused_with_what_is(source: Any) -> None:
    kind = type(source).__name__
    with pytest.raises(UsageError, match=f"cannot be of type {kind}: give the path of a file"):
        no_model().transcribe([source])
    with pytest.raises(UsageError, match=f"cannot be of type {kind}: give the path of a file"):
        no_model().listen(source)


@pytest.mark.parametrize("sources", ["nope", b"RIFF", Path("a.wav"), io.BytesIO(b"RIFF"), 5, None])
def test_one_recording_is_no_list_of_them(sources: Any) -> None:
    with pytest.raises(UsageError, match="sources is .*: (give|it must be) a list"):
        no_model().transcribe_files(sources)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name_or_folder": 5}, "model is 5: it must be a name, a folder or None"),
        ({"threads": 1.5}, "threads is 1.5: it must be a whole number or None"),
        ({"device": None}, "device is None: it must be a word"),
    ],
)
def test_a_model_is_loaded_from_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(**options)


def test_languages_may_be_written_in_capitals() -> None:
    config = no_model().backend.config
    wishes = Wishes(language="AR", target_language="En", task="both").for_model(config)
    assert (wishes.language, wishes.target_language) == ("ar", "en")
    assert Wishes(language="Auto").for_model(config).said_language is None


def test_capitals_are_kept_apart_where_they_tell_languages_apart() -> None:
    assert spelled("AR", ("ar", "Ar")) == "AR"
    assert spelled("Ar", ("ar", "Ar")) == "Ar"


def test_an_empty_name_is_said_to_be_one() -> None:
    with pytest.raises(UsageError, match="the name of a recording is empty"):
        no_model().transcribe("")
