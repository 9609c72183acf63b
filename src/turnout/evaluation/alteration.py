"""Recordings as they are after a channel: what a set's configuration does to each clip, the same at
every call and for every model."""

from dataclasses import dataclass, replace

import soxr

from turnout.audio.features import SAMPLE_RATE
from turnout.audio.waveform import Waveform
from turnout.config.sets import SetChannel
from turnout.corpora.clips import Clip
from turnout.data.channel import Channel, Draws, open_channel
from turnout.data.variants import generator_of
from turnout.errors import AudioError
from turnout.guidance import Bandwidth


@dataclass(frozen=True)
class Alteration:
    """A channel, ready."""

    channel: Channel
    config: SetChannel

    @classmethod
    def of(cls, config: SetChannel) -> "Alteration":
        """Raises ConfigError and MissingExtra as `open_channel` does."""
        return cls(
            open_channel(config, None if config.sounds == "train" else config.sounds), config
        )

    def clip(self, clip: Clip) -> Clip:
        """What is known of a clip behind the channel."""
        return replace(clip, bandwidth=Bandwidth.NARROWBAND) if self.config.telephone else clip

    def samples(self, clip: Clip, source: object) -> Waveform | AudioError:
        """A clip's sound behind the channel, or the error in its place."""
        if isinstance(source, AudioError):
            return source
        if not isinstance(source, Waveform):
            return AudioError(clip.path, "is too long for a channel: cut it into utterances")
        samples = source.samples
        if self.config.speed != 1.0:
            samples = soxr.resample(samples, SAMPLE_RATE * self.config.speed, SAMPLE_RATE)
        draws = Draws(
            line=generator_of(f"line/{clip.voice}"),
            place=generator_of(f"place/{clip.id}"),
            moment=generator_of(f"moment/{clip.id}"),
        )
        heard = self.channel.version(samples, draws, telephone=self.config.telephone)
        return Waveform(heard, source.native_rate, source.warnings)
