"""`train`: from a configuration to a model folder, begun or gone on with."""

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch

from turnout.backends.torch import stored_tensors
from turnout.config import ModelConfig, TrainConfig, VocabularyConfig
from turnout.corpora.clips import read_corpora
from turnout.data.loader import Loader
from turnout.data.workers import death_noticed
from turnout.errors import ConfigError, amount
from turnout.evaluation.dev_set import shared_dev_utterances
from turnout.evaluation.validation import validate
from turnout.export.save import save_model
from turnout.files import remove_leftovers, sha256_of, write_whole
from turnout.hub.resolve import open_model
from turnout.model.build import build_model
from turnout.model.convert import fit_state, shortened
from turnout.model.speech_model import SpeechModel
from turnout.model.successor import symbol as language_symbol
from turnout.model.successor import with_experts, with_rows
from turnout.model_folder import TOKENIZERS
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.text.tokenizer import Tokenizer
from turnout.text.whisper import WhisperTokenizer
from turnout.training import log
from turnout.training.distributed import Ranks, StopSignals, open_fabric
from turnout.training.finish import finish
from turnout.training.graphs import kept_graphs
from turnout.training.log import RunLog
from turnout.training.loop import Trainer
from turnout.training.low_rank import add_low_rank, is_added, merge_low_rank
from turnout.training.run_folder import (
    CHECKPOINTS,
    MODEL,
    RUN,
    TEACHER,
    TOKENIZER,
    VALIDATED,
    check_configuration,
    is_finished,
    locked_run,
    read_run,
    write_run,
)
from turnout.training.sharding import check_sharding
from turnout.training.state import seed_step
from turnout.training.step import Stepper
from turnout.training.teacher import Teacher
from turnout.training.texts import Clips, spelled_otherwise, training_texts
from turnout.training.trainable import check_tied, freeze, freeze_unreached, is_frozen


def train(config: TrainConfig) -> Path:
    """Train, or go on with the run in `config.output`, and return its model folder.

    Raises ConfigError where the configuration changed since, RunStopped after Ctrl-C, SIGTERM,
    SIGUSR1 or the launcher's end, and TrainingError, CheckpointError or StorageError where the run
    cannot go on.
    """
    if not config.data.train:
        raise ConfigError(
            "data.train names no corpus: name the cuts that `turnout prepare` wrote in a recipe "
            "(--config FILE), or here (--data.train FILE)"
        )
    folder = Path(config.output)
    ranks = Ranks(open_fabric(config))
    say = log.say if ranks.first else log.silent
    if not ranks.first:
        # One rank talks: it hears of what the others could not read.
        logging.getLogger("turnout").setLevel(logging.ERROR)
    check_sharding(config, ranks, say)
    with locked_run(folder, ranks):
        check_configuration(config, folder, ranks, say)
        if is_finished(folder):
            say(
                f"this run is finished: its model is in {folder / MODEL}; to train another, "
                "choose another output"
            )
            return folder / MODEL
        with deterministic(config, ranks):
            return run(config, ranks, say)


def run(config: TrainConfig, ranks: Ranks, say: Callable[[str], None]) -> Path:
    """A run whose folder is ours."""
    folder = Path(config.output)
    clips = read_corpora((*config.data.train, *config.data.dev))
    tokenizer = run_tokenizer(config, clips, folder, ranks)
    trainer = build_trainer(config, clips, tokenizer, ranks, say)
    lengths = begin_or_resume(trainer, say, tokenizer)
    with trainer.stop, open_log(trainer, lengths) as run_log:
        with death_noticed(), closing(trainer.loader):
            trainer.run(run_log)
        card = finish(trainer, run_log)
        merge_low_rank(trainer.model)
        if ranks.first:
            save_model(
                folder / MODEL,
                trainer.model,
                tokenizer,
                card,
                beside=kept_graphs(config, trainer.model),
            )
        ranks.barrier()
    return folder / MODEL


def build_trainer(
    config: TrainConfig,
    clips: Clips,
    tokenizer: Tokenizer,
    ranks: Ranks,
    say: Callable[[str], None],
) -> Trainer:
    """Data, model and optimizer, the weights random; raises ConfigError."""
    check_start(config)
    # As many rows as the tokenizer has ids: fewer than were asked for, where texts are few.
    shape = dataclasses.replace(config.model, vocabulary=vocabulary_of(config, tokenizer, say))
    model = first_model(config, shape).to(ranks.device)  # first: what cannot be trained is refused
    loader = Loader(
        config.data,
        shape,
        tokenizer,
        clips,
        seed=config.seed,
        rank=ranks.rank,
        world_size=ranks.size,
        cache_dir=Path(config.output) / "features",
        gather=ranks.gather_text,
        clean=config.objective.distils,
    )
    for line in loader.left_out:
        say(f"warning: left out: {line}")
    if loader.left_out:
        say(f"warning: left out in all: {amount(len(loader.left_out), 'recording')}")
    dev = shared_dev_utterances(config.data, shape, clips, ranks.gather_text)
    scores = partial(validate, dev[ranks.rank :: ranks.size], tokenizer, ranks.gather_text)
    return Trainer(config, Stepper(config, model, ranks), loader, scores, StopSignals())


def check_start(config: TrainConfig) -> None:
    """Raise ConfigError for what a run would leave out without a word."""
    if config.trainable and config.init_from is None:
        raise ConfigError(
            "trainable leaves the rest of the model as it is, and without init_from that is random "
            "for ever: name a model in init_from, or leave trainable out"
        )
    if config.objective.distil_decoder and not config.model.decoder.num_layers:
        raise ConfigError(
            "objective.distil_decoder compares what decoders write, and this model has none "
            "(model.decoder.num_layers is 0): set distil_encoder instead"
        )


def first_model(config: TrainConfig, shape: ModelConfig) -> SpeechModel:
    """A model with random weights, the same on every rank; what is not trained is frozen. Raises
    ConfigError where what is to be trained cannot be."""
    # No step is -1, and rank 0 is meant on all: they begin with the same weights.
    seed_step(config.seed, -1, 0, 0)
    model = build_model(shape)
    freeze(model, config.trainable)
    freeze_unreached(model, config.objective)
    if config.tie_experts_until:
        check_tied(model)
    if config.low_rank is not None:
        add_low_rank(model, config.low_rank)
    return model


def vocabulary_of(
    config: TrainConfig, tokenizer: Tokenizer, say: Callable[[str], None]
) -> VocabularyConfig:
    """As many rows as the tokenizer has ids: fewer than were asked for, where texts are few. Of
    Whisper's, which is never trained here, a checkpoint may have more."""
    asked = config.model.vocabulary
    if tokenizer.size < asked.size and isinstance(tokenizer, WhisperTokenizer):
        return asked
    if tokenizer.size < asked.size:
        say(f"the tokenizer has {tokenizer.size} ids of the {asked.size} that it may have")
    return dataclasses.replace(asked, size=tokenizer.size)


def begin_or_resume(
    trainer: Trainer, say: Callable[[str], None], tokenizer: Tokenizer | None = None
) -> dict[str, int]:
    """Put the trainer at its newest whole checkpoint, or at step 0; the lengths of the logs.
    `tokenizer` is needed where it is not that of `init_from`."""
    if trainer.ranks.first:
        for place in ("", CHECKPOINTS, VALIDATED):
            remove_leftovers(trainer.folder / place)
        for kept in (trainer.folder / TEACHER).glob("*"):
            if kept.name not in map(str, range(trainer.ranks.size)):  # of a rank that is no more
                shutil.rmtree(kept, ignore_errors=True)
    trainer.ranks.barrier()
    checkpoint = trainer.checkpoints.newest(lambda text: say(f"warning: {text}"))
    source = trainer.config.init_from
    objective = trainer.config.objective
    # Neither what is frozen nor a teacher is in a checkpoint.
    wanted = checkpoint is None or is_frozen(trainer.model) or objective.distils
    if source is not None and wanted:
        start_from(source, trainer.model, say if checkpoint is None else log.silent, tokenizer)
    if objective.distils:
        kept = trainer.folder / TEACHER / str(trainer.ranks.rank)
        trainer.stepper.teacher = Teacher(trainer.model, objective, kept, trainer.ranks.size)
    if checkpoint is None:
        trainer.begin()
        return {}
    trainer.restore(checkpoint)
    before, now = int(checkpoint.fields["ranks"]), trainer.ranks.size
    if before != now:
        trainer.dealt_anew(before)
        say(
            f"warning: the run was on {before} ranks and goes on with {now}: the result will not "
            "be that of an undisturbed run"
        )
    say(f"going on at step {trainer.state.step}")
    return checkpoint.fields["log"]


def open_log(trainer: Trainer, lengths: dict[str, int]) -> AbstractContextManager[RunLog | None]:
    """The first rank's log; the others write none."""
    if not trainer.ranks.first:
        return nullcontext()
    return RunLog(trainer.folder, trainer.state, lengths)


def start_from(
    name: str, model: SpeechModel, say: Callable[[str], None], tokenizer: Tokenizer | None = None
) -> None:
    """Copy a folder's weights in, those of words and languages that `tokenizer` has as well, and
    list what did not fit."""
    folder = open_model(name, say)
    state, lines = with_experts(stored_tensors(folder), folder.config, model.config)
    before = folder.tokenizer.pieces
    now = before if tokenizer is None else tokenizer.pieces
    if now != before:
        languages = tuple(folder.tokenizer.language_ids)
        state = with_rows(state, model.state_dict(), (before, now), languages)
        kept = len(set(before) & set(now))
        lines.append(f"a new tokenizer: kept {kept} of {len(now)} rows of the vocabulary")
        new = [code for code in model.config.vocabulary.all_languages if code not in languages]
        if new:
            lines.append(f"{', '.join(new)}: begins as the mean of {', '.join(languages)}")
    for line in lines:
        say(f"init_from {name}: {line}")
    fitted = fit_state(model, state)
    known = {*model.state_dict(), *state}
    for what, names in (
        ("not in the model folder, left random", [n for n in fitted.missing if not is_added(n)]),
        ("in the model folder, but not in the model", fitted.unexpected),
        ("of another shape, left random", fitted.mismatched),
    ):
        if names:
            listed = ", ".join(shortened(names, known.difference(names)))
            say(f"init_from {name}: {len(names)} tensors {what}: {listed}")


def run_tokenizer(config: TrainConfig, clips: Clips, folder: Path, ranks: Ranks) -> Tokenizer:
    """The run's tokenizer, trained once from its texts; that of `init_from` where there is one and
    it is kept.

    Raises ConfigError where it is not the one that the run began with: other pieces would be
    learned from then on.
    """
    path = folder / TOKENIZER
    if ranks.first:
        keep_tokenizer(config, clips, folder)
    ranks.barrier()
    data, run = path.read_bytes(), read_run(folder / RUN)
    # A list: what stands in the file may be nothing that a dictionary could be asked for.
    known = run.get("tokenizer_kind") in list(TOKENIZERS)
    same = known and sha256_of(data) == run.get("tokenizer")
    if ranks.largest(int(not same)):
        raise ConfigError(
            f"{path}: is not the tokenizer that this run began with, or is damaged: put back what "
            "was there to go on, or choose another output"
        )
    return TOKENIZERS[run["tokenizer_kind"]].read(data, config.model.vocabulary)


def keep_tokenizer(config: TrainConfig, clips: Clips, folder: Path) -> None:
    """Make the run's tokenizer where it is missing, its SHA-256 written into `run.json` first."""
    path, run = folder / TOKENIZER, read_run(folder / RUN)
    if "tokenizer" in run and path.exists():
        return
    tokenizer = kept_tokenizer(config)
    if tokenizer is not None and config.objective.text_weight:
        for line in spelled_otherwise(config.data, clips, tokenizer):
            log.say(f"warning: {line}")
    if tokenizer is None:
        texts = training_texts(config.data, clips)
        tokenizer = SentencePieceTokenizer.train(texts, config.model.vocabulary)
    data = path.read_bytes() if path.exists() else tokenizer.to_bytes()
    if "tokenizer" not in run:
        noted = {"tokenizer": sha256_of(data), "tokenizer_kind": tokenizer.kind}
        write_run(folder / RUN, {**run, **noted})
    if not path.exists():
        write_whole(path, data)


def kept_tokenizer(config: TrainConfig) -> Tokenizer | None:
    """That of `init_from`; None where a new one is to be trained.

    Raises ConfigError where it is to be kept, and has no id for a language of the run.
    """
    if config.init_from is None or config.init_tokenizer == "new":
        return None
    tokenizer = open_model(config.init_from, log.say).tokenizer
    needed = config.model.vocabulary.all_languages
    missing = [code for code in needed if language_symbol(code) not in tokenizer.pieces]
    if missing and config.init_tokenizer == "keep":
        raise ConfigError(
            f"init_tokenizer is 'keep', and the tokenizer of {config.init_from} has no id for "
            f"{', '.join(missing)}: leave it out, and one is trained that keeps what fits, or "
            "change model.vocabulary"
        )
    return None if missing else tokenizer


@contextmanager
def deterministic(config: TrainConfig, ranks: Ranks) -> Iterator[None]:
    """The same bits from the same numbers, where PyTorch can (CPU)."""
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(ranks.device.type == "cpu")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before)
