"""The trainings of the teaching benchmark: recipes/teach.yaml, through the command line, each in a
folder of its own. One that was stopped goes on, one that is finished is not trained again; one of
other settings, data or base than are asked for now is not taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kept_trainings import digest_of_cuts, kept_training, logged_minutes, with_changes
from origin import ROOT
from teach_speech import ENGLISH, GERMAN, LANGUAGES, seconds_in
from teach_telephone import when_of

from turnout.adapters.making import Making
from turnout.config.yaml_text import parse_yaml
from turnout.guidance import Guide, Window
from turnout.hub.adapted import digest_of
from turnout.hub.making import Sources, make_adapter
from turnout.model_folder import ModelFolder

RECIPE = ROOT / "recipes" / "teach.yaml"
WINDOW = "data.window"


@dataclass(frozen=True)
class Training:
    """One model to be made of the base."""

    name: str
    """Of its folder."""
    corpora: tuple[str, ...]
    """Languages: of the prompts, or of a set."""
    steps: int
    changes: Mapping[str, Any]
    """Of the recipe, by dotted key."""

    def folder(self, runs: Path) -> Path:
        """Where it is trained."""
        return runs / self.name

    @property
    def window(self) -> Window:
        """How much it learns to hear of a window, and is to be asked to hear."""
        return Window(self.changes.get(WINDOW, Window.PADDED))


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of all rows."""

    taught: tuple[str, ...]
    steps: int
    """Of each expert."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """Of what these changes make."""
    both: bool = False
    """Whether translating is taught too, where there are translations."""
    finetuning_rate: float = 2.5e-5


def trainings(row: str, wish: Wish) -> list[Training]:
    """Those of a row of the table: one for each language with experts, of so many steps each; one
    on all languages for hard sharing (the dense feed-forwards) and for fine-tuning (all that there
    is, with a learning rate of its own), of as many steps as the experts have together; one on all
    four languages, English and German for windows that end with the speech, of so many for each.
    Of a single language the expert's training is hard sharing's as well: nothing stands beside it.
    """
    ending = ("-both" if wish.both else "") + (f"-{wish.label}" if wish.label else "")
    changes = dict(wish.changes)
    if row == "experts" or (row == "sharing" and len(wish.taught) == 1):
        return [
            Training(f"experts-{code}-{wish.steps}{ending}", (code,), wish.steps, changes)
            for code in wish.taught
        ]
    corpora = wish.taught
    if row == "window":
        changes[WINDOW] = Window.SPEECH.value
        corpora = (*LANGUAGES, ENGLISH, GERMAN)
    if row == "finetuning":
        changes = {**changes, "trainable": [], "optimizer.learning_rate": wish.finetuning_rate}
        ending = f"-rate{wish.finetuning_rate:g}{ending}"
    total = wish.steps * len(corpora)
    return [Training(f"{row}-{'+'.join(corpora)}-{total}{ending}", corpora, total, changes)]


def recipe_of(training: Training, base: Path, cuts: list[Path], runs: Path) -> dict[str, Any]:
    """The whole recipe of a training, but for threads."""
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    fixed = {
        "output": str(training.folder(runs)),
        "init_from": str(base),
        "data.train": corpora_of(cuts, training.window),
        "data.dev": [],
        "max_steps": training.steps,
        "validate_every": training.steps,
    }
    return with_changes(recipe, {**fixed, **training.changes})


def corpora_of(cuts: Sequence[Path], window: Window) -> list[dict[str, Any]]:
    """Each heard as long as the others: the shorter, the oftener. Full windows of many utterances,
    unless windows are to end with the speech."""
    seconds = [seconds_in(path) for path in cuts]
    pack = {"pack": True} if window is Window.PADDED else {}
    return [
        {"cuts": str(path), "weight": round(max(seconds) / own, 4), **pack}
        for path, own in zip(cuts, seconds, strict=True)
    ]


def trained(training: Training, base: Path, cuts: list[Path], runs: Path, threads: int) -> Path:
    """The model folder of a training, trained first where it is not there. Raises SystemExit where
    it was trained, or begun, with anything else."""
    settings = {
        "recipe": recipe_of(training, base, cuts, runs),
        "base": digest_of(ModelFolder.open(base)),
        "cuts": [digest_of_cuts(path) for path in cuts],
    }
    return kept_training(training.name, settings, runs, threads)


def adapter_of(training: Training, model: Path, base: Path, rank: int | None) -> Path:
    """The adapter that makes the base what was trained, for what that was of."""
    folder = model.parent / ("adapter" if rank is None else f"adapter-rank{rank}")
    if not (folder / "SHA256SUMS").exists():
        name, when = purpose_of(training)
        making = Making(name=f"teach-{name}", when=when, rank=rank)
        make_adapter(Sources(base=base, trained=model), folder, making)
    return folder


def purpose_of(training: Training) -> tuple[str, Mapping[Guide, str]]:
    """What an adapter of a training is for, and a name for that: the language, or what else the
    one corpus is of; windows that end with the speech where they were learned of all corpora."""
    if len(training.corpora) > 1 and training.window is Window.SPEECH:
        return "window", {Guide.WINDOW: training.window.value}
    (corpus,) = list(training.corpora)
    return corpus, when_of(corpus)


def minutes_of(training: Training, runs: Path) -> float | None:
    """How long its steps took, as its log says; None where it was stopped in between."""
    return logged_minutes(training.folder(runs))
