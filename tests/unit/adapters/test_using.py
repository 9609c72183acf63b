"""What commands do with adapters, and languages that nobody says."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import turnout
from tests.adapted import FRAMES, adapter, base_in, experts_of, trained
from turnout.adapters.making import Making
from turnout.adapters.stored import weights_of
from turnout.cli import main
from turnout.config import RoutingConfig
from turnout.decoding.requests import Request, Utterance
from turnout.errors import GuidanceError, ModelFolderError, UsageError
from turnout.export.remaking import specialise_model, upcycle_model
from turnout.export.save import check_paths
from turnout.guidance import Guidance, Guide
from turnout.hub.adapted import open_adapter
from turnout.hub.copy import copy_model
from turnout.hub.making import Sources, make_adapter
from turnout.hub.to_transformers import to_transformers
from turnout.model_folder import ModelFolder

EXAMPLES = Path(__file__).parents[3] / "examples"
SPEECH = (EXAMPLES / "english-1.flac",)
SUPERVISED = RoutingConfig(kind="supervised")
CALLS = Guidance(language="zh", domain="calls")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("using")
    base = base_in(place)
    trained(base, place / "encoder", experts_of("encoder"))
    trained(base, place / "decoder", experts_of("decoder"))
    adapter(base, place / "encoder", place / "zh", language="zh", domain="calls")
    adapter(base, place / "decoder", place / "calls", domain="calls", rank=4)
    return place


def utterance(index: int, **request: object) -> Utterance:
    log_mel = np.random.default_rng(index).normal(size=(FRAMES, 80)).astype(np.float32)
    return Utterance(log_mel, Request(**request))  # type: ignore[arg-type]


def test_domains_come_with_adapters(place: Path) -> None:
    model = turnout.load(place / "base", adapters=[place / "zh"], threads=1)
    assert model.backend.config.domains == ("base", "calls")
    batch = [utterance(0, language="zh"), utterance(0, language="zh", domain="calls")]
    plain, calls = model.decode(batch)
    (base,) = turnout.load(place / "base", threads=1).decode(batch[:1])
    (encoder,) = turnout.load(place / "encoder", threads=1).decode(batch[:1])
    assert (plain, calls) == (base, encoder)
    (refused,) = model.decode([utterance(0, language="zh", domain="letters")])
    assert isinstance(refused.error, GuidanceError)
    assert "the domain 'letters' is unknown to this model: choose one of base, calls" in str(
        refused.error
    )


def test_a_language_is_found_on_the_bases_path(place: Path, tmp_path: Path) -> None:
    """Then the utterance is encoded again, where its language has an expert of its own."""
    batch = [utterance(index) for index in range(2)]
    plain = turnout.load(place / "base", threads=1).decode(batch)
    (found,) = {one.language for one in plain}
    assert found is not None
    other = "zh" if found == "en" else "en"
    for language, name in ((found, "encoder"), (other, "base")):
        expert = adapter(place / "base", place / "encoder", tmp_path / name, language=language)
        answers = turnout.load(place / "base", adapters=[expert], threads=1).decode(batch)
        assert [one.language for one in answers] == [found, found]
        assert [one.language_probability for one in answers] == [
            one.language_probability for one in plain
        ]
        said = [replace(one, request=Request(language=found)) for one in batch]
        wanted = turnout.load(place / name, threads=1).decode(said)
        assert [one.hypotheses for one in answers] == [one.hypotheses for one in wanted]


def test_a_path_is_cut_out_dense(place: Path, tmp_path: Path) -> None:
    names = [place / "zh", place / "calls"]
    output = tmp_path / "cut"
    specialise_model(place / "base", output, CALLS, adapters=names, audio=SPEECH)
    whole, cut = weights_of(ModelFolder.open(output)), ModelFolder.open(output)
    assert cut.config.vocabulary.languages == ("zh",)
    wanted = weights_of(ModelFolder.open(place / "encoder"))
    for name in filter(experts_of("encoder"), wanted):
        assert np.array_equal(whole[name], wanted[name])
    assert cut.has("LICENSE-whisper-zh")
    assert "\nlanguage: [zh, en]\n" in (output / "README.md").read_text().partition("\n# ")[0]
    batch = [utterance(index, language="zh") for index in range(3)]
    calls = [utterance(index, language="zh", domain="calls") for index in range(3)]
    routed = turnout.load(place / "base", adapters=names, threads=1)
    for one, other in zip(
        turnout.load(output, threads=1).decode(batch), routed.decode(calls), strict=True
    ):
        assert one.hypotheses == other.hypotheses
    with pytest.raises(UsageError, match="this Transcriber has adapters, which lie in folders of"):
        routed.save_pretrained(tmp_path / "saved")


def test_licences_of_the_adapters_on_a_path_go_along(place: Path, tmp_path: Path) -> None:
    """Of no others, and none in another's place."""
    made = {}
    for name, stack, licence, when in (
        ("one", "encoder", "mine", {Guide.LANGUAGE: "zh"}),
        ("two", "decoder", "gpl-3.0", {Guide.LANGUAGE: "zh"}),
        ("three", "decoder", "theirs", {Guide.LANGUAGE: "haw"}),
    ):
        paper = tmp_path / licence
        if licence != "gpl-3.0":
            paper.write_text(f"{licence}\n")
        sources = Sources(
            base=place / "base",
            trained=place / stack,
            license=licence if licence == "gpl-3.0" else str(paper),
        )
        made[name] = tmp_path / name
        make_adapter(sources, made[name], Making(name="same", when=when))
    output = tmp_path / "cut"
    specialise_model(
        place / "base", output, Guidance(language="zh"), adapters=[*made.values()], audio=SPEECH
    )
    cut = ModelFolder.open(output)
    papers = {name for name in cut.digests if "same" in name}
    assert papers == {
        "LICENSE-same", "LICENSE-whisper-same", "README-same.md",
        "LICENSE-whisper-same-2", "README-same-2.md",
    }  # fmt: skip
    assert cut.read("LICENSE-same") == b"mine\n"
    assert b"license: gpl-3.0" in cut.read("README-same-2.md")
    card = (output / "README.md").read_text()
    assert card.count("\nlicense: ") == 1 and card.startswith("---\nlicense: other\n")
    assert "- adapter: same (LICENSE-same, LICENSE-whisper-same, README-same.md)" in card
    assert not cut.has("source.json")


@pytest.mark.skipif(os.name != "posix", reason="links need a right there")
def test_a_strangers_card_takes_no_other_file_along(place: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("secret")
    evil = adapter(place / "base", place / "encoder", tmp_path / "evil", language="zh")
    copy_model(ModelFolder.open(place / "base"), tmp_path / "model")
    for folder in (evil, tmp_path / "model"):
        (folder / "README.md").unlink()
        (folder / "README.md").symlink_to(tmp_path / "private")
    model, output = ModelFolder.open(tmp_path / "model"), tmp_path / "made"
    tries = (
        lambda: specialise_model(
            place / "base", output, Guidance(language="zh"), adapters=[evil], audio=SPEECH
        ),
        lambda: copy_model(model, output),
        lambda: to_transformers(model, output),
        lambda: upcycle_model(model.path, output, (SUPERVISED, None), audio=SPEECH),
    )
    for made in tries:
        with pytest.raises(ModelFolderError, match="README.md is a link out of the folder"):
            made()
        assert not output.exists()


def test_the_graphs_are_checked_with_adapters(place: Path) -> None:
    adapters = [open_adapter(place / name) for name in ("zh", "calls")]
    check_paths(adapters, ModelFolder.open(place / "base"))


def test_a_report_names_the_adapters(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.tsv"
    data.write_text(f"path\ttext\tlanguage\n{SPEECH[0]}\thello\ten\n")
    words = ["evaluate", str(data), "-o", str(tmp_path / "report.json"), "--threads", "1"]
    more = ["--model", str(place / "base"), "--adapter", str(place / "zh")]
    assert main([*words, *more]) == 0
    assert "\nadapters: zh\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["adapters"] == ["zh"]


def test_windows_of_the_speech_alone_are_of_padded_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["transcribe", "--window", "speech", str(SPEECH[0])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the window is 'speech', and this model hears every segment as long as it is" in line


def test_inspect_names_the_experts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["inspect", str(SPEECH[0]), "-o", str(tmp_path), "--model", str(place / "base")]
    more = ["--adapter", str(place / "zh"), "--language", "zh", "--domain", "calls"]
    assert main([*words, *more, "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "zh+calls" in printed
