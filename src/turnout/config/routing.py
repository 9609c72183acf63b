"""How frames and tokens find their experts, and what may guide them there."""

import re
from dataclasses import dataclass
from math import gcd
from typing import Literal

from turnout.config.bounds import require
from turnout.guidance import ANY, ExpertMap, Guide, fits

DOMAIN = re.compile(r"[^\W\d_][\w.-]{0,60}")
"""The name of a domain: it becomes part of an expert's."""


@dataclass(frozen=True, kw_only=True)
class RoutingConfig:
    """How frames find their expert in the feed-forwards of one stack of layers."""

    kind: Literal["dense", "switch", "omni", "supervised", "hybrid"] = "dense"
    """'dense': one feed-forward. 'switch': a learned router per layer. 'omni': one learned router
    shared by layers. 'supervised': guidance chooses. 'hybrid': guidance chooses a group of
    experts, a learned shared router one of the group."""
    num_experts: int = 4
    """Experts of a learned router; under 'hybrid' those of each group; unused by the others."""
    guided_by: tuple[Guide, ...] = (Guide.BANDWIDTH,)
    """What guides 'supervised' and 'hybrid': one or two of bandwidth, task, language,
    target_language, domain, window; more with experts_for. The decoder's own default is the
    task."""
    experts_for: tuple[str, ...] = ()
    """'supervised' and 'hybrid': those that have an expert (or group) of their own, such as es, or
    narrowband+translate, a value of each guide in their order, * being any. The others share one,
    the base. By default everybody has their own."""
    layers: tuple[int, ...] | None = None
    """Which layers are routed, from 0; all by default. The others stay dense."""
    share_layers: int | None = None
    """'omni' and 'hybrid': one router for this many consecutive routed layers; all by default
    (Omni-router); 1 gives each layer its own."""
    router_bias: bool = True
    """Whether the learned router has a bias."""
    jitter: float = 0.01
    """Standard deviation of the noise added to router logits in training."""
    gate: Literal["probability", "straight_through"] = "probability"
    """'probability' multiplies by p (Switch); 'straight_through' by 1 with p's gradient, so that
    copies of a dense feed-forward keep its function."""

    def __post_init__(self) -> None:
        require(self.num_experts >= 1, f"num_experts is {self.num_experts}: at least 1 is needed")
        require(self.jitter >= 0, "jitter must not be negative")
        require(
            self.share_layers is None or self.share_layers >= 1,
            f"share_layers is {self.share_layers}: at least 1, or leave it out for all layers",
        )
        if self.guided:
            count = len(self.guided_by)
            require(
                # Every combination of more guides would have its own expert.
                1 <= count <= (len(Guide) if self.experts_for else 2)
                and len(set(self.guided_by)) == count,
                f"guided_by is {[str(g) for g in self.guided_by]}: name one or two different ones, "
                "or more of them with experts_for",
            )
            check_experts_for(self)

    @property
    def guided(self) -> bool:
        """Whether guidance takes part in the choice."""
        return self.kind in ("supervised", "hybrid")

    @property
    def learned(self) -> bool:
        """Whether a trained router takes part in the choice."""
        return self.kind in ("switch", "omni", "hybrid")

    def routes(self, layer: int) -> bool:
        """Whether this layer's feed-forwards are routed."""
        return self.kind != "dense" and (self.layers is None or layer in self.layers)


def expert_places(experts: int, ranks: int) -> int:
    """Shares into which the experts of a layer are dealt, each of as many of them and on as many
    ranks: the most that divide both."""
    return gcd(experts, ranks)


def check_domains(domains: tuple[str, ...]) -> None:
    """Raise ConfigError for names that are none, or that stand there twice."""
    require(
        len(domains) > 0 and len(set(domains)) == len(domains),
        f"domains are {', '.join(domains) or 'none'}: name at least one, none twice",
    )
    for name in domains:
        require(
            DOMAIN.fullmatch(name) is not None,
            f"domains name {name!r:.60}: a word is needed that begins with a letter and has "
            "letters, digits, '_', '-' and '.' alone",
        )


def check_experts_for(routing: RoutingConfig) -> None:
    """Raise ConfigError where an expert has not as many values as there are guides, or where it
    would never be taken."""
    guides = ", ".join(routing.guided_by)
    for name in routing.experts_for:
        require(
            len(name.split("+")) == len(routing.guided_by),
            f"experts_for names '{name}': {len(routing.guided_by)} values joined by + are needed, "
            f"one of each of {guides}",
        )
    require(
        len(set(routing.experts_for)) == len(routing.experts_for),
        f"experts_for is {', '.join(routing.experts_for)}: name none twice",
    )
    everybody = "+".join((ANY,) * len(routing.guided_by))
    require(
        everybody not in routing.experts_for,
        f"experts_for names '{everybody}', which is everybody: nothing would be left to the base",
    )
    taken: list[list[str]] = []
    for name in routing.experts_for:
        before = next((own for own in taken if fits(own, name.split("+"))), None)
        require(
            before is None,
            f"experts_for names '{name}' behind '{'+'.join(before or ())}', which takes all of it: "
            "name it before that",
        )
        taken.append(name.split("+"))


def check_values(place: str, experts: ExpertMap) -> None:
    """Raise ConfigError where an expert's value is none of its guide's."""
    for own in experts.own:
        for guide, value, values in zip(experts.guides, own, experts.choices, strict=True):
            require(
                value == ANY or value in values,
                f"{place} names '{value}', which is no {guide.replace('_', ' ')} of this model: "
                f"choose of {', '.join(values)}, or {ANY}",
            )


def routing_words(routing: RoutingConfig) -> str:
    """The routing of a stack in a few words."""
    guides = " and ".join(guide.replace("_", " ") for guide in routing.guided_by)
    own = f" ({', '.join(routing.experts_for)}; one for all others)" if routing.experts_for else ""
    match routing.kind:
        case "dense":
            return "dense"
        case "supervised":
            return f"experts chosen by {guides}{own}"
        case "hybrid":
            each = f"{routing.num_experts} experts for each {guides}{own}"
            return f"{each}, chosen by a learned router"
        case _:
            return f"{routing.kind} routing over {routing.num_experts} experts"
