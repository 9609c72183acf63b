"""The configuration of a routed model -> that of one of its paths, which needs no such guidance any
more: what is left of the model is what takes that path."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from turnout.config.model import DecoderConfig, EncoderConfig, ModelConfig
from turnout.config.routing import RoutingConfig
from turnout.errors import GuidanceError
from turnout.guidance import Bandwidth, ExpertMap, Guidance, Guide, Task, Window

DENSE: Mapping[str, RoutingConfig] = {
    "encoder": EncoderConfig().routing,
    "decoder": DecoderConfig().routing,
}
MOST_NAMED = 12
"""Choices in an error."""


class Path(NamedTuple):
    """The expert, or group of a hybrid, that each stack takes; 0 where nothing guides it."""

    encoder: int
    decoder: int


@dataclass(frozen=True)
class Cut:
    """One path of a model."""

    config: ModelConfig
    """Of what is left."""
    path: Path
    guidance: tuple[Guidance, ...]
    """All that took this path and can still be asked for."""


def every_guidance(config: ModelConfig) -> list[Guidance]:
    """Everything that can be asked of a model."""
    vocabulary = config.vocabulary
    asked = [(Task.TRANSCRIBE, language, language) for language in vocabulary.languages]
    asked += [(Task.TRANSLATE, source, target) for source, target in vocabulary.translations]
    windows = tuple(Window) if config.features.padding == "window" else (Window.PADDED,)
    return [
        Guidance(
            bandwidth=bandwidth,
            task=task,
            language=language,
            target_language=target,
            domain=domain,
            window=window,
        )
        for (task, language, target), bandwidth, domain, window in product(
            asked, Bandwidth, config.domains, windows
        )
        if task in config.tasks
    ]


def stacks_of(config: ModelConfig) -> dict[str, RoutingConfig]:
    """The routing of each stack that the model has."""
    stacks = {"encoder": config.encoder.routing, "decoder": config.decoder.routing}
    return stacks if config.decoder.num_layers else {"encoder": stacks["encoder"]}


def dense_twin(config: ModelConfig) -> ModelConfig:
    """The same model without routing: what each of its supervised paths is."""
    return replace(
        config,
        encoder=replace(config.encoder, routing=DENSE["encoder"]),
        decoder=replace(config.decoder, routing=DENSE["decoder"]),
    )


def cut_out(config: ModelConfig, stated: Guidance) -> Cut:
    """The path that `stated` selects, as far as guidance selects one.

    Raises GuidanceError where nothing guides, where a value is unknown, and where one that selects
    is left unsaid, with the choices.
    """
    check_guided(config)
    check_stated(config, stated)
    maps = {name: config.expert_map(routing) for name, routing in stacks_of(config).items()}
    known = [(one, path_of(one, maps)) for one in every_guidance(config)]
    paths = {path for one, path in known if agrees(one, stated)}
    if not paths:
        said = ", ".join(f"{guide} {value}" for guide, value in values_of(stated).items())
        raise GuidanceError(f"this model does nothing that is {said}: leave some of it out")
    selecting = selecting_guides(maps)
    if len(paths) > 1:
        raise unsaid(config, stated, known, selecting)
    (path,) = paths
    kept = {guide: values_on(path, guide, stated, known) for guide in selecting}
    if stated.task is not None and Guide.TARGET_LANGUAGE in kept:
        kept[Guide.TASK] = frozenset({stated.task.value})  # the other has targets of other paths
    kept = narrowed(kept, path, stated, known)
    fitting = [(one, taken) for one, taken in known if fits(one, kept)]
    left = [one for one, _ in fitting]
    rest = replace(restricted(config, left, kept), **routed(config))
    other = any(taken != path for _, taken in fitting)
    if other or not {*map(asked, every_guidance(rest))} <= {*map(asked, left)}:
        # Such as a target language that is both spoken and translated to.
        raise unsaid(config, stated, known, selecting)
    return Cut(rest, path, tuple(left))


def one_of_each(config: ModelConfig) -> list[Guidance]:
    """Guidance that takes every expert, or group, of each stack at least once."""
    maps = {name: config.expert_map(routing) for name, routing in stacks_of(config).items()}
    found: list[Guidance] = []
    seen: set[tuple[str, int]] = set()
    for one in every_guidance(config):
        taken = set(path_of(one, maps)._asdict().items())
        if not taken <= seen:
            found.append(one)
            seen |= taken
    return found


def check_guided(config: ModelConfig) -> None:
    """Raise GuidanceError where no stack has a path that is known before the first frame."""
    stacks = stacks_of(config)
    if any(routing.guided for routing in stacks.values()):
        return
    learned = next((routing.kind for routing in stacks.values() if routing.learned), None)
    if learned:
        raise GuidanceError(
            f"the experts of this model are chosen by a learned router ({learned}), frame by "
            "frame: no path is known before it hears, so none can be cut out; paths are of the "
            "routings supervised and hybrid"
        )
    raise GuidanceError("this model is dense: it has but one path, and is that already")


def check_stated(config: ModelConfig, stated: Guidance) -> None:
    """Raise GuidanceError for a value that the model does not have, naming those that it has."""
    everything = ExpertMap.of(
        tuple(Guide),
        languages=config.vocabulary.languages,
        target_languages=config.vocabulary.all_languages,
        domains=config.domains,
    )
    for guide, values in zip(everything.guides, everything.choices, strict=True):
        value = stated.value(guide)
        if value is not None and value not in values:
            raise GuidanceError(
                f"the {words(guide)} '{value}' is unknown to this model: choose one of "
                f"{few(values)}"
            )


def path_of(guidance: Guidance, maps: Mapping[str, ExpertMap]) -> Path:
    """What the guidance selects in both stacks."""
    return Path(*(maps[name].index(guidance) if name in maps else 0 for name in DENSE))


def asked(guidance: Guidance) -> tuple[str | None, ...]:
    """What a configuration can leave out; bandwidth and window are of each recording."""
    guides = (Guide.TASK, Guide.LANGUAGE, Guide.TARGET_LANGUAGE, Guide.DOMAIN)
    return tuple(guidance.value(guide) for guide in guides)


def values_of(guidance: Guidance) -> dict[Guide, str]:
    """What is said."""
    found = {guide: guidance.value(guide) for guide in Guide}
    return {guide: value for guide, value in found.items() if value is not None}


def agrees(guidance: Guidance, stated: Guidance) -> bool:
    """Whether the guidance is what is stated, as far as that says something."""
    return all(guidance.value(guide) == value for guide, value in values_of(stated).items())


def selecting_guides(maps: Mapping[str, ExpertMap]) -> tuple[Guide, ...]:
    """The guides that choose experts. The task does where the target language does: a transcript's
    is what is spoken."""
    found = {guide for experts in maps.values() for guide in experts.guides}
    found |= {Guide.TASK} if Guide.TARGET_LANGUAGE in found else set()
    return tuple(guide for guide in Guide if guide in found)


def values_on(
    path: Path, guide: Guide, stated: Guidance, known: Iterable[tuple[Guidance, Path]]
) -> frozenset[str]:
    """The values of a guide with which all that is stated besides takes this path."""
    others = replace(stated, **{guide.value: None})
    paths: dict[str | None, set[Path]] = {}
    for one, taken in known:
        if agrees(one, others):
            paths.setdefault(one.value(guide), set()).add(taken)
    return frozenset(value for value, taken in paths.items() if value and taken == {path})


def narrowed(
    kept: Mapping[Guide, frozenset[str]],
    path: Path,
    stated: Guidance,
    known: Sequence[tuple[Guidance, Path]],
) -> dict[Guide, frozenset[str]]:
    """The values of all guides that take this path together: where another would be taken, no more
    than what is stated is left of one guide after the other. Bandwidth and window go first: a model
    of one bandwidth hears all of its languages."""
    found = dict(kept)
    for guide in sorted(kept, key=lambda guide: guide not in (Guide.BANDWIDTH, Guide.WINDOW)):
        value = stated.value(guide)
        if value is not None and any(p != path for one, p in known if fits(one, found)):
            found[guide] = frozenset({value})
    return found


def fits(guidance: Guidance, kept: Mapping[Guide, frozenset[str]]) -> bool:
    """Whether all of its values were kept."""
    return all(guidance.value(guide) in kept[guide] for guide in kept)


def restricted(
    config: ModelConfig, left: Iterable[Guidance], kept: Mapping[Guide, frozenset[str]]
) -> ModelConfig:
    """The configuration with the tasks, languages and domains of what is left; where windows of
    the speech alone are, its features are not padded any more."""
    left = list(left)
    languages = {one.language for one in left}
    pairs = {(one.language, one.target_language) for one in left if one.task is Task.TRANSLATE}
    vocabulary, domains = config.vocabulary, {one.domain for one in left}
    speech = kept.get(Guide.WINDOW) == {Window.SPEECH}
    return replace(
        config,
        features=replace(config.features, padding="none") if speech else config.features,
        vocabulary=replace(
            vocabulary,
            languages=tuple(one for one in vocabulary.languages if one in languages),
            translations=tuple(pair for pair in vocabulary.translations if pair in pairs),
        ),
        tasks=tuple(task for task in config.tasks if any(one.task is task for one in left)),
        domains=tuple(name for name in config.domains if name in domains),
        # Guided by what is cut away, a routing could not be checked any more.
        encoder=replace(config.encoder, routing=DENSE["encoder"]),
        decoder=replace(config.decoder, routing=DENSE["decoder"]),
    )


def routed(config: ModelConfig) -> dict[str, EncoderConfig | DecoderConfig]:
    """Both stacks with the routing of a path: dense where guidance chose the expert, by one learned
    router where it chose a group, and as before where it chose nothing."""
    found: dict[str, EncoderConfig | DecoderConfig] = {}
    for name, dense in DENSE.items():
        stack = getattr(config, name)
        routing: RoutingConfig = stack.routing
        after = dense if routing.kind == "supervised" else routing
        if routing.kind == "hybrid":
            after = replace(routing, kind="omni", experts_for=(), guided_by=dense.guided_by)
        found[name] = replace(stack, routing=after)
    return found


def unsaid(
    config: ModelConfig,
    stated: Guidance,
    known: Iterable[tuple[Guidance, Path]],
    selecting: Iterable[Guide],
) -> GuidanceError:
    """What to say where more than one path is left: the first guide that tells them apart."""
    known = [(one, path) for one, path in known if agrees(one, stated)]
    for guide in selecting:
        values = list(dict.fromkeys(value for one, _ in known if (value := one.value(guide))))
        if stated.value(guide) is None and len(values) > 1:
            return GuidanceError(
                f"the {words(guide)} selects this model's experts and was not given: choose one "
                f"of {few(values)}"
            )
    raise AssertionError(f"{config.vocabulary}: paths differ in nothing")  # they are the guides'


def words(guide: Guide) -> str:
    """The guide's name."""
    return guide.value.replace("_", " ")


def few(values: Iterable[str]) -> str:
    """The values, or the first of many."""
    values = list(values)
    more = f" and {len(values) - MOST_NAMED} more" if len(values) > MOST_NAMED else ""
    return ", ".join(values[:MOST_NAMED]) + more
