"""The models that the operator allows, by name: loaded when they are first asked for, within a
bound of memory. Those that are in use stay; of the others the one that was idle longest leaves.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from turnout.backends.paths import PathBackend
from turnout.config.serving import DEFAULT_ALIAS, ServingConfig
from turnout.errors import (
    Busy,
    ConfigError,
    ModelUnavailable,
    TurnoutError,
    UnknownModel,
    shown,
)
from turnout.hub.adapted import adapter_folders
from turnout.hub.resolve import in_cache, is_adapter_name, is_here, resolve
from turnout.hub.sources import SCHEME
from turnout.model_folder import DEFAULT_MODEL, ModelFolder
from turnout.serving.engine import Engine, longest_silence
from turnout.serving.metrics import Metrics
from turnout.serving.model_facts import ModelFacts, facts_of, memory_of, silence
from turnout.transcription.transcriber import Transcriber, load
from turnout.verified_folder import read_digests

RETRY_SECONDS = 30
"""When a model that found no memory may be asked for again."""
BROKEN_SECONDS = 30.0
"""In which one that could not be loaded is not tried again: each try would hold the places of all
who wait for it."""
LOADING_SECONDS = 60.0
"""Of a model, after which a server that has started is not well: requests would wait in vain."""
Opens = Callable[["Place"], Transcriber]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """What the operator allows under a name."""

    name: str
    model: str | None
    """As `turnout.load` takes it."""
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model as clients see it."""

    name: str
    aliases: tuple[str, ...]
    is_default: bool
    is_loaded: bool
    created: int
    """Seconds since 1970: when its folder was written, or the server started."""
    facts: ModelFacts | None
    """None where it was not read yet, as of a model that has to be fetched first."""


@dataclass(eq=False)
class Entry:
    """A place, and what is known and loaded of it."""

    place: Place
    created: int
    facts: ModelFacts | None = None
    engine: Engine | None = None
    users: int = 0
    used: float = 0.0
    """When it was last in use, on the clock that never goes back."""
    bytes: int = 0
    """Of memory that is kept for it."""
    failed: tuple[float, str] | None = None
    """When it could last not be loaded, and why."""
    loading: Lock = field(default_factory=Lock)
    loading_since: float | None = None


class Models:
    """By name; thread-safe."""

    def __init__(self, config: ServingConfig, metrics: Metrics, opens: Opens | None = None) -> None:
        """`opens` makes a place's Transcriber, as `turnout.load` does by default. Raises
        ConfigError for names that cannot be."""
        self._config = config
        self._metrics = metrics
        self._opens = opens or self._load
        self._lock = Lock()
        now = int(time.time())
        self._entries = {place.name: Entry(place, now) for place in places(config)}
        self.default = next(iter(self._entries))

    def name_of(self, model: str | None) -> str:
        """The name of the model that is asked for; raises UnknownModel, naming the choices."""
        if not model or (model == DEFAULT_ALIAS and model not in self._entries):
            return self.default
        if model not in self._entries:
            raise UnknownModel(
                f"the model {shown(model)} is not served here: choose one of "
                f"{', '.join(self._entries)}"
            )
        return model

    def served(self) -> list[ServedModel]:
        """All of them, the default one first."""
        return [
            ServedModel(
                name=name,
                aliases=(DEFAULT_ALIAS,) if self._has_alias(name) else (),
                is_default=name == self.default,
                is_loaded=entry.engine is not None,
                created=entry.created,
                facts=entry.facts,
            )
            for name, entry in self._entries.items()
        ]

    def _has_alias(self, name: str) -> bool:
        return name == self.default and DEFAULT_ALIAS not in self._entries

    def loaded(self, name: str) -> Engine | None:
        """The model, where it is there already."""
        return self._entries[name].engine

    def engines(self) -> list[Engine]:
        """Those that are loaded."""
        return [entry.engine for entry in list(self._entries.values()) if entry.engine is not None]

    def trouble(self) -> str:
        """Why nothing can be expected of one that is loaded, or of the default one; empty where all
        is well."""
        troubles = [engine.trouble() for engine in self.engines()]
        entry = self._entries[self.default]
        if entry.engine is None and failed_of_late(entry):
            troubles.append(f"the model {self.default} cannot be loaded")
        began = entry.loading_since
        if began is not None and time.monotonic() - began > LOADING_SECONDS:
            troubles.append(f"the model {self.default} is still being loaded")
        return next((trouble for trouble in troubles if trouble), "")

    def look(self) -> None:
        """Read what the models that are on this machine can do, without loading them."""
        for entry in self._entries.values():
            if entry.engine is None:
                with suppress(TurnoutError, OSError):  # told to whoever asks for it
                    look_at(entry)

    @contextmanager
    def held(self, name: str) -> Iterator[Engine]:
        """The model, loaded where it is not, and kept as long as this lasts.

        Raises what `turnout.load` does, ModelUnavailable where that failed just now, and Busy where
        others in use leave it no memory.
        """
        entry = self._entries[name]
        with entry.loading:  # whoever wants the same model waits for it, the others go on
            with self._lock:
                engine = entry.engine
                entry.users += engine is not None
            if engine is None:
                if entry.failed is not None and failed_of_late(entry):
                    raise ModelUnavailable(entry.failed[1])
                entry.loading_since = time.monotonic()
                try:
                    engine = self._begin(entry)
                finally:
                    entry.loading_since = None
        try:
            yield engine
        finally:
            with self._lock:
                entry.users -= 1
                entry.used = time.monotonic()

    def close(self) -> None:
        """End all engines."""
        for engine in self.engines():
            engine.close()

    def _begin(self, entry: Entry) -> Engine:
        """Load a model; it counts as in use."""
        name = entry.place.name
        try:
            look_at(entry, fetch=True)
            wanted = entry.facts.memory_bytes if entry.facts is not None else 0
            self._make_room(entry, wanted)
            transcriber = self._opens(entry.place)
            warm = longest_silence(transcriber, silence(transcriber.backend.config))
        except BaseException as error:
            with self._lock:
                entry.bytes = 0
            if not isinstance(error, Busy):
                entry.failed = time.monotonic(), str(error)
            raise
        engine = Engine(name, transcriber, self._config.batch_limit, self._metrics, warm)
        with self._lock:
            entry.engine = engine
            entry.users += 1
            adapted = transcriber.adapted
            entry.facts = facts_of(
                transcriber.backend.config,
                transcriber.tokenizer,
                entry.bytes,
                () if adapted is None else adapted.names,
            )
        self._metrics.model_bytes.labels(name).set(entry.bytes)
        log.info("the model %s is loaded", name)
        return engine

    def _load(self, place: Place) -> Transcriber:
        transcriber = load(
            place.model,
            adapters=place.adapters,
            device=self._config.device,
            threads=self._config.threads,
            say=log.info,
        )
        # A path is otherwise opened when it is first needed, from files that others may have
        # changed by then.
        if isinstance(transcriber.backend, PathBackend):
            transcriber.backend.open_all()
        return transcriber

    def _make_room(self, entry: Entry, wanted: int) -> None:
        """Let idle models go until this one has its memory; raises ConfigError where it never can,
        and Busy."""
        most = int(self._config.model_memory_gb * 1e9)
        if wanted > most:
            raise ConfigError(
                f"the model {entry.place.name} takes {wanted / 1e9:.1f} GB, and model_memory_gb is "
                f"{self._config.model_memory_gb:g}: raise it"
            )
        while True:
            with self._lock:
                used = sum(one.bytes for one in self._entries.values() if one is not entry)
                if used + wanted <= most:
                    entry.bytes = wanted
                    return
                idle = [
                    one
                    for one in self._entries.values()
                    if one.engine is not None and not one.users
                ]
                if not idle:
                    raise Busy(
                        f"there is no memory for the model {entry.place.name} while others are in "
                        "use: try again later",
                        RETRY_SECONDS,
                    )
                victim = min(idle, key=lambda one: one.used)
                engine, victim.engine, victim.bytes = victim.engine, None, 0
            assert engine is not None
            self._metrics.model_bytes.labels(engine.name).set(0)
            log.info("the model %s makes room for %s", engine.name, entry.place.name)
            engine.close()


def failed_of_late(entry: Entry) -> bool:
    """Whether a model could not be loaded, and is not tried again yet."""
    return entry.failed is not None and time.monotonic() - entry.failed[0] < BROKEN_SECONDS


def places(config: ServingConfig) -> list[Place]:
    """What the operator allows; raises ConfigError where two have one name."""
    found: dict[str, Place] = {}
    for number, model in enumerate(config.model or (None,)):
        name = served_name(model)
        if name in found:
            raise ConfigError(
                f"two models would be called {shown(name)}: rename one of the folders"
            )
        found[name] = Place(name, model, config.adapter if number == 0 else ())
    return list(found.values())


def served_name(model: str | None) -> str:
    """What clients call a model: by its name, or by that of its folder."""
    if model is None:
        return DEFAULT_MODEL
    if model.startswith(SCHEME):
        return model
    return Path(model).resolve().name if "/" in model or model in (".", "..") else model


def look_at(entry: Entry, fetch: bool = False) -> None:
    """Note what a model can do, and the memory that it takes: nothing where it is not on this
    machine and not to be fetched. Raises what `resolve` does."""
    model = entry.place.model
    adapters = [one.facts for one in adapter_folders(model, entry.place.adapters)]
    if is_adapter_name(model):
        model = adapters[0].base
        if model is None:  # loading it says what to do
            return
    if not fetch and not is_here(model) and not (model is not None and in_cache(model)):
        return
    path = resolve(model, log.info)
    folder = ModelFolder(path, read_digests(path))  # each file is verified as it is read
    entry.created = int(path.stat().st_mtime)
    memory = memory_of(folder, 1 + len(adapters))
    names = dict.fromkeys(one.name for one in adapters)
    entry.facts = facts_of(folder.config, folder.tokenizer, memory, tuple(names))
