"""Configuration dataclasses <-> plain values for JSON, strictly: every key and type is checked."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from turnout.errors import ConfigError, shown

T = TypeVar("T")
LARGEST = 1e300
"""A whole number that is to be a fractional one must be below this."""
KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a word"),
}
"""An annotation -> the types it takes, and those in words."""


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts, tuples lists, enumerations their words; the rest stays."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value


def from_plain(kind: type[T], plain: Any, where: str = "") -> T:
    """The dataclass `kind` that `to_plain` wrote; a key that is missing keeps its default.

    Raises ConfigError, naming the key, and the nearest known one where it is unknown.
    """
    if not isinstance(plain, Mapping):
        raise ConfigError(
            f"{where or kind.__name__} is {shown(plain)}: an object with keys is needed"
        )
    hints = _hints(kind)
    for key in plain:
        if key not in hints:
            raise ConfigError(f"unknown key '{_join(where, key)}'{nearest(str(key), hints)}")
    values = {key: read_value(hints[key], value, _join(where, key)) for key, value in plain.items()}
    return kind(**values)


def check_types(config: Any) -> None:
    """Raise ConfigError where a field of this dataclass holds what its annotation does not say."""
    for name, hint in _hints(type(config)).items():
        read_value(hint, getattr(config, name), name)


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """The end of a message: the known name that is most like `name`, or all of them."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    if close:
        return f": did you mean '{close[0]}'?"
    return f": the keys here are {', '.join(known)}"


# Resolving annotations takes longer than reading a configuration.
@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(cast(Any, kind))}


def read_value(hint: Any, value: Any, where: str) -> Any:
    """The value as its type hint wants it; raises ConfigError, naming it by `where`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        # A field is one type, or that or None; other unions would need guessing.
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return read_value(inner, value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is Literal:
        fits = isinstance(value, str) and value in arguments
        _check(fits, where, value, f"one of {', '.join(arguments)}")
        return value
    if is_dataclass(hint):
        return from_plain(cast(type, hint), value, where)
    return _scalar(hint, value, where)


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _check(isinstance(value, list), where, value, "a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds = (arguments[0],) * len(value)
    else:
        _check(len(value) == len(arguments), where, value, f"a list of {len(arguments)}")
        kinds = arguments
    return tuple(
        read_value(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _scalar(kind: type, value: Any, where: str) -> Any:
    if issubclass(kind, StrEnum):
        _check(value in list(kind), where, value, f"one of {', '.join(kind)}")
        return kind(value)
    numbers, words = KINDS.get(kind, (kind, f"a value of type {kind.__name__}"))
    # True is a whole number to Python, and numpy's numbers are no int or float.
    fits = isinstance(value, numbers) and (kind is bool or not isinstance(value, bool))
    _check(fits, where, value, words)
    if kind is float and isinstance(value, Integral):
        _check(abs(int(value)) < LARGEST, where, value, f"a number below {LARGEST:g}")
        return float(value)
    return value


def _check(condition: bool, where: str, value: Any, accepted: str) -> None:
    if not condition:
        raise ConfigError(f"'{where}' is {shown(value)}: {accepted} is needed")


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
