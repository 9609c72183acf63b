"""A YAML file of a configuration -> a mapping whose keys are known to exist.

Errors name the file, the key and the nearest name. Values are left to the command line's parser,
so that a file and an option are understood alike.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from turnout.config.plain import nearest
from turnout.errors import ConfigError, shown


def read_config(
    path: Path, kind: type, more: tuple[str, ...] = (), option: str = "--config"
) -> dict[str, Any]:
    """The mapping in `path`, which `option` named, whose keys are fields of the dataclass `kind`,
    or one of `more`.

    Raises ConfigError for a file that is missing or no YAML, and for an unknown key.
    """
    from turnout.config.yaml_text import YamlError, parse_yaml

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))[1]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{option} {path}: {reason}{_nearest_file(path)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {path}: is not UTF-8 text; a YAML file is needed") from error
    except YamlError as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise ConfigError(f"{option} {place}: {error.reason}") from error
    content = {} if content is None else content
    _check_keys(content, kind, f"{option} {path}", more=more)
    return content


def _check_keys(
    content: Any, kind: type, file: str, at: str = "", more: tuple[str, ...] = ()
) -> None:
    """Raise ConfigError for an unknown key, `at` this place of the file or inside it."""
    if not isinstance(content, Mapping):
        where = f"'{at}'" if at else "the file"
        raise ConfigError(
            f"{file}: {where} must hold 'key: value' pairs, not {type(content).__name__}"
        )
    hints = get_type_hints(kind)
    prefix = f"{at}." if at else ""
    for key, value in content.items():
        if key in more:
            continue
        # The parser takes both spellings, as those of an option.
        name = key.replace("-", "_") if isinstance(key, str) else shown(key)
        if name not in hints:
            raise ConfigError(f"{file}: unknown key {shown(prefix + name)}{nearest(name, hints)}")
        inner = _dataclass_in(hints[name])
        if inner is None or value is None:
            continue
        if not isinstance(value, list):
            _check_keys(value, inner, file, f"{prefix}{key}")
            continue
        for position, item in enumerate(value):
            _check_keys(item, inner, file, f"{prefix}{key}[{position}]")


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass that a type hint is or holds, as in `tuple[CorpusConfig, ...]`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next(filter(None, map(_dataclass_in, get_args(hint))), None)


def _nearest_file(path: Path) -> str:
    """A file beside it with a like name, offered; nothing where there is none."""
    if path.exists() or not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    close = get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f": did you mean '{path.with_name(close[0])}'?" if close else ""
