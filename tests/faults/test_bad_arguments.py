"""What a user can get wrong on the command line: one line, no traceback, the right status."""

import subprocess
import sys

import pytest
import torch

from turnout.cli import main

UNUSABLE = [
    ["transcribe"],
    ["inspect"],
    ["evaluate"],
    ["prepare"],
    ["export"],
    ["transcribe", "a.wav", "--task", "summarise"],
    ["transcribe", "a.wav", "--bandwidth", "broadband"],
    ["transcribe", "a.wav", "--backend", "tensorflow"],
    ["transcribe", "a.wav", "--output-format", "docx"],
    ["transcribe", "a.wav", "--beam-size", "0"],
    ["transcribe", "a.wav", "--beam-size", "many"],
    ["transcribe", "a.wav", "--batch-size", "-1"],
    ["transcribe", "a.wav", "--threads", "0"],
    ["transcribe", "a.wav", "--max-duration", "0"],
    ["transcribe", "a.wav", "--max-duration", "nan"],
    ["transcribe", "a.wav", "--channel", "-1"],
    ["transcribe", "a.wav", "--beam_sise", "3"],
    ["evaluate", "a.jsonl.gz", "--task", "all"],
    ["prepare", "missing.csv", "-o", "out"],
    ["prepare", ".", "-o", "out", "--kind", "wav"],
    ["prepare", ".", "-o", "out", "--split", "train=2"],
    ["synthesize", "a.yaml"],
    ["synthesize", "missing.yaml", "-o", "out"],
    ["evaluate", "missing.jsonl.gz"],
    ["evaluate", "missing.csv"],
    ["transcribe", "a.wav", "--model", "missing"],
    ["inspect", "a.wav", "--model", "missing"],
    ["evaluate", "a.jsonl.gz", "--model", "missing"],
    ["export", "--model", "missing"],
    ["train", "--config", "missing.yaml"],
    ["train", "--max-steps", "-"],
    ["train", "--optimizer.learning-rate", "0"],
    ["train"],
    ["train", "words"],
    ["train", "--max-steps", "0"],
    ["train", "--max-epochs", "0"],
    ["train", "--max-hours", "0"],
    ["train", "--log-every", "0"],
    ["train", "--seed", "-1"],
    ["train", "--threads", "0"],
    ["train", "--device", "foo"],
    ["train", "--tie-experts-until", "-1"],
    ["train", "--optimizer.betas", "2", "2"],
    ["train", "--optimizer.warmup-steps", "-1"],
    ["train", "--optimizer.learning-rate", "inf"],
    ["train", "--objective.balance-weight", "-1"],
    ["train", "--model.encoder.conv-kernel", "-3"],
    ["train", "--model.encoder.left-context", "-1"],
    ["train", "--model.encoder.d-feedforward", "0"],
    ["train", "--model.decoder.max-tokens", "0"],
    ["train", "--data.dev-utterances", "0"],
    ["train", "--data.augment.time-masks", "-1"],
    ["train", "--data.augment.telephone-variants", "-1"],
    ["train", "--data.join.curriculum", "0.5", "0"],
    pytest.param(
        ["train", "--device", "cuda"],
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is at hand"),
    ),
    ["no-such-verb"],
    ["--no-such-option"],
]


@pytest.mark.parametrize("words", UNUSABLE, ids=" ".join)
def test_unusable_arguments_are_one_line_and_status_2(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("turnout: error: ")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["transcribe", "a.wav"], ["inspect", "a.wav"], ["evaluate", "a.jsonl.gz"], ["export"]],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_a_model_that_is_none_is_one_line(words, place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert main([*words, "--model", place]) == (2 if place == "missing" else 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("turnout: error: ")
    assert captured.err.count("\n") == 1
    assert place in captured.err


def test_a_process_shows_no_traceback_either(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "turnout", "transcribe", "a.wav", "--model", "none"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["transcribe", "inspect"])
def test_a_recording_that_is_missing_is_an_input_that_failed(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([verb, "a.wav"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("turnout: error: a.wav: ")
    assert "no such file" in captured.err
    assert captured.err.count("\n") == 1
