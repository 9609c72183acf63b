"""The command `turnout`: parse words, call one room, print. Rooms are imported inside the verbs,
so that help answers at once and the runtime never meets the workshop."""

from turnout.cli.command import main

__all__ = ["main"]
