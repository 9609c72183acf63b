"""What numbers of a configuration may be; messages name the field and its value."""

from math import inf

from turnout.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def at_least(least: float, config: object, section: str, *names: str) -> None:
    """Raise ConfigError where one of these fields is below; None is no number and passes."""
    for name in names:
        value = getattr(config, name)
        require(
            value is None or least <= value < inf,
            f"{section}{name} is {value}: it must be at least {least:g}{_finite(value)}",
        )


def above_zero(config: object, section: str, *names: str) -> None:
    """Raise ConfigError where one of these fields is not above 0; None passes."""
    for name in names:
        value = getattr(config, name)
        require(
            value is None or 0 < value < inf,
            f"{section}{name} is {value}: it must be above 0{_finite(value)}",
        )


def _finite(value: float | None) -> str:
    """What infinity, which is large enough, is to be told."""
    return ", and finite" if value == inf else ""


def share(config: object, section: str, *names: str) -> None:
    """Raise ConfigError where one of these fields does not lie between 0 and 1."""
    for name in names:
        value = getattr(config, name)
        require(0 <= value <= 1, f"{section}{name} is {value}: it must lie between 0 and 1")


def within(least: float, most: float, config: object, section: str, *names: str) -> None:
    """Raise ConfigError where one of these fields is no (low, high) between the bounds."""
    for name in names:
        low, high = getattr(config, name)
        require(
            least <= low <= high <= most,
            f"{section}{name} is {(low, high)}: (low, high) with {least:g} <= low <= high <= "
            f"{most:g} is needed",
        )
