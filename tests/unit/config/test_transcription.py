import numpy as np
import pytest

from turnout.config import TranscriptionOptions
from turnout.errors import ConfigError
from turnout.guidance import Bandwidth, Task


def test_what_is_left_out_is_found_out() -> None:
    options = TranscriptionOptions()
    assert (options.stated_language, options.stated_bandwidth) == (None, None)
    assert TranscriptionOptions(language=None, bandwidth=None).stated_bandwidth is None
    assert TranscriptionOptions(bandwidth="narrowband").stated_bandwidth is Bandwidth.NARROWBAND


@pytest.mark.parametrize(
    ("task", "tasks"),
    [
        ("transcribe", (Task.TRANSCRIBE,)),
        ("translate", (Task.TRANSLATE,)),
        ("both", (Task.TRANSCRIBE, Task.TRANSLATE)),
    ],
)
def test_the_transcript_comes_before_the_translation(task, tasks) -> None:
    assert TranscriptionOptions(task=task).tasks == tasks


def test_numbers_may_be_of_numpy_and_words_of_an_enumeration() -> None:
    options = TranscriptionOptions(
        beam_size=np.int64(2), max_duration=np.float32(5), bandwidth=Bandwidth.WIDEBAND
    )
    assert options == TranscriptionOptions(beam_size=2, max_duration=5.0, bandwidth="wideband")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("task", np.array(["both", "both"]), "'task' is array"),
        ("max_duration", 10**400, "a number below 1e.300 is needed"),
        ("channel", -1, "channel is -1: it must be at least 0"),
        ("batch_size", 0, "batch_size is 0: it must be at least 1"),
        ("beam_size", True, "'beam_size' is True: a whole number is needed"),
    ],
)
def test_an_option_that_cannot_be_is_named_where_it_is_made(name, value, message) -> None:
    with pytest.raises(ConfigError, match=message):
        TranscriptionOptions(**{name: value})
