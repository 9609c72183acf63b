"""A YAML file whose values know their line, so that errors can name it."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from turnout.config.preparation import MOST_SPOKEN
from turnout.config.yaml_text import YamlError, parse_yaml
from turnout.errors import ManifestError, MissingManifest, shown


@dataclass(frozen=True)
class YamlValue:
    """A value with its node in the file; every method raises ManifestError citing its line."""

    value: Any
    node: yaml.Node
    file: str
    name: str = ""

    def error(self, reason: str) -> ManifestError:
        """The error that cites this value."""
        return ManifestError(self.file, self.node.start_mark.line + 1, self.name or None, reason)

    def get(self, name: str) -> "YamlValue | None":
        """A field's value, or None where it is absent or null."""
        items = (item for key, item in self._fields() if key == name)
        return next((item for item in items if item.value is not None), None)

    def needed(self, name: str) -> "YamlValue":
        """As `get`, but it must be there."""
        found = self.get(name)
        if found is None:
            raise self.error(f"lacks '{name}'")
        return found

    def only(self, *names: str) -> None:
        """Refuse fields other than these, the nearest name offered."""
        for key, _ in self._fields():
            if key not in names:
                near = get_close_matches(str(key), names, 1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}"
                raise self.error(f"has an unknown field {shown(key)}: {hint}")

    def mapping(self, name: str) -> list[tuple[str, "YamlValue"]]:
        """The fields of a mapping that may be absent."""
        inner = self.get(name)
        return inner._fields() if inner else []

    def items(self, at_least: int = 0) -> list["YamlValue"]:
        """The items of a list."""
        if not isinstance(self.value, list) or not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"is {shown(self.value)}: a list was expected")
        if len(self.value) < at_least:
            raise self.error(f"has {len(self.value)} items: at least {at_least} were expected")
        return [
            YamlValue(value, node, self.file, f"{self.name}[{index}]")
            for index, (value, node) in enumerate(zip(self.value, self.node.value, strict=True))
        ]

    def string(self) -> str:
        """A string that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            # YAML reads an unquoted no, yes, on, off, null or 1 as something else
            hint = "" if isinstance(self.value, str | list | dict) else " (put it in quotes)"
            raise self.error(f"is {shown(self.value)}: words were expected{hint}")
        return self.value

    def whole(self, name: str) -> int | None:
        """A whole number, at least 1, or None where it is absent."""
        item = self.get(name)
        if item is None:
            return None
        if type(item.value) is not int or item.value < 1:
            raise item.error(f"is {shown(item.value)}: a whole number, at least 1, was expected")
        if item.value > MOST_SPOKEN:
            raise item.error(f"is {shown(item.value)}: at most {MOST_SPOKEN:,} was expected")
        return item.value

    def _fields(self) -> list[tuple[str, "YamlValue"]]:
        """Names as they are written (YAML would read a Norwegian `no:` as false), and values."""
        if not isinstance(self.value, dict) or not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"is {shown(self.value)}: named fields were expected")
        keys = [str(key.value) for key, _ in self.node.value]
        if len(self.value) != len(keys):
            raise self.error("names a field twice, or merges ('<<'): each field once was expected")
        nodes = (node for _, node in self.node.value)
        return [
            (key, YamlValue(value, node, self.file, f"{self.name}.{key}" if self.name else key))
            for key, value, node in zip(keys, self.value.values(), nodes, strict=True)
        ]


def read_yaml(path: Path) -> YamlValue:
    """A YAML file's value; raises ManifestError where it cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
        node, value = parse_yaml(text)
    except UnicodeDecodeError as error:
        raise ManifestError(str(path), None, None, "is not UTF-8 text") from error
    except OSError as error:
        kind = MissingManifest if isinstance(error, FileNotFoundError) else ManifestError
        raise kind(
            str(path), None, None, f"cannot be read ({error.strerror}): a YAML file was expected"
        ) from error
    except YamlError as error:
        raise ManifestError(str(path), error.line, None, error.reason) from error
    if node is None or not isinstance(value, dict):
        raise ManifestError(str(path), 1, None, "named fields were expected, such as 'sentences:'")
    return YamlValue(value, node, str(path))
