"""Which kind of recording it is goes from a manifest's column to what the model is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from turnout.config import RoutingConfig, preset
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import Clip, check_domains, domain_of, read_clips
from turnout.corpora.prepare import prepare
from turnout.data.batch import text_guidance
from turnout.data.joining import speakers_of
from turnout.errors import ConfigError, ManifestError
from turnout.guidance import Bandwidth, Guide, Window

GUIDED = RoutingConfig(kind="supervised", guided_by=(Guide.DOMAIN,))


def prepared(folder: Path, table: str, **options: str) -> list[Clip]:
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name in "ab":
        soundfile.write(folder / f"{name}.wav", sound, 16_000)
    (folder / "t.csv").write_text(table)
    config = PrepareConfig(language="es", **options)  # type: ignore[arg-type]
    summary = prepare(folder / "t.csv", folder / "out", config)
    (split,) = summary.splits.values()
    return read_clips(split.path)


def test_a_column_or_one_for_all(tmp_path: Path) -> None:
    clips = prepared(tmp_path, "path,text,domain\na.wav,uno,calls\nb.wav,dos,\n")
    assert [clip.domain for clip in clips] == ["calls", None]
    clips = prepared(tmp_path, "path,text,domain\na.wav,uno,calls\nb.wav,dos,\n", domain="letters")
    assert [clip.domain for clip in clips] == ["calls", "letters"]
    assert len(speakers_of([replace(clip, speaker="s") for clip in clips])) == 2


def test_a_domain_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="t.csv:2: field 'domain': is 'a\\+b': a word such"):
        prepared(tmp_path, "path,text,domain\na.wav,uno,a+b\n")
    with pytest.raises(ConfigError, match="a word is needed"):
        PrepareConfig(domain="two words")


def test_what_the_model_does_not_know(tmp_path: Path) -> None:
    clips = prepared(tmp_path, "path,text,domain\na.wav,uno,calls\n")
    model = preset("tiny")
    check_domains(clips, "c", model)  # nobody asks
    assert domain_of(clips[0], model) == "base"
    model = replace(model, domains=("base", "letters"))
    model = replace(model, encoder=replace(model.encoder, routing=GUIDED))
    with pytest.raises(ConfigError, match="of the domain calls, and model.domains has base, let"):
        check_domains(clips, "c", model)
    known = replace(model, domains=("base", "calls"))
    check_domains(clips, "c", known)
    assert domain_of(clips[0], known) == "calls"


def test_what_a_text_is_of() -> None:
    found = text_guidance(Bandwidth.WIDEBAND, "es", None, "calls", Window.SPEECH)
    assert (found.domain, found.window, found.target_language) == ("calls", Window.SPEECH, "es")
