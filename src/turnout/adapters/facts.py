"""adapter.json: an adapter's name, its base, its experts and what they are for.

What is read comes from strangers; what is written is held against the same reading.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from turnout.adapters.stored import parsed
from turnout.config.plain import nearest
from turnout.config.routing import DOMAIN
from turnout.errors import ModelFolderError, UsageError, shown
from turnout.guidance import Guide

ADAPTER = "adapter.json"
ADAPTER_TYPE = "turnout-adapter"
FORMAT_VERSION = 1
MOST_JSON = 1 << 20
MOST_EXPERTS = 256
NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,62}\w)?", re.ASCII)
BASE = re.compile(rf"{NAME.pattern}|hf://[\w.@/-]{{1,300}}", re.ASCII)
"""What a base may be called: a stranger's adapter opens no path of this machine."""
DIGEST = re.compile(r"[0-9a-f]{64}")
KEYS = ("model_type", "format_version", "name", "base", "experts")


@dataclass(frozen=True, kw_only=True)
class ExpertEntry:
    """What adapter.json says of an expert."""

    name: str
    when: Mapping[Guide, str]
    """It is for what has all of these values."""
    rank: int | None
    """Of its low-rank differences; None where all of its tensors are whole."""


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """The content of adapter.json."""

    name: str
    base: str | None
    """What `--model` takes; None where the base has no name of its own."""
    digest: str
    """`weights_digest` of the base."""
    experts: tuple[ExpertEntry, ...]


def facts_of(data: bytes, place: str) -> AdapterFacts:
    """The content of adapter.json; raises ModelFolderError, which begins with `place`."""
    content = parsed(data, place)
    if content.get("model_type") != ADAPTER_TYPE:
        raise ModelFolderError(
            f"{place}: model_type is {shown(content.get('model_type'))}: '{ADAPTER_TYPE}' is read "
            "here"
        )
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelFolderError(
            f"{place}: format_version is {shown(version)}: this turnout reads {FORMAT_VERSION}; "
            "install the turnout that wrote the adapter, or a newer one"
        )
    check_keys(content, KEYS, place)
    base, experts = content["base"], content["experts"]
    if not isinstance(base, dict):
        raise ModelFolderError(f"{place}: base must be an object with name and digest")
    check_keys(base, ("name", "digest"), f"{place}: base")
    if not (isinstance(base["digest"], str) and DIGEST.fullmatch(base["digest"])):
        raise ModelFolderError(f"{place}: base.digest is no SHA-256: {shown(base['digest'])}")
    name = base["name"]
    if name is not None and not (isinstance(name, str) and BASE.fullmatch(name)):
        raise ModelFolderError(
            f"{place}: base.name is {shown(name)}: no path is taken, but a name, "
            "hf://owner/name[@revision] or null"
        )
    if not isinstance(experts, list) or not experts:
        raise ModelFolderError(f"{place}: experts must be a list of at least one")
    if len(experts) > MOST_EXPERTS:
        raise ModelFolderError(
            f"{place}: has {len(experts)} experts: {MOST_EXPERTS} are the most that are read"
        )
    entries = tuple(entry_of(one, place) for one in experts)
    names = [entry.name for entry in entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ModelFolderError(f"{place}: two experts are called '{twice}': name each differently")
    return AdapterFacts(
        name=name_in(content, place), base=base["name"], digest=base["digest"], experts=entries
    )


def check_keys(content: Mapping[str, Any], known: Iterable[str], place: str) -> None:
    """Raise ModelFolderError where other keys are there than these."""
    names = dict.fromkeys(known)
    for key in content:
        if key not in names:
            raise ModelFolderError(f"{place}: unknown key {shown(key)}{nearest(key, names)}")
    for key in names:
        if key not in content:
            raise ModelFolderError(f"{place}: key '{key}' is missing")


def name_in(content: Mapping[str, Any], place: str) -> str:
    """The name that an object says; raises ModelFolderError where it is none."""
    name = content["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ModelFolderError(
            f"{place}: name is {shown(name)}: up to 64 letters, digits, '.', '_' and '-' are needed"
        )
    return name


def entry_of(content: Any, place: str) -> ExpertEntry:
    """An expert of adapter.json; raises ModelFolderError."""
    if not isinstance(content, dict):
        raise ModelFolderError(f"{place}: an expert must be an object with name, when and rank")
    check_keys(content, ("name", "when", "rank"), f"{place}: an expert")
    name, when, rank = name_in(content, place), content["when"], content["rank"]
    place = f"{place}: expert '{name}'"
    if not isinstance(when, dict) or not when:
        raise ModelFolderError(f"{place}: when must say what it is for, such as language: es")
    for guide, value in when.items():
        if guide not in list(Guide):
            raise ModelFolderError(
                f"{place}: when names {shown(guide)}: choose of {', '.join(Guide)}"
            )
        pattern = DOMAIN if guide == Guide.DOMAIN else NAME
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ModelFolderError(f"{place}: the {guide} {shown(value)} is no name")
    if rank is not None and (type(rank) is not int or rank < 1):
        raise ModelFolderError(f"{place}: rank is {shown(rank)}: a number from 1, or null")
    return ExpertEntry(name=name, when={Guide(key): when[key] for key in when}, rank=rank)


def adapter_bytes(facts: AdapterFacts) -> bytes:
    """The content of adapter.json."""
    content = {
        "model_type": ADAPTER_TYPE,
        "format_version": FORMAT_VERSION,
        "name": facts.name,
        "base": {"name": facts.base, "digest": facts.digest},
        "experts": [
            {
                "name": entry.name,
                "when": {guide.value: value for guide, value in entry.when.items()},
                "rank": entry.rank,
            }
            for entry in facts.experts
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def check_readable(facts: AdapterFacts) -> None:
    """Raise UsageError for what could be written and not be read again."""
    data = adapter_bytes(facts)
    try:
        facts_of(data, f"adapter '{facts.name}'")
    except ModelFolderError as error:
        raise UsageError(str(error)) from error
    if len(data) > MOST_JSON:
        raise UsageError(f"adapter '{facts.name}': its {ADAPTER} would have {len(data)} bytes")
