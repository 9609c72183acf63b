"""Scores on a cluster: those of one process, whoever is killed."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.doubles import model_config
from tests.unit.labelling import scored as program
from tests.unit.labelling.hearer import Hearer
from tests.unit.labelling.scored import OPTIONS, scored, scorer, sets_of
from tests.unit.labelling.test_cluster import Here, ray
from tests.unit.labelling.test_label import ROOT
from tests.unit.shards.corpus import corpus, sharded
from turnout.cli import main
from turnout.cli.evaluate import heard_beside
from turnout.errors import StorageError
from turnout.evaluation import evaluate as evaluation
from turnout.evaluation.evaluate import Evaluation, Outcome, evaluate, units_of
from turnout.evaluation.report import Report
from turnout.evaluation.sets import evaluate_sets
from turnout.labelling.cluster import Cluster, lost
from turnout.labelling.scoring import BulkScorer, Scorer, SetPass, outcome_of
from turnout.transcription.transcriber import Transcriber

VOCABULARY = model_config().vocabulary


@pytest.fixture
def cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Eight cuts of four recordings, each of which is heard by itself."""
    monkeypatch.setattr(evaluation, "HELD_SECONDS", 1.5)
    return str(corpus(tmp_path))


def here(hearer: Hearer) -> Here:
    """A cluster in this process."""
    return Here(lambda: scorer(hearer))


def test_the_scores_are_those_of_one_process(cuts: str, tmp_path: Path) -> None:
    asked = sets_of(cuts)
    alone = evaluate_sets(Hearer(), asked, OPTIONS)  # type: ignore[arg-type]
    actor = Hearer()
    assert scored(asked, tmp_path / "out", here(actor)).to_json() == alone.to_json()
    assert len(actor.given) == 8 + 5
    assert set(actor.given) == {1.0, 0.8}
    one = evaluate(Hearer(), [cuts], OPTIONS)  # type: ignore[arg-type]
    assert scored([cuts], tmp_path / "one", here(Hearer())).to_json() == one.to_json()


def test_what_is_there_is_not_heard_again(cuts: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = scored(sets_of(cuts), out, here(Hearer()))
    assert scored(sets_of(cuts), out, object()).to_json() == first.to_json()  # asks no cluster
    (out / "001" / "000000.jsonl").unlink()
    actor = Hearer()
    assert scored(sets_of(cuts), out, here(actor)).to_json() == first.to_json()
    assert set(actor.given) == {0.8} and len(actor.given) < 5
    with pytest.raises(StorageError, match="holds what was heard of another input"):
        scored([cuts, cuts], out, here(Hearer()))


def test_failures_are_listed_and_shards_are_scored(cuts: str, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    sharded(Path(cuts), shards)
    (shards / "shard-000001.tar").write_bytes(b"")
    (tmp_path / "recording 2.wav").write_bytes(b"no sound")
    for source, failed in ((str(shards), 1), (cuts, 2)):
        alone = evaluate(Hearer(), [source], OPTIONS)  # type: ignore[arg-type]
        found = scored([source], tmp_path / f"out {failed}", here(Hearer()))
        assert found.to_json() == alone.to_json()
        assert len(found.failed) == failed


def test_relative_paths_are_heard_from_elsewhere(
    cuts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in Path(cuts).read_text().splitlines()]
    for row in rows:
        (source,) = row["recording"]["sources"]
        source["source"] = Path(source["source"]).name
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.chdir(tmp_path)
    name = "cuts.jsonl.gz"
    alone = evaluate(Hearer(), [name], OPTIONS)  # type: ignore[arg-type]
    assert not Path(alone.texts[0].recording).is_absolute()
    heard = program.Scorer.heard

    def elsewhere(self: Any, part: Any, told: Any) -> Any:
        with monkeypatch.context() as moved:
            moved.chdir("/")
            return heard(self, part, told)

    monkeypatch.setattr(program.Scorer, "heard", elsewhere)
    found = scored([name], tmp_path / "out", here(Hearer()))
    assert found.to_json() == alone.to_json() and not found.failed


def test_a_model_of_one_task_is_asked_for_all_that_it_has(cuts: str, tmp_path: Path) -> None:
    """As `turnout evaluate` asks, unless it is told a task."""
    model = Hearer()
    model.backend.config = model_config(vocabulary=replace(VOCABULARY, translations=()))
    options = replace(OPTIONS, task="both")
    alone = evaluate(model, [cuts], options)  # type: ignore[arg-type]
    bulk = BulkScorer(
        scorer=Scorer.of(cast(Transcriber, model), options, ()),
        cluster=cast(Cluster, here(model)),
        folder=tmp_path / "out",
    )
    found = bulk.scored([cuts], lambda _, outcomes, __: outcomes)
    assert cast(Report, found).texts == alone.texts and alone.texts


def test_a_recording_is_in_one_unit(cuts: str) -> None:
    passes = Evaluation.of(Hearer(), [cuts], OPTIONS).passes  # type: ignore[arg-type]
    units = list(units_of(passes))
    assert [len(unit) for unit in units] == [2] * 4
    assert all(len({one.clip.path for one in unit}) == 1 for unit in units)
    assert [one for unit in units for one in unit] == list(passes)


def test_what_ends_its_process_is_a_failure_of_the_report(cuts: str) -> None:
    (asked, *_) = Evaluation.of(Hearer(), [cuts], OPTIONS).passes  # type: ignore[arg-type]
    row = lost(SetPass(0, asked, "/"))
    assert outcome_of(row) == Outcome(failed="cut-0: the process that heard it ended, 2 times")


def test_a_cluster_needs_a_place(cuts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", cuts, "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert "beside the report: name one with --output" in said and said.count("\n") == 1


@pytest.mark.parametrize("place", [".", "folder", "file/report.json"])
@pytest.mark.parametrize("more", [[], ["--engine", "ray"]])
def test_a_report_that_has_no_place_is_refused_before_anything_is_heard(
    cuts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    output = "." if place == "." else str(tmp_path / place)
    # No model is looked for either: nothing has this name.
    assert main(["evaluate", cuts, "-o", output, *more, "--model", "no-model"]) == 2
    said = capsys.readouterr().err
    assert "a file of a folder is needed for the report" in said and said.count("\n") == 1


def test_reports_of_other_names_share_nothing(tmp_path: Path) -> None:
    names = ("scores.json", "scores.1", "scores.2", "scores")
    found = [heard_beside(tmp_path / name).name for name in names]
    assert found == ["scores.heard", "scores.1.heard", "scores.2.heard", "scores.heard"]


@ray
@pytest.mark.slow
def test_actors_and_drivers_that_die_change_no_score(cuts: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    alone = evaluate_sets(Hearer(), sets_of(cuts), OPTIONS)  # type: ignore[arg-type]
    killed = ran_by_itself(cuts, out, 0)
    assert killed.returncode == -9, killed.stderr
    assert (out / "000" / "000000.jsonl").exists()
    done = ran_by_itself(cuts, out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == alone.to_json()


def ran_by_itself(*words: object) -> subprocess.CompletedProcess[str]:
    """The program `scored`, with these words."""
    command = [sys.executable, "-m", "tests.unit.labelling.scored", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
