"""Whole numbers are whole: the parser would round 1.9 to 2 without a word."""

from contextlib import suppress
from typing import Any, get_args

from cyclopts import App
from cyclopts.argument import ArgumentCollection

from turnout.errors import UsageError


def refuse_fractions(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Raise UsageError where an option that counts something is given a fraction."""
    for argument in arguments:
        if not counts(argument.hint):
            continue
        for token in argument.tokens:
            # What is no number at all is the parser's to refuse.
            with suppress(ValueError):
                if "." in token.value and not float(token.value).is_integer():
                    raise UsageError(f"{argument.name} is {token.value}: it must be a whole number")


def counts(hint: Any) -> bool:
    """Whether whole numbers are the only numbers of a type."""
    kinds = {kind for inner in get_args(hint) for kind in (inner, *get_args(inner))} or {hint}
    return int in kinds and float not in kinds
