"""Our sound is known again, and speech is not taken for it."""

from __future__ import annotations

import math
import random  # noqa: TID251 - seeded, to make cases

import pytest

from psapwatch.rtp import tone
from psapwatch.rtp.tone import FRAME_OCTETS, Encoding, sound_of, tag_of, tagged

TAG = "0123456789abcdef"
BOTH: tuple[Encoding, ...] = ("PCMU", "PCMA")
SILENCE = {"PCMU": b"\xff", "PCMA": b"\xd5"}


def coded(samples: list[float], encoding: Encoding) -> bytes:
    """Encode samples by looking for the nearest code word."""
    linear = tone._LINEAR[encoding]
    return bytes(min(range(256), key=lambda word: abs(linear[word] - s)) for s in samples)


@pytest.mark.parametrize("encoding", BOTH)
def test_a_payload_says_which_packet_it_is(encoding: Encoding) -> None:
    """Call and number are read back; its length is 20 ms."""
    payload = tagged(TAG, 99_999, encoding)
    assert len(payload) == FRAME_OCTETS
    assert tag_of(payload) == (TAG, 99_999)


@pytest.mark.parametrize("encoding", BOTH)
def test_a_payload_is_mostly_tone(encoding: Encoding) -> None:
    """Tag and all."""
    assert sound_of(tagged(TAG, 0, encoding), encoding) == "tone"


@pytest.mark.parametrize("encoding", BOTH)
def test_the_tone_survives_a_shift_and_another_level(encoding: Encoding) -> None:
    """A jitter buffer moves it by samples, a codec by a few dB."""
    for shift in range(0, 8, 3):
        for peak in (1_000, 30_000):
            samples = [
                peak * math.sin(math.tau * 1_000 * (n + shift) / 8_000) for n in range(FRAME_OCTETS)
            ]
            assert sound_of(coded(samples, encoding), encoding) == "tone"


@pytest.mark.parametrize("encoding", BOTH)
def test_silence_and_comfort_noise_are_quiet(encoding: Encoding) -> None:
    """Neither echo nor person."""
    chance = random.Random(1)
    assert sound_of(SILENCE[encoding] * FRAME_OCTETS, encoding) == "quiet"
    noise = coded([chance.gauss(0, 60) for _n in range(FRAME_OCTETS)], encoding)
    assert sound_of(noise, encoding) == "quiet"
    assert sound_of(b"", encoding) == "quiet"


@pytest.mark.parametrize("encoding", BOTH)
def test_speech_and_ringing_are_something_else(encoding: Encoding) -> None:
    """A voice (harmonics of 120 Hz), white noise, and a ring-back of 440 and 480 Hz."""
    chance = random.Random(2)
    at = [n / 8_000 for n in range(FRAME_OCTETS)]
    voice = [sum(3_000 / k * math.sin(math.tau * 120 * k * t) for k in range(1, 20)) for t in at]
    noise = [chance.gauss(0, 4_000) for _n in at]
    ringing = [4_000 * (math.sin(math.tau * 440 * t) + math.sin(math.tau * 480 * t)) for t in at]
    for samples in (voice, noise, ringing):
        assert sound_of(coded(samples, encoding), encoding) == "other"


def test_tags_of_others_are_no_tags() -> None:
    """Half a tag, a number of letters, nothing."""
    for payload in (b"", b"pw:0123456789abcdef:0000", b"pw:0123456789abcdef:0000x;", b"\xff" * 160):
        assert tag_of(payload) is None


@pytest.mark.parametrize(("encoding", "word", "value"), [
    ("PCMU", 0x80, 32_124), ("PCMU", 0x00, -32_124), ("PCMU", 0xFF, 0), ("PCMU", 0xEF, 132),
    ("PCMA", 0xAA, 32_256), ("PCMA", 0x2A, -32_256), ("PCMA", 0xD5, 8), ("PCMA", 0x55, -8),
])  # fmt: skip
def test_code_words_of_g711(encoding: Encoding, word: int, value: int) -> None:
    """Ends and middle of both laws."""
    assert tone._LINEAR[encoding][word] == value
