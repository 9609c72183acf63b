"""The configuration of a dense model -> that of a routed one with the same function."""

from dataclasses import replace

from turnout.config.bounds import require
from turnout.config.cutting import stacks_of
from turnout.config.model import ModelConfig
from turnout.config.routing import RoutingConfig
from turnout.guidance import Guide


def upcycled(
    config: ModelConfig,
    encoder: RoutingConfig | None = None,
    decoder: RoutingConfig | None = None,
    domains: tuple[str, ...] | None = None,
) -> ModelConfig:
    """The model with these routings in its dense stacks, and these domains; None leaves it.

    Raises ConfigError where nothing would be routed that was not before, or where experts that are
    there already would lose their guidance.
    """
    after = replace(
        config,
        domains=domains or config.domains,
        encoder=replace(config.encoder, routing=encoder or config.encoder.routing),
        decoder=replace(config.decoder, routing=decoder or config.decoder.routing),
    )
    before = stacks_of(config)
    new = [name for name, routing in stacks_of(after).items() if routing != before[name]]
    for name in new:
        require(
            before[name].kind == "dense",
            f"{name}.routing is {before[name].kind} already: only dense stacks are upcycled; cut a "
            "path out with 'turnout specialise', or leave its options out",
        )
    routed = [name for name in new if stacks_of(after)[name].kind != "dense"]
    require(
        len(routed) > 0,
        "nothing would be routed: give --encoder.routing.kind or --decoder.routing.kind "
        "(supervised, hybrid, omni or switch)",
    )
    for name in new:
        require(
            name in routed,
            f"{name}.routing has options and stays dense: give --{name}.routing.kind, or leave "
            "them out",
        )
    require(
        after.domains == config.domains or after.guided_by(Guide.DOMAIN),
        f"domains are {', '.join(after.domains)}, and nothing is guided by the domain: give "
        "--encoder.routing.guided-by domain or the decoder's, or leave them out",
    )
    require(
        after.domains == config.domains or not config.guided_by(Guide.DOMAIN),
        f"domains guide experts of this model already, and stay {', '.join(config.domains)}",
    )
    for name in routed:
        routing = stacks_of(after)[name]
        groups = after.expert_map(routing).num_groups
        require(
            routing.kind != "supervised" or groups > 1,
            f"{name}.routing has one expert alone, since there is but one "
            f"{' and '.join(routing.guided_by)}: name more of them (as --domains base calls), or "
            "another guide",
        )
    return after
