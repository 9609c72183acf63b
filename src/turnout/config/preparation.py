"""How recordings and sentences become corpora (`turnout prepare`, `turnout synthesize`)."""

from dataclasses import dataclass
from typing import Literal

from turnout.config.bounds import require
from turnout.config.routing import check_domains
from turnout.config.transcription import AUTO, MAX_DURATION_SECONDS
from turnout.guidance import Bandwidth

ManifestKind = Literal[
    "auto", "nemo", "kaldi", "table", "huggingface", "common_voice", "lhotse",
    "fsdd", "arabic_commands", "librispeech",
]  # fmt: skip

MOST_SPOKEN = 1_000_000
"""Speakers of a grammar, and sentences of each."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How `turnout prepare` reads a corpus."""

    kind: ManifestKind = "auto"
    """What the source is; 'auto' tells by its name and content. 'table' is CSV or TSV."""
    language: str | None = None
    """The spoken language, where the source does not state one."""
    target_language: str | None = None
    """The language of translations, where the source does not state one."""
    bandwidth: Literal["auto", "narrowband", "wideband"] = AUTO
    """The bandwidth, where the source does not state one; 'auto' measures it, utterance by
    utterance, as a transcription does. A file below 11 kHz is narrowband in any case."""
    domain: str | None = None
    """Which kind of recording it is, by a model's name for that, where the source does not state
    one."""
    split: str | None = None
    """Shares such as 'train=0.8,dev=0.1,test=0.1': speakers (recordings, where no speaker is
    stated) are dealt out to these splits."""
    seed: int = 0
    """Of the speakers' draw."""
    skip_bad: bool = False
    """Leave out lines that cannot be used, and list them, instead of stopping at the first."""
    max_duration: float = MAX_DURATION_SECONDS
    """Longest recording taken, in seconds."""

    def __post_init__(self) -> None:
        require(self.max_duration > 0, "max_duration must be above 0 seconds")
        shares_of(self.split)  # a wrong one is told before any work
        if self.domain is not None:
            check_domains((self.domain,))

    @property
    def stated_bandwidth(self) -> Bandwidth | None:
        """None where it is to be measured."""
        return None if self.bandwidth == AUTO else Bandwidth(self.bandwidth)


def shares_of(text: str | None) -> dict[str, float]:
    """'train=0.8,dev=0.2' -> {'train': 0.8, 'dev': 0.2}, None -> {}; raises ConfigError."""
    if text is None:
        return {}
    wanted = f"split is '{text}': write names and shares that sum to 1, as 'train=0.9,dev=0.1'"
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = (word.strip() for word in part.partition("="))
        require(name.replace("-", "").replace("_", "").isalnum() and name not in shares, wanted)
        try:
            shares[name] = float(share)
        except ValueError:
            require(False, wanted)
        require(0 < shares[name] <= 1, wanted)
    require(abs(sum(shares.values()) - 1) < 1e-6, wanted)
    return shares


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """How `turnout synthesize` speaks a grammar; None leaves it to the grammar file."""

    seed: int = 0
    """Of the voices', pitches', speeds' and sentences' draw."""
    speakers: int | None = None
    """How many voices speak; each is one voice, variant and pitch of the synthesiser."""
    sentences_per_speaker: int | None = None
    """How many different sentences each of them speaks."""
    split: str | None = None
    """Shares such as 'train=0.9,dev=0.1', dealt out by speaker; one file of cuts by default."""

    def __post_init__(self) -> None:
        for name in ("speakers", "sentences_per_speaker"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} is {value}: at least 1 is needed")
            wanted = f"{name}: at most {MOST_SPOKEN:,} can be asked for"
            require(value is None or value <= MOST_SPOKEN, wanted)
        shares_of(self.split)  # a wrong one is told before any work
