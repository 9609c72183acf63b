from dataclasses import replace

import numpy as np
import torch

from tests.tiny_whisper import whisper_config, whisper_tokenizer
from tests.unit.data.words import small_model, small_tokenizer
from turnout.config import DecoderConfig, EncoderConfig, FeatureConfig, RoutingConfig
from turnout.data.batch import IGNORED, Collator, Example, Recorded, text_guidance
from turnout.guidance import Bandwidth, Guide, Task, Window

TOKENIZER = small_tokenizer()
BY_TASK = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,))


def example(frames: int, spoken: str, translated: str | None, bandwidth=Bandwidth.WIDEBAND):
    texts = {text_guidance(bandwidth, "es", None): spoken}
    if translated is not None:
        texts[text_guidance(bandwidth, "es", "en")] = translated
    return Example(
        id=f"u{frames}",
        log_mel=np.full((frames, 80), float(frames), np.float32),
        num_frames=frames,
        bandwidth=bandwidth,
        language="es",
        transcript=spoken,
        texts=texts,
    )


EXAMPLES = [
    example(30, "uno dos", "one two"),
    example(50, "tres", None, Bandwidth.NARROWBAND),
    example(20, "", ""),
]


def test_frames_are_padded_and_masked() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    assert batch.log_mel.shape == (3, 50, 80) and batch.log_mel.dtype == torch.float32
    assert batch.frame_mask.sum(1).tolist() == [30, 50, 20]
    assert float(batch.log_mel[0, :30].min()) == 30.0 and float(batch.log_mel[0, 30:].max()) == 0.0
    assert batch.bandwidth.tolist() == [1, 0, 1]
    assert batch.seconds == 1.0
    assert batch.utterance_ids == ("u30", "u50", "u20")


def test_every_text_has_its_row() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    assert batch.rows.tolist() == [0, 0, 1, 2, 2]
    assert batch.texts == ("uno dos", "one two", "tres", "", "")
    assert [guidance.task for guidance in batch.guidance[:2]] == [Task.TRANSCRIBE, Task.TRANSLATE]


def test_tokens_and_labels_are_shifted_by_one() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    pieces = TOKENIZER.encode("one two")
    count = int(batch.token_counts[1])
    assert batch.tokens[1, :count].tolist() == [
        TOKENIZER.start,
        TOKENIZER.language("es"),
        TOKENIZER.task(Task.TRANSLATE),
        TOKENIZER.language("en"),
        *pieces,
    ]
    assert batch.labels[1, :count].tolist() == [
        TOKENIZER.language("es"),
        IGNORED,
        IGNORED,
        *pieces,
        TOKENIZER.end,
    ]
    behind = torch.arange(batch.tokens.shape[1]) >= batch.token_counts[:, None]
    assert (batch.labels[behind] == IGNORED).all() and (batch.tokens[behind] == 0).all()


def test_silence_has_no_language_to_learn() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    assert batch.labels[3].tolist()[:4] == [IGNORED, IGNORED, IGNORED, TOKENIZER.end]
    assert batch.ctc_lengths.tolist()[2] == 0


def test_ctc_learns_what_is_spoken() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    length = int(batch.ctc_lengths[0])
    assert batch.ctc_targets[0, :length].tolist() == TOKENIZER.encode("uno dos")


def test_the_task_token_can_be_off() -> None:
    batch = Collator(small_model(task_token=False), TOKENIZER).batch(EXAMPLES)
    assert set(batch.tokens[:, 2].tolist()) == {TOKENIZER.task(None)}


def test_guides_select_experts() -> None:
    model = small_model(
        encoder=EncoderConfig(routing=RoutingConfig(kind="supervised")),
        decoder=DecoderConfig(routing=BY_TASK),
    )
    batch = Collator(model, TOKENIZER).batch(EXAMPLES)
    assert batch.encoder_guide.tolist() == [1, 0, 1]
    assert batch.decoder_guide.tolist() == [0, 1, 0, 0, 1]


def test_an_encoder_that_knows_the_task_runs_once_per_row() -> None:
    model = small_model(encoder=EncoderConfig(routing=BY_TASK))
    batch = Collator(model, TOKENIZER).batch(EXAMPLES)
    assert batch.rows.tolist() == [0, 1, 2, 3, 4]
    assert batch.encoder_guide.tolist() == [0, 1, 0, 0, 1]
    assert batch.log_mel.shape[0] == 5
    length = int(batch.ctc_lengths[1])
    assert batch.ctc_targets[1, :length].tolist() == TOKENIZER.encode("uno dos")


def test_ctc_alone_has_no_rows() -> None:
    batch = Collator(small_model(decoder=DecoderConfig(num_layers=0)), TOKENIZER).batch(EXAMPLES)
    assert batch.rows.shape == (0,) and batch.tokens.shape == (0, 0) and batch.texts == ()
    assert batch.log_mel.shape[0] == 3


def test_a_batch_moves_whole() -> None:
    batch = Collator(small_model(), TOKENIZER).batch(EXAMPLES)
    moved = batch.to("meta")
    assert moved.log_mel.device.type == moved.labels.device.type == "meta"
    assert moved.texts == batch.texts and moved.seconds == batch.seconds


def test_a_prompt_without_a_language_teaches_none() -> None:
    """Of Whisper's checkpoints for English alone: start, no time stamps."""
    ids = whisper_tokenizer()
    vocabulary = replace(ids.vocabulary, size=ids.size)
    english = replace(whisper_config(), task_token=False, vocabulary=vocabulary)
    text = {text_guidance(Bandwidth.WIDEBAND, "en", None): "the cat"}
    batch = Collator(english, ids).batch([replace(EXAMPLES[0], language="en", texts=text)])
    assert batch.labels[0].tolist() == [IGNORED, *ids.encode("the cat"), ids.end]


def test_a_teacher_hears_another_recording() -> None:
    assert Collator(small_model(), TOKENIZER).batch(EXAMPLES).clean is None
    clean = [
        replace(
            one,
            clean=Recorded(
                log_mel=np.ones((60 - n, 80), np.float32),
                bandwidth=list(Bandwidth)[n != 1],
                lasting=n != 2,
            ),
        )
        for n, one in enumerate(EXAMPLES)
    ]
    batch = Collator(small_model(), TOKENIZER).batch(clean)
    assert batch.clean is not None
    assert batch.clean.log_mel.shape == (3, 60, 80)
    assert batch.clean.frame_mask.sum(1).tolist() == [60, 59, 58]
    assert batch.clean.lasting.tolist() == [True, True, False]
    silent = batch.without_texts()
    assert len(silent.rows) == len(silent.tokens) == len(silent.labels) == 0
    assert silent.log_mel is batch.log_mel
    assert silent.clean is not None and len(silent.clean.decoder_guide) == 0
    assert silent.clean.log_mel is batch.clean.log_mel


def test_a_teacher_goes_the_way_of_the_recording() -> None:
    """By telephone and as long as the speech is what the student hears, not what was recorded."""
    by_both = RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH, Guide.WINDOW))
    model = small_model(
        features=FeatureConfig(padding="window"),
        encoder=EncoderConfig(routing=by_both),
        decoder=DecoderConfig(routing=by_both),
    )
    heard = text_guidance(Bandwidth.NARROWBAND, "es", None, window=Window.SPEECH)
    frames = np.ones((9, 80), np.float32)
    example = replace(
        EXAMPLES[0],
        bandwidth=Bandwidth.NARROWBAND,
        texts={heard: "uno"},
        clean=Recorded(log_mel=frames, bandwidth=Bandwidth.WIDEBAND),
    )
    batch = Collator(model, TOKENIZER).batch([example])
    assert batch.clean is not None
    experts = model.expert_map(by_both)
    own = experts.indices([heard])
    assert batch.encoder_guide.tolist() == batch.decoder_guide.tolist() == own
    recorded = experts.indices([text_guidance(Bandwidth.WIDEBAND, "es", None)])
    assert batch.clean.encoder_guide.tolist() == recorded != own
    assert batch.clean.decoder_guide.tolist() == recorded
    assert (batch.bandwidth.tolist(), batch.clean.bandwidth.tolist()) == ([0], [1])
