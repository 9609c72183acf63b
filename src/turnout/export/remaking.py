"""A model -> another folder of it: upcycled into experts, or one path cut out; compared with the
model on recordings before it takes its place. Without torch where graphs and weights need none."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from turnout.config import ModelConfig, RoutingConfig
from turnout.config.cutting import Cut, cut_out, one_of_each, stacks_of
from turnout.config.upcycling import upcycled
from turnout.errors import MissingExtra, UsageError
from turnout.export.receipt import Receipt, compared, confirm
from turnout.guidance import Guidance
from turnout.hub.adapted import adapter_folders, open_adapter
from turnout.hub.rerouted import Writing, plain_graphs, specialise, specialise_adapted, upcycle
from turnout.hub.resolve import is_adapter_name, to_log
from turnout.model_folder import WEIGHTS, ModelFolder
from turnout.progress import Say
from turnout.transcription.transcriber import Transcriber, load

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
"""Of a checkout; what is installed has none."""
MANY = 16
"""Experts in a layer that are more than most people mean."""
SOME = ("english-1.flac", "arabic-telephone-1.wav", "arabic-2.mp3", "english-telephone-2.wav")


def upcycle_model(
    model: str | Path,
    output: Path,
    routings: tuple[RoutingConfig | None, RoutingConfig | None],
    *,
    domains: tuple[str, ...] | None = None,
    audio: Sequence[Path] = (),
    say: Say = to_log,
) -> Receipt:
    """Write a dense model with these routings of encoder and decoder, each expert a copy, whole or
    not at all: both models must say the same of the recordings, to the last bit. Behind a learned
    router frames are sorted by expert, and its graphs are PyTorch's, which both round otherwise:
    there log-probabilities may differ by 1e-4, or 1e-5 of the largest of their place (whisper-base,
    which knows -40, was 2.4e-5 away).

    Raises ConfigError, UsageError, ModelFolderError, MissingExtra, ExportError, StorageError.
    """
    heard = recordings(audio)
    before, folder = opened(model, say)
    config = upcycled(folder.config, *routings, domains)
    for line in many_experts(config):
        say(line)
    learned = any(
        routing.learned and routing != stacks_of(folder.config)[name]
        for name, routing in stacks_of(config).items()
    )
    exact = not learned and is_of_today(folder)
    checked = Checked(before, heard, one_of_each(config), exact=exact)
    writing = Writing(
        output=output,
        title="A model with experts",
        said=(
            made_of("made of", model, folder),
            "by: turnout upcycle; until it is trained, each expert is a copy",
        ),
        graphs=graphs_of,
        check=checked,
    )
    if learned:
        write_learned(folder, config, writing)
    else:
        upcycle(folder, config, writing)
    return checked.receipt()


def many_experts(config: ModelConfig) -> list[str]:
    """A line for each stack with more than MANY experts in a layer, such as one for each of
    Whisper's languages: each is a copy of a feed-forward, on the disk as well."""
    found = []
    for name, routing in stacks_of(config).items():
        layers = range(getattr(config, name).num_layers)
        experts = max((config.experts_of(routing, layer) for layer in layers), default=0)
        if experts > MANY:
            own = f": --{name}.routing.experts-for names those that need one of their own"
            found.append(
                f"{name}.routing: {experts} experts in a layer{own if routing.guided else ''}"
            )
    return found


def specialise_model(
    model: str | Path,
    output: Path,
    stated: Guidance,
    *,
    adapters: Sequence[str | Path] = (),
    audio: Sequence[Path] = (),
    say: Say = to_log,
) -> Receipt:
    """Write the path of a routed model, or of a dense one with adapters, that this guidance
    selects, whole or not at all: both models must say the same of the recordings, to the last bit
    (a hybrid's router, whose rows are fewer then, may round otherwise on ONNX Runtime, and so may
    graphs of an older turnout: as `upcycle_model` says).

    Raises GuidanceError, UsageError, ModelFolderError, MissingExtra, ExportError, StorageError.
    """
    heard = recordings(audio)
    before, folder = opened(model, say, adapters)
    whole = before.backend.config
    cut = cut_out(whole, stated)
    hybrid = any(routing.kind == "hybrid" for routing in stacks_of(whole).values())
    exact = not hybrid and is_of_today(folder)
    checked = Checked(before, heard, cut.guidance, exact=exact)
    writing = Writing(
        output=output,
        title="One path of a model with experts",
        said=(
            made_of("cut out of", model, folder),
            "by: turnout specialise",
            *left_in(cut, whole),
        ),
        graphs=graphs_of,
        check=checked,
    )
    if before.adapted is None:
        specialise(folder, cut, writing)
    else:
        specialise_adapted(folder, before.adapted, cut, writing, adapter_folders(model, adapters))
    return checked.receipt()


class Checked:
    """Compares a folder that was just written with the model that it was made of."""

    def __init__(
        self,
        before: Transcriber,
        audio: Sequence[Path],
        guidance: Sequence[Guidance],
        *,
        exact: bool,
    ) -> None:
        self._before, self._audio, self._guidance, self._exact = before, audio, guidance, exact
        self._receipt: Receipt | None = None

    def __call__(self, folder: Path) -> None:
        """Raises ExportError where they differ."""
        before, after = self._before, load(folder)
        self._receipt = compared(
            before.backend, after.backend, before.tokenizer, self._audio, self._guidance
        )
        confirm(self._receipt, exact=self._exact)

    def receipt(self) -> Receipt:
        """Of the comparison, which was made."""
        assert self._receipt is not None, "nothing was compared"
        return self._receipt


def opened(
    model: str | Path, say: Say, adapters: Sequence[str | Path] = ()
) -> tuple[Transcriber, ModelFolder]:
    """The model and its folder."""
    transcriber = load(model, adapters=adapters, say=say)
    assert transcriber.folder is not None
    return transcriber, transcriber.folder


def recordings(audio: Sequence[Path]) -> Sequence[Path]:
    """What both models hear; raises UsageError where there is nothing."""
    found = list(audio) or [EXAMPLES / name for name in SOME if (EXAMPLES / name).is_file()]
    if not found:
        raise UsageError(
            "there is no recording to compare the models on: name some with --audio, with speech "
            "in a language of theirs"
        )
    return found


def graphs_of(config: ModelConfig) -> dict[str, bytes]:
    """Graphs of a configuration, by PyTorch where they need it; raises MissingExtra where it is not
    there."""
    try:
        return plain_graphs(config)
    except MissingExtra:
        if find_spec("torch") is None:
            raise
    from turnout.export.learned import traced_graphs  # noqa: PLC0415 - torch

    return traced_graphs(config)


def is_of_today(folder: ModelFolder) -> bool:
    """Whether a folder's graphs are those that are written of it now: others may add up in another
    order. Those of PyTorch are taken to be."""
    try:
        graphs = plain_graphs(folder.config) if folder.has_graphs else {}
    except MissingExtra:
        return True
    return all(folder.read(name) == data for name, data in graphs.items())


def write_learned(folder: ModelFolder, config: ModelConfig, writing: Writing) -> None:
    """See `turnout.export.learned.upcycle_learned`; raises MissingExtra, too."""
    if find_spec("torch") is None:
        raise MissingExtra("a learned router", "train")
    from turnout.export.learned import upcycle_learned  # noqa: PLC0415 - torch

    upcycle_learned(folder, config, writing)


def made_of(how: str, model: str | Path, folder: ModelFolder) -> str:
    """Which model it was, so that it can be found and told from others; an adapter's base where
    that was in its place."""
    base = open_adapter(model).facts.base if is_adapter_name(model) else None
    name = base or (Path(model).name if Path(model).exists() else model)
    return f"{how}: {name} (SHA-256 of its weights: {folder.digests[WEIGHTS]})"


def left_in(cut: Cut, before: ModelConfig) -> list[str]:
    """What a path is, and what is left of the model's tasks, languages and domains."""
    after = cut.config
    lines = [
        f"{name}: the experts of {before.expert_map(routing).name(getattr(cut.path, name))}"
        for name, routing in stacks_of(before).items()
        if routing.guided
    ]
    pairs = (
        ("tasks", before.tasks, after.tasks),
        ("languages", before.vocabulary.languages, after.vocabulary.languages),
        ("domains", before.domains, after.domains),
    )
    lines += [f"{what} left: {', '.join(now)}" for what, then, now in pairs if then != now]
    return lines
