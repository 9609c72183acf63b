import sys
from importlib import import_module
from types import ModuleType

import pytest
from rich.console import Console

from turnout.cli import main
from turnout.config import DecoderConfig, TrainConfig, preset
from turnout.guidance import Guide


@pytest.fixture
def runs(monkeypatch):
    """The configurations that `turnout train` would have trained with."""
    found: list[TrainConfig] = []
    double = ModuleType("turnout.training.train")
    double.__dict__["train"] = lambda config: found.append(config) or "folder"
    monkeypatch.setitem(sys.modules, "turnout.training.train", double)
    return found


@pytest.fixture
def write(tmp_path):
    def _write(text, name="recipe.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return _write


def refused(capsys, *words):
    assert main(["train", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_without_options_the_run_is_the_default_one(runs):
    assert main(["train"]) == 0
    assert runs == [TrainConfig()]


def test_a_file_and_options_over_it(runs, write):
    recipe = write(
        """
        output: runs/x
        max_epochs: null
        model:
          encoder: {num_layers: 3, routing: {kind: hybrid, guided_by: [bandwidth, target_language]}}
          vocabulary: {languages: [ar, en], translations: [[ar, en]]}
        data:
          train: [{cuts: a.jsonl.gz, weight: 2, join: true}, {cuts: b.jsonl.gz}]
          join: {curriculum: [[0.1, 1], [0.2, 2]]}
        optimizer: {learning_rate: 2e-4}
        """
    )
    words = ["--config", recipe, "--model.encoder.num-layers", "5", "--max_steps", "7"]
    assert main(["train", *words]) == 0
    (run,) = runs
    assert (run.output, run.max_steps, run.max_epochs) == ("runs/x", 7, None)
    assert run.model.encoder.num_layers == 5
    assert run.model.encoder.routing.guided_by == (Guide.BANDWIDTH, Guide.TARGET_LANGUAGE)
    assert run.model.vocabulary.translations == (("ar", "en"),)
    assert [(corpus.cuts, corpus.weight, corpus.join) for corpus in run.data.train] == [
        ("a.jsonl.gz", 2.0, True),
        ("b.jsonl.gz", 1.0, False),
    ]
    assert run.data.join.curriculum == ((0.1, 1), (0.2, 2))
    assert run.optimizer.learning_rate == 2e-4


def test_a_part_of_a_part_keeps_its_owners_defaults(runs):
    main(["train", "--model.decoder.routing.kind", "supervised"])
    assert runs[0].model.decoder.routing.guided_by == (Guide.TASK,)


def test_a_preset_and_options_over_it(runs):
    main(["train", "--preset", "whisper-tiny", "--model.window_seconds", "20"])
    assert runs[0].model.encoder == preset("whisper-tiny").encoder
    assert runs[0].model.window_seconds == 20


@pytest.mark.parametrize("name", ["--max-steps", "--max_steps"])
def test_both_dashes_are_taken(runs, name):
    main(["train", name, "9"])
    assert runs[0].max_steps == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle: {}", "recipe.yaml: unknown key 'modle': did you mean 'model'?"),
        (
            "model: {encoder: {num_layrs: 3}}",
            "unknown key 'model.encoder.num_layrs': did you mean 'num_layers'?",
        ),
        ("data: {train: [{cutz: a}]}", "unknown key 'data.train[0].cutz': did you mean 'cuts'?"),
        ("model: 3", "'model' must hold 'key: value' pairs, not int"),
        ("- a", "the file must hold 'key: value' pairs, not list"),
        ("output: [x\nmodel: {", "recipe.yaml:2: is not YAML"),
        ("max_steps: many", 'unable to convert "many" into int'),
        ("model: {encoder: {routing: {kind: omnii}}}", 'Did you mean "omni"?'),
        ("optimizer: {betas: [0.9]}", "--optimizer.betas"),
        ("model: {encoder: {num_heads: 7}}", "d_model 144 is not a multiple of num_heads 7"),
        ("preset: smal", "no preset 'smal': choose one of tiny, small"),
    ],
)
def test_a_wrong_file_is_one_line_that_helps(runs, write, capsys, text, said):
    assert said in refused(capsys, "--config", write(text))
    assert not runs


def test_a_missing_file_is_an_error_and_a_like_name_is_offered(runs, write, capsys):
    path = write("output: x")
    wrong = path.replace("recipe", "recipes")
    message = refused(capsys, "--config", wrong)
    assert f"{wrong}: no such file or directory: did you mean '{path}'?" in message


def test_a_folder_and_a_binary_file_are_no_configuration(runs, tmp_path, capsys):
    assert "is a directory" in refused(capsys, "--config", str(tmp_path))
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(capsys, "--config", str(tmp_path / "a.yaml"))


def test_an_unknown_option_offers_the_nearest(runs, capsys):
    message = refused(capsys, "--model.encoder.num-layrs", "3")
    assert "Did you mean --model.encoder.num-layers?" in message


def test_an_empty_file_changes_nothing(runs, write):
    assert main(["train", "--config", write("")]) == 0
    assert runs == [TrainConfig()]


@pytest.mark.parametrize("verb", ["train", "upcycle"])
def test_the_help_says_what_guides_a_decoder_by_default(capsys, monkeypatch, verb):
    assert DecoderConfig().routing.guided_by == (Guide.TASK,)
    # Whoever asked for help before in this process had a narrower one made.
    monkeypatch.setattr(import_module(f"turnout.cli.{verb}").app, "console", Console(width=300))
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.count("The decoder's own default is the task.") == 2


def test_the_help_describes_every_field(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--optimizer.warmup-steps" in text.replace("\n", "")
    assert "Steps of linear warm-up" in text
