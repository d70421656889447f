"""Facts of pictures and sounds: measured right, bounded, and broken bytes end in a named reason."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mofang.data.cleaning.media import (
    PictureRules,
    SoundRules,
    picture_facts,
    picture_reason,
    sound_facts,
    sound_reason,
)

RATE = 8000


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def wav(samples: Any, rate: int = RATE, **kind: str) -> bytes:
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, **({"format": "WAV", "subtype": "PCM_16"} | kind))
    return stream.getvalue()


def tone(seconds: float = 1.0, loud: float = 0.5) -> Any:
    return loud * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)


def test_a_blurred_picture_is_told_from_a_sharp_one_and_a_flat_one_from_both() -> None:
    sharp = Image.effect_noise((900, 700), 60)
    blurred = sharp.filter(ImageFilter.GaussianBlur(6))
    facts = [picture_facts(png(one, "JPEG")) for one in (sharp, blurred, Image.new("L", (60, 40), 200))]
    assert facts[0].blur > 20 * facts[1].blur > facts[2].blur == 0.0
    assert (facts[0].width, facts[0].height, facts[0].mode) == (900, 700, "L")
    assert facts[2].contrast == facts[2].entropy == 0.0 and facts[2].brightness == 200
    rules = PictureRules(blur_least=10, contrast_least=3)
    assert [picture_reason(one, rules) for one in facts] == ["", "image-blurred", "image-blurred"]
    assert picture_reason(facts[2], PictureRules(contrast_least=3)) == "image-flat"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_measured(mode: str) -> None:
    image = Image.new(mode, (24, 12)) if mode in ("I;16",) else Image.linear_gradient("L").resize((24, 12)).convert(mode)
    found = picture_facts(png(image, "TIFF"))
    assert found.reason == "" and (found.width, found.height) == (24, 12)


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    import zlib

    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    assert picture_facts(bomb + b"\x00\x00\x00\x00IDAT").reason in ("image-too-large", "not-an-image")
    assert picture_facts(png(Image.new("L", (100, 100))), pixels_most=9_999).reason == "image-too-large"


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_facts(data: bytes) -> None:
    assert picture_facts(data).reason and sound_facts(data).reason == "not-a-sound"


def test_a_sound_is_measured() -> None:
    found = sound_facts(wav(tone()))
    assert (found.seconds, found.rate, found.channels, found.bits) == (1.0, RATE, 1, 16)
    assert found.rms == pytest.approx(0.5 / 2**0.5, abs=1e-3) and found.peak == pytest.approx(0.5, abs=1e-3)
    assert found.silent == found.clipped == 0 and abs(found.offset) < 1e-4
    assert found.loudness_db == pytest.approx(-9.03, abs=0.05)


def test_silence_clipping_and_a_shift_are_seen() -> None:
    half = np.concatenate([np.zeros(RATE), tone()])
    assert sound_facts(wav(half)).silent == pytest.approx(0.5, abs=0.02)
    loud = sound_facts(wav(np.clip(3 * tone(), -1, 1)))
    assert loud.clipped > 0.2 and sound_reason(loud, SoundRules(clipped_most=0.01)) == "sound-clipped"
    assert sound_facts(wav(tone() / 2 + 0.25)).offset == pytest.approx(0.25, abs=1e-3)
    assert sound_reason(sound_facts(wav(np.zeros(RATE))), SoundRules()) == "sound-silent"
    assert sound_reason(sound_facts(wav(tone(0.1))), SoundRules(seconds_least=0.5)) == "sound-too-short"


@pytest.mark.parametrize("kind", [{"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "AIFF"}])
def test_other_formats_and_two_channels(kind: dict[str, str]) -> None:
    stereo = np.stack([tone(), -tone()], 1)
    found = sound_facts(wav(stereo, **({"subtype": "PCM_16"} | kind)))
    assert found.reason == "" and found.channels == 2 and found.seconds == pytest.approx(1.0, abs=0.02)


def test_too_long_empty_and_cut_sounds_have_their_reason() -> None:
    assert sound_facts(wav(tone(3)), seconds_most=2).reason == "sound-too-long"
    assert sound_facts(wav(np.zeros(0))).reason == "sound-empty"
    flac = wav(np.random.default_rng(0).normal(0, 0.1, 4 * RATE), format="FLAC")
    cut = sound_facts(flac[: len(flac) // 2])
    assert cut.reason == "not-a-sound" or cut.seconds < 4
    assert sound_facts(b"").reason == "not-a-sound"
    assert sound_facts(wav(np.zeros((100, 9)))).reason == "sound-channels"


def test_the_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from mofang.data.cleaning.media import sounds

    data = wav(np.concatenate([np.zeros(5000), tone(2.3), np.zeros(777)]))
    whole = sound_facts(data)
    monkeypatch.setattr(sounds, "BLOCK_FRAMES", 700)
    assert sound_facts(data) == whole
