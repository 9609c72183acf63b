"""Good recordings of every container, made from the examples, that get damaged."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from tests.containers import AV_CONTAINERS, CONTAINERS, encode, encode_av, encode_sphere
from tests.ogg import with_checksums
from tests.reliability.examples import examples, speech

Floats = NDArray[np.float32]
Make = Callable[[Floats, int], bytes]

ENDINGS = {
    "WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff", "NIST": ".sph",
    "mp4": ".m4a", "webm": ".webm", "matroska": ".mkv", "W64": ".w64", "RF64": ".rf64",
    "CAF": ".caf", "AU": ".au", "adts": ".aac", "amr": ".amr", "mpegts": ".ts", "3gp": ".3gp",
    "flv": ".flv", "avi": ".avi", "vob": ".mpg", "asf": ".wma",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Form:
    """A container with what is in it."""

    name: str
    ending: str
    stereo: bool
    make: Make


def _libsndfile(container: str, subtype: str) -> Form:
    def make(samples: Floats, rate: int) -> bytes:
        data = encode(samples, rate, container, subtype)
        # libsndfile draws the stream's number, and the same seed must make the same files.
        return with_checksums(data, serial=b"seed") if container == "OGG" else data

    name = f"{container} {subtype}"
    return Form(name=name, ending=ENDINGS[container], stereo=True, make=make)


def _pyav(container: str, codec: str) -> Form:
    make = partial(encode_av, container=container, codec=codec)
    name = f"{container} {codec}"
    return Form(name=name, ending=ENDINGS[container], stereo=False, make=make)


OTHERS = (("W64", "PCM_16"), ("RF64", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"),
          ("AU", "ULAW"), ("AIFF", "IMA_ADPCM"), ("AIFF", "FLOAT"), ("WAV", "MS_ADPCM"),
          ("WAV", "GSM610"), ("W64", "GSM610"))  # fmt: skip
"""What libsndfile reads besides."""
AV_OTHERS = (("adts", "aac"), ("mpegts", "aac"), ("mpegts", "mp2"), ("3gp", "aac"), ("asf", "mp2"),
             ("flv", "aac"), ("avi", "pcm_s16le"), ("vob", "mp2"))  # fmt: skip
"""What PyAV reads besides."""
_WRITTEN = tuple(_libsndfile(*pair) for pair in CONTAINERS)
# Forms that are damaged in the same ways, and read by the same decoder.
FAMILIES: dict[str, tuple[Form, ...]] = {
    "pcm": (
        *(form for form in _WRITTEN if form.ending in (".wav", ".aiff", ".sph")),
        Form(name="NIST by hand", ending=".sph", stereo=False, make=encode_sphere),
    ),
    "other": tuple(_libsndfile(*pair) for pair in OTHERS),
    "flac": tuple(form for form in _WRITTEN if form.ending == ".flac"),
    "ogg and mp3": tuple(form for form in _WRITTEN if form.ending in (".ogg", ".mp3")),
}
CALLS = Form(
    name="AMR",
    ending=".amr",
    stereo=False,
    make=lambda samples, _: encode_av(samples[::2].copy(), 8000, "amr", "amr_nb"),
)
if find_spec("av"):
    FAMILIES["m4a and webm"] = tuple(_pyav(*pair) for pair in AV_CONTAINERS)
    FAMILIES["phones and broadcasts"] = (*(_pyav(*pair) for pair in AV_OTHERS), CALLS)


@cache
def seed(form: Form, number: int) -> bytes:
    """A good recording: of one of the examples, every third in stereo where that can be."""
    samples, rate = speech(number)
    if form.stereo and number % 3 == 0 and "GSM610" not in form.name:
        samples = np.stack([samples, -0.5 * samples], axis=1)
    return form.make(samples, rate)


def num_seeds() -> int:
    """Of each form."""
    return len(examples())
