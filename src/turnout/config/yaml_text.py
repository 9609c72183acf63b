"""YAML as turnout reads it: plain values only, and no anchors.

A few lines of aliases (`*a`) stand for more values than memory holds, and `<<: [*a, *a]` takes
twice as long with each line; no file that turnout reads needs them.
"""

from typing import Any

import yaml

NO_ANCHORS = "anchors (&name) and aliases (*name) are not accepted: write the values out"


class YamlError(ValueError):
    """A text that cannot be taken; `line` is from 1, and None where it is not known."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class PlainLoader(yaml.SafeLoader):
    """Makes plain values only; anchors and aliases are refused where they stand."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As the safe loader does, anchors excepted."""
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise YamlError(event.start_mark.line + 1, NO_ANCHORS)
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The document's node, which knows its lines, and its value; raises YamlError."""
    try:
        # Twice, since making the value changes the nodes that it is made of.
        return yaml.compose(text, PlainLoader), yaml.load(text, PlainLoader)
    except YamlError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise YamlError(line, f"is not YAML: {error.problem}") from error
    # What a tag or a number that is none ends in, such as !!bool x, !!timestamp x and the 99th of
    # a month; ValueError also for numbers of thousands of digits.
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise YamlError(None, "is not YAML") from error
    except RecursionError as error:
        raise YamlError(None, "is not YAML that can be read: it is nested too deeply") from error
