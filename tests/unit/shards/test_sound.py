"""Whole numbers of up to 24 bits come back to the bit, whatever their size; the rest is rounded."""

from io import BytesIO

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from turnout.shards.sound import Floats, decoded, flac, opus

FULL_16 = st.integers(-(2**15), 2**15 - 1)
FULL_24 = st.integers(-(2**23), 2**23 - 1)
LENGTHS = st.integers(1, 5000)


def back(samples: Floats) -> tuple[Floats, bool, int]:
    coded = flac(samples)
    found = decoded(coded.data, "sound", coded.scale, 10.0)
    return found, coded.exact, soundfile.info(BytesIO(coded.data)).subtype == "PCM_16"


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, LENGTHS, elements=FULL_16), st.integers(0, 19))
def test_16_bits_come_back_and_stay_16(numbers: np.ndarray, doubled: int) -> None:
    samples = (numbers / 2**15).astype(np.float32)
    found, exact, narrow = back(samples)
    np.testing.assert_array_equal(found, samples)
    assert exact and narrow
    loud = samples * np.float32(2**doubled)
    found, exact, _ = back(loud)
    np.testing.assert_array_equal(found, loud)
    assert exact


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, LENGTHS, elements=FULL_24))
def test_24_bits_come_back(numbers: np.ndarray) -> None:
    samples = (numbers / 2**23).astype(np.float32)
    found, exact, _ = back(samples)
    np.testing.assert_array_equal(found, samples)
    assert exact


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, LENGTHS, elements=st.floats(-1e6, 1e6, width=32)))
def test_others_are_rounded_to_24_bits_of_their_range(samples: Floats) -> None:
    found, exact, _ = back(samples)
    assert found.shape == samples.shape
    step = 2.0 ** np.ceil(np.log2(max(float(np.abs(samples).max()), 1.0)) + 1) * 2.0**-23
    np.testing.assert_allclose(found, samples, rtol=0, atol=step)
    assert exact == np.array_equal(found, samples)


def test_a_constant_at_the_beginning_stays() -> None:
    """It is the utterance's own: where a whole recording begins with one, it is no sound."""
    samples = np.full(100, 0.25, np.float32)
    np.testing.assert_array_equal(back(samples)[0], samples)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, st.integers(1, 3000), elements=st.floats(-2, 2, width=32)))
def test_opus_is_as_long_and_the_same_each_time(samples: Floats) -> None:
    coded = opus(samples)
    assert coded == opus(samples)
    # libsndfile checks each page's sum: a wrong one would lose its page.
    assert len(decoded(coded.data, "sound", coded.scale, 10.0)) == len(samples)


def test_opus_of_many_pages_is_whole() -> None:
    seconds = np.arange(16000 * 20) / 16000
    samples = (0.5 * np.sin(2 * np.pi * 300 * seconds)).astype(np.float32)
    coded = opus(samples)
    assert coded.data.count(b"OggS") > 3
    found = decoded(coded.data, "sound", coded.scale, 30.0)
    assert np.sqrt(np.mean((found - samples)[800:-800] ** 2)) < 0.02
