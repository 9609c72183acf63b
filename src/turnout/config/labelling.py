"""Which labels are kept, and how often work is put away (`turnout label`)."""

from dataclasses import dataclass

from turnout.config.bounds import above_zero, at_least, require


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """What a label must be to be kept. With other values the same command chooses anew among the
    labels that are there, without hearing anything again."""

    min_confidence: float | None = -1.0
    """Least mean log-probability of a text, 0 or below; None keeps any."""
    max_compression_ratio: float | None = 2.4
    """Texts that zlib makes smaller by more than this repeat themselves, and are dropped; None
    keeps them."""
    languages: tuple[str, ...] = ()
    """Keep what is spoken in this language, such as en; may be given again. By default any. A cut
    that states its language is dropped in any case where another is found."""
    min_language_probability: float | None = None
    """Least probability of the language that was found, 0 to 1."""
    min_characters_per_second: float | None = None
    """Fewest characters of text for a second of sound."""
    max_characters_per_second: float | None = None
    """Most characters of text for a second of sound."""
    max_disagreement: float = 25.0
    """Highest word error rate in percent (character error rate, where a language has no spaces)
    between the texts of the model and of a second one, where there is one."""

    def __post_init__(self) -> None:
        least = self.min_confidence
        require(
            least is None or least <= 0,
            f"min_confidence is {least}: a mean log-probability is 0 or below",
        )
        probable = self.min_language_probability
        require(
            probable is None or 0 <= probable <= 1,
            f"min_language_probability is {probable}: it must lie between 0 and 1",
        )
        above_zero(self, "", "max_compression_ratio", "max_characters_per_second")
        at_least(0, self, "", "min_characters_per_second", "max_disagreement")
        fewest, most = self.min_characters_per_second, self.max_characters_per_second
        require(
            fewest is None or most is None or fewest <= most,
            f"min_characters_per_second is {fewest} and max_characters_per_second {most}: nothing "
            "can be kept",
        )
