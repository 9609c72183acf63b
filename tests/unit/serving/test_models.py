"""Models by name: only those that the operator allows, as many as memory holds, the idle ones
leave."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

import turnout
from tests.adapted import adapter, base_in, experts_of, trained
from tests.models import exported
from tests.reliability.examples import commands
from turnout.backends.paths import PathBackend
from turnout.config.serving import ServingConfig
from turnout.decoding.requests import Utterance
from turnout.errors import (
    Busy,
    ConfigError,
    MissingExtra,
    MissingModel,
    ModelFolderError,
    ModelUnavailable,
    UnknownModel,
)
from turnout.model_folder import SHIPPED
from turnout.serving import models as models_module
from turnout.serving.metrics import Metrics
from turnout.serving.model_facts import silence
from turnout.serving.models import Entry, Models, Place, look_at, served_name
from turnout.transcription.transcriber import Transcriber

EACH_GB = 0.0133
"""What the shipped model takes: 3.3 million weights."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three models that are called otherwise."""
    place = tmp_path_factory.mktemp("models")
    return [str(shutil.copytree(SHIPPED / "commands", place / name)) for name in "abc"]


class Opened:
    """Opens the shipped model in every place, and notes which."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, place: Place) -> Transcriber:
        self.names.append(place.name)
        assert self.gate.wait(10)
        return commands()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def models_of(
    closing: ExitStack, opened: Opened, names: list[str], gigabytes: float = 8.0
) -> Models:
    config = ServingConfig(model=tuple(names), model_memory_gb=gigabytes)
    found = Models(config, Metrics(), opened)
    closing.callback(found.close)
    return found


def test_names_are_those_that_the_operator_allows(closing: ExitStack, folders: list[str]) -> None:
    models = models_of(closing, Opened(), ["whisper-base", *folders])
    assert [one.name for one in models.served()] == ["whisper-base", "a", "b", "c"]
    assert [models.name_of(asked) for asked in (None, "", "whisper-1", "b")] == [
        "whisper-base",
        "whisper-base",
        "whisper-base",
        "b",
    ]
    for wrong in ("d", "commands", folders[0], "../a", "hf://openai/whisper-tiny", "x" * 10_000):
        with pytest.raises(UnknownModel, match="choose one of whisper-base, a, b, c") as caught:
            models.name_of(wrong)
        assert len(str(caught.value)) < 300


def test_a_model_may_have_the_name_that_clients_ask_for(closing: ExitStack, tmp_path: Path) -> None:
    own = shutil.copytree(SHIPPED / "commands", tmp_path / "whisper-1")
    models = models_of(closing, Opened(), ["commands", str(own)])
    assert models.name_of("whisper-1") == "whisper-1"
    assert [one.aliases for one in models.served()] == [(), ()]
    alone = models_of(closing, Opened(), ["commands"])
    assert alone.served()[0].aliases == ("whisper-1",)


def test_two_of_one_name_are_refused(closing: ExitStack, folders: list[str]) -> None:
    with pytest.raises(ConfigError, match="two models would be called 'a'"):
        models_of(closing, Opened(), [folders[0], f"{folders[0]}/"])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (None, "commands"),
        ("whisper-base", "whisper-base"),
        ("hf://openai/whisper-tiny@main", "hf://openai/whisper-tiny@main"),
        ("/srv/models/clinic", "clinic"),
        ("models/clinic/", "clinic"),
    ],
)
def test_clients_call_a_model_by_its_name_or_its_folder_s(model: str | None, name: str) -> None:
    assert served_name(model) == name


def test_a_model_is_loaded_once_and_when_it_is_asked_for(
    closing: ExitStack, folders: list[str]
) -> None:
    opened = Opened()
    models = models_of(closing, opened, folders)
    assert models.loaded("a") is None
    with models.held("a") as first, models.held("a") as second:
        assert first is second
    assert [one.is_loaded for one in models.served()] == [True, False, False]
    with models.held("b"):
        pass
    assert opened.names == ["a", "b"]


def test_many_that_ask_at_once_load_it_once_and_others_go_on(
    closing: ExitStack, folders: list[str]
) -> None:
    opened = Opened()
    models = models_of(closing, opened, folders)
    with models.held("b"):
        pass
    opened.gate.clear()
    found: list[object] = []

    def ask() -> None:
        with models.held("a") as engine:
            found.append(engine)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    with models.held("b"):  # while the other is being loaded
        assert not found
    opened.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(found) == 5
    assert len(set(map(id, found))) == 1
    assert opened.names == ["b", "a"]


def test_the_one_that_was_idle_longest_leaves(closing: ExitStack, folders: list[str]) -> None:
    models = models_of(closing, Opened(), folders, gigabytes=2.5 * EACH_GB)
    for name in ("a", "b", "a", "c"):
        with models.held(name):
            pass
    assert [one.is_loaded for one in models.served()] == [True, False, True]
    assert models.served()[1].facts is not None, "what it can do is still known"


def test_one_in_use_stays_and_whoever_finds_no_memory_comes_later(
    closing: ExitStack, folders: list[str]
) -> None:
    models = models_of(closing, Opened(), folders, gigabytes=2.5 * EACH_GB)
    with models.held("a"), models.held("b"):
        with pytest.raises(Busy, match="no memory for the model c") as caught, models.held("c"):
            pass
        assert caught.value.retry_after > 0
    with models.held("c"):
        pass
    assert [one.is_loaded for one in models.served()] == [True, False, True], "b ended first"


def test_one_that_never_fits_is_the_operator_s_mistake(
    closing: ExitStack, folders: list[str]
) -> None:
    models = models_of(closing, Opened(), folders, gigabytes=0.5 * EACH_GB)
    with pytest.raises(ConfigError, match="model_memory_gb is 0.00665: raise it"), models.held("a"):
        pass


def test_what_cannot_be_loaded_takes_no_memory_from_others(
    closing: ExitStack, folders: list[str], tmp_path: Path
) -> None:
    damaged = shutil.copytree(folders[0], tmp_path / "damaged")
    with (damaged / "encoder.onnx").open("r+b") as file:
        file.write(b"????")
    config = ServingConfig(
        model=(str(damaged), folders[1], str(tmp_path / "missing")), model_memory_gb=1.5 * EACH_GB
    )
    models = Models(config, Metrics())
    closing.callback(models.close)
    with pytest.raises(ModelFolderError, match="encoder.onnx is damaged"), models.held("damaged"):
        pass
    with pytest.raises(MissingModel), models.held("missing"):
        pass
    with models.held("b") as engine:
        assert engine.transcriber.backend.config == commands().backend.config


def test_a_model_that_cannot_be_loaded_is_not_tried_by_everybody_who_waits(
    closing: ExitStack, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def broken(place: Place) -> Transcriber:
        tries.append(place.name)
        if len(tries) == 1:
            raise MissingExtra("running a model", "train")
        return commands()

    models = Models(ServingConfig(model=tuple(folders)), Metrics(), broken)
    closing.callback(models.close)
    with pytest.raises(MissingExtra), models.held("a"):
        pass
    for _ in range(3):
        with pytest.raises(ModelUnavailable, match="needs the extra 'train'"), models.held("a"):
            pass
    assert tries == ["a"]
    assert models.trouble() == "the model a cannot be loaded"
    monkeypatch.setattr(models_module, "BROKEN_SECONDS", 0.0)  # later on
    with models.held("a"):
        pass
    assert tries == ["a", "a"]
    assert models.trouble() == ""


def test_a_default_model_that_takes_for_ever_to_load_is_told(
    closing: ExitStack, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def slow(_: Place) -> Transcriber:
        told.append(models.trouble())
        monkeypatch.setattr(models_module, "LOADING_SECONDS", 0.0)
        told.append(models.trouble())
        return commands()

    models = Models(ServingConfig(model=tuple(folders)), Metrics(), slow)
    closing.callback(models.close)
    with models.held("a"):
        told.append(models.trouble())
    assert told == ["", "the model a is still being loaded", ""]


def test_what_models_can_do_is_known_before_they_are_loaded(
    closing: ExitStack, folders: list[str]
) -> None:
    models = models_of(closing, Opened(), [*folders[:1], "whisper-base"])
    models.look()
    first, absent = models.served()
    assert first.facts is not None and not first.is_loaded
    assert first.facts.tasks == ("transcribe", "translate")
    assert first.facts.languages == ("ar", "en")
    assert first.facts.translations == (("ar", "en"), ("en", "de"))
    assert first.facts.bandwidths == ("narrowband", "wideband")
    assert first.facts.word_timestamps and not first.facts.prompts and not first.facts.attempts
    assert first.facts.encoder is not None and first.facts.decoder is not None
    assert first.facts.encoder.experts == ("narrowband", "wideband")
    assert first.facts.decoder.guided_by == ("task",)
    assert abs(first.facts.memory_bytes / 1e9 - EACH_GB) < 0.0005
    if absent.facts is None:  # where the cache of this machine has none
        assert not absent.is_loaded
    before = first.facts
    with models.held("a"):
        assert models.served()[0].facts == before


@pytest.mark.parametrize("shape", ["ctc_only", "hybrid"])
def test_every_shape_of_model_is_looked_at_and_warmed_up(shape: str) -> None:
    transcriber = turnout.load(exported(shape), threads=1)
    warm = silence(transcriber.backend.config)
    assert isinstance(warm, Utterance)
    (answer,) = transcriber.decode([warm])
    assert answer.error is None
    entry = Entry(Place("x", str(exported(shape))), 0)
    look_at(entry)
    assert entry.facts is not None
    assert entry.facts.encoder is not None
    assert (entry.facts.decoder is None) == (shape != "hybrid")
    assert ("translate" in entry.facts.tasks) == (shape != "ctc_only")


def test_adapters_are_served_with_their_base_from_files_that_are_read_once(
    closing: ExitStack, tmp_path: Path
) -> None:
    base = base_in(tmp_path)
    chinese = trained(base, tmp_path / "chinese", experts_of("decoder"))
    own = adapter(base, chinese, tmp_path / "own", language="zh")
    config = ServingConfig(model=(str(base),), adapter=(str(own),), threads=1)
    models = Models(config, Metrics())
    closing.callback(models.close)
    models.look()
    facts = models.served()[0].facts
    assert facts is not None
    assert facts.adapters == ("own",)
    with models.held("base") as engine:
        models.look()  # what is told of a model that is loaded is no less than before
        facts = models.served()[0].facts
        assert facts is not None and facts.decoder is not None
        assert facts.adapters == ("own",)
        assert (facts.decoder.guided_by, facts.decoder.experts) == (("language",), ("base", "zh"))
        assert facts.attempts and facts.prompts
        shutil.rmtree(base)
        shutil.rmtree(own)
        asked = silence(engine.transcriber.backend.config)
        for language in ("en", "zh"):
            one = replace(asked, request=replace(asked.request, language=language))
            (answer,) = engine.transcriber.decode([one])
            assert answer.error is None, language


def test_the_paths_of_adapters_are_read_at_the_start(
    closing: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: without that, a file that is gone is missed."""
    monkeypatch.setattr(PathBackend, "open_all", lambda _: None)
    with pytest.raises(AssertionError, match="zh"):
        test_adapters_are_served_with_their_base_from_files_that_are_read_once(closing, tmp_path)
