"""What can be used at once: the models that ship, and those in the cache."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from turnout import model_folder
from turnout.adapters.folder import TENSORS, AdapterFolder
from turnout.adapters.stored import KINDS_OF_MODELS, shapes_in
from turnout.config import ModelConfig, RoutingConfig
from turnout.errors import MissingModel, ModelFolderError, UsageError
from turnout.guidance import Guide
from turnout.hub.cache import Cache, Cached
from turnout.hub.resolve import shipped_adapters
from turnout.hub.sources import Source, source_of
from turnout.model_folder import SHIPPED, WEIGHTS, ModelFolder, read_digests, shipped_models
from turnout.progress import Say

PRECISIONS = {"F32": "float32", "F16": "float16", "I8": "int8"}
FEW = 4
"""Languages that are named each; more are counted."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A model in a few words."""

    name: str
    """What `--model` takes."""
    size: int
    """Bytes of its files."""
    precision: str
    """Of most of its weights."""
    languages: str
    translates: str
    """Languages that it translates into."""
    routing: str
    origin: str
    """The repository and the commit; whose it is where it ships."""


@dataclass(frozen=True)
class Inventory:
    """The models, and the downloads that were stopped."""

    models: Sequence[Known]
    unfinished: Sequence[tuple[str, int]]
    """Name of a repository, and bytes that are there."""

    def __rich__(self) -> RenderableType:
        """A table of the models, and what else lies in the cache."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("model", no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        for heading in ("precision", "languages", "into", "routing", "from"):
            table.add_column(heading, overflow="fold")
        for one in self.models:
            size = decimal(one.size)
            said = (one.precision, one.languages, one.translates, one.routing, one.origin)
            table.add_row(one.name, size, *said)
        parts: list[RenderableType] = [table]
        for name, size in self.unfinished:
            parts.append(Text(f"{name}: {decimal(size)} of it were fetched; asking for it goes on"))
        return Group(*parts)


def inventory(cache: Cache) -> Inventory:
    """What there is. A folder that cannot be read is said to be so in its place."""
    shipped = [known(name, SHIPPED / name, "turnout") for name in shipped_models()]
    shipped += map(known_adapter, shipped_adapters())
    models = [known(one.source.name, one.path, origin_of(one)) for one in cache.models()]
    stopped = [
        (Source(one.source.repository).name, size_of(one.path)) for one in cache.unfinished()
    ]
    return Inventory([*shipped, *models], stopped)


def origin_of(model: Cached) -> str:
    """Repository and commit."""
    return f"{model.source.repository}@{model.commit[:8]}"


def known(name: str, path: Path, origin: str) -> Known:
    """A model folder in a few words; of its files, the configuration and where its tensors lie are
    read."""
    size = size_of(path)
    try:
        config = ModelFolder(path, read_digests(path)).config
        precision = precision_of(path, WEIGHTS)
    except ModelFolderError:
        return unread(name, size, origin)
    vocabulary = config.vocabulary
    targets = tuple(dict.fromkeys(target for _, target in vocabulary.translations))
    return Known(
        name=name,
        size=size,
        precision=precision,
        languages=listed(vocabulary.languages),
        translates=listed(targets),
        routing=routing_of(config),
        origin=origin,
    )


def precision_of(folder: Path, name: str) -> str:
    """What most numbers of a file of tensors are; float32 where there is no such, but graphs that
    hold them. Raises ModelFolderError."""
    if not (folder / name).exists():
        return PRECISIONS["F32"]
    numbers: Counter[str] = Counter()
    for one in shapes_in(folder, name, f"{folder}: {name}", KINDS_OF_MODELS).values():
        numbers[PRECISIONS[one.kind]] += prod(one.shape)
    return max(numbers, key=numbers.__getitem__, default=PRECISIONS["F32"])


def unread(name: str, size: int, origin: str) -> Known:
    """What is said of a folder that is no good."""
    said = "cannot be read"
    return Known(
        name=name,
        size=size,
        precision=said,
        languages=said,
        translates=said,
        routing=said,
        origin=origin,
    )


def known_adapter(name: str) -> Known:
    """An adapter that ships in a few words; of its files, adapter.json and where its tensors lie
    are read."""
    path = model_folder.SHIPPED / name
    size = size_of(path)
    try:
        facts = AdapterFolder(path, read_digests(path)).facts
        precision = precision_of(path, TENSORS)
    except (ModelFolderError, OSError):
        return unread(name, size, "turnout")
    guides = dict.fromkeys(guide for entry in facts.experts for guide in entry.when)
    languages = [
        entry.when[Guide.LANGUAGE] for entry in facts.experts if Guide.LANGUAGE in entry.when
    ]
    return Known(
        name=name,
        size=size,
        precision=precision,
        languages=listed(tuple(dict.fromkeys(languages))) if languages else "its base's",
        translates="",
        routing=f"adapter of {facts.base} ({', '.join(guides)})",
        origin="turnout",
    )


def listed(languages: tuple[str, ...]) -> str:
    """A few by their codes, many by their number."""
    if len(languages) > FEW:
        return str(len(languages))
    return ", ".join(languages) or "none"


def routing_of(config: ModelConfig) -> str:
    """Of both stacks: the kinds, and what guides them; who has an expert, where not everybody."""
    stacks = (config.encoder.routing, config.decoder.routing)
    used = stacks if config.decoder.num_layers else stacks[:1]
    guides = dict.fromkeys(
        f"{guide}: {listed(owners(one, place))}" if one.experts_for else str(guide)
        for one in used
        if one.guided
        for place, guide in enumerate(one.guided_by)
    )
    kinds = ", ".join(dict.fromkeys(one.kind for one in used))
    return f"{kinds} ({', '.join(guides)})" if guides else kinds


def owners(routing: RoutingConfig, place: int) -> tuple[str, ...]:
    """The values of the guide at this place that some expert is for."""
    values = (name.split("+")[place] for name in routing.experts_for)
    return tuple(dict.fromkeys(values))


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def remove(name: str, cache: Cache, say: Say) -> list[str]:
    """Delete a model from the cache, and what a stopped download of its repository left; a line
    for each thing that is gone.

    Raises UsageError for what ships, for a path and for what is not there, and StorageError.
    """
    if name in model_folder.shipped():
        raise UsageError(f"'{name}' ships with turnout: only what is in the cache can be removed")
    source = source_of(name)
    stopped = {one.source.key for one in cache.unfinished()}
    if cache.find(source) is None and source.key not in stopped:
        held = ", ".join(one.source.name for one in cache.models()) or "no model"
        raise MissingModel(f"'{source.name}' is not in the cache {cache.root}, which has {held}")
    with cache.alone(source, lambda: say(f"{source.name}: another process is fetching it")):
        sizes = {one.path: size_of(one.path) for one in (*cache.models(), *cache.unfinished())}
        return [f"removed {path} ({decimal(sizes[path])})" for path in cache.remove(source)]
