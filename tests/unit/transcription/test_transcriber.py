import io
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.doubles import Script, ScriptedBackend, tokenizer
from tests.models import saved
from turnout import verified_folder
from turnout.config import TranscriptionOptions
from turnout.config.transcription import options_of
from turnout.decoding.wishes import options_for_model, spelled
from turnout.errors import ConfigError, GuidanceError, ModelFolderError, UsageError
from turnout.model_folder import WEIGHTS, ModelFolder
from turnout.text.languages import CODES, NAMES, OTHER_NAMES
from turnout.transcription import transcriber as transcriber_room
from turnout.transcription.transcriber import Transcriber, choose_backend, load

VERSION_1 = Path(__file__).parents[2] / "data" / "model-v1"


def test_a_folder_without_graphs_runs_on_pytorch() -> None:
    transcriber = load(saved("supervised"))
    assert repr(transcriber) == "Transcriber('supervised-half', TorchBackend)"
    assert Transcriber.from_pretrained(saved("supervised")).backend.config.ctc


@pytest.mark.parametrize("folder", ["version 1", "graphs without weights", "no graphs"])
def test_weights_are_read_once_and_not_kept(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"version 1": VERSION_1, "no graphs": saved("supervised")}
    opened, read = verified_folder.opened, []

    def counted(folder: Path, name: str) -> AbstractContextManager[BufferedReader]:
        read.append(name)
        return opened(folder, name)

    monkeypatch.setattr(verified_folder, "opened", counted)
    transcriber = load(paths.get(folder))
    assert read.count(WEIGHTS) == 1
    assert transcriber.folder is not None and not transcriber.folder.kept


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
    monkeypatch.setattr(transcriber_room, "find_spec", lambda _: None)
    with pytest.raises(
        UsageError, match=r"needs the extra 'train': pip install 'turnout\[train\]'"
    ):
        load(saved("supervised"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "summarise"}, ConfigError, "'task' is 'summarise': one of transcribe, transl"),
        ({"bandwidth": "broad"}, ConfigError, "'bandwidth' is 'broad': one of auto, narrowband"),
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
        ({"task": ["both"]}, UsageError, r"'task' is \['both'\]: one of transcribe"),
        ({"language": 5}, UsageError, "'language' is 5: a word is needed"),
        ({"beam_size": 2.5}, UsageError, "'beam_size' is 2.5: a whole number is needed"),
        ({"beam_size": True}, UsageError, "'beam_size' is True: a whole number is need"),
        ({"batch_size": "8"}, UsageError, "'batch_size' is '8': a whole number is need"),
        ({"max_duration": "5"}, UsageError, "'max_duration' is '5': a number is needed"),
        ({"channel": 0.5}, UsageError, "'channel' is 0.5: a whole number is needed"),
        ({"word_timestamps": "no"}, UsageError, "'word_timestamps' is 'no': true or false"),
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


def test_options_may_be_given_whole_and_keyword_arguments_win() -> None:
    options = TranscriptionOptions(task="translate", batch_size=2)
    assert options_of(options, {}) == options
    assert options_of(options, {"batch_size": 3}) == TranscriptionOptions(
        task="translate", batch_size=3
    )
    transcriber = Transcriber(ScriptedBackend([Script()]), tokenizer())
    with pytest.raises(GuidanceError, match="the language 'fr' is unknown"):
        transcriber.transcribe("missing.wav", TranscriptionOptions(language="fr"))


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
        ({"threads": 1.5}, "'threads' is 1.5: a whole number is needed"),
        ({"device": None}, "'device' is None: a word is needed"),
    ],
)
def test_a_model_is_loaded_from_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(**options)


def test_languages_may_be_written_in_capitals() -> None:
    config = no_model().backend.config
    asked = TranscriptionOptions(language="AR", target_language="En", task="both")
    spelled_right = options_for_model(asked, config)
    assert (spelled_right.language, spelled_right.target_language) == ("ar", "en")
    asked = TranscriptionOptions(language="Auto")
    assert options_for_model(asked, config).stated_language is None


def test_languages_may_be_named_in_english() -> None:
    known = ("ar", "he", "yue", "zh")
    named = ("Arabic", "HEBREW", "cantonese", "mandarin", "Klingon", "Spanish")
    found = [spelled(name, known) for name in named]
    assert found == ["ar", "he", "yue", "zh", "Klingon", "Spanish"]
    assert len(NAMES) == 100
    assert set(OTHER_NAMES.values()) <= set(NAMES)
    assert not set(CODES) & set(NAMES), "a name must not be another language's code"


def test_capitals_are_kept_apart_where_they_tell_languages_apart() -> None:
    assert spelled("AR", ("ar", "Ar")) == "AR"
    assert spelled("Ar", ("ar", "Ar")) == "Ar"


def test_an_empty_name_is_said_to_be_one() -> None:
    with pytest.raises(UsageError, match="the name of a recording is empty"):
        no_model().transcribe("")
