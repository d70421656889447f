"""Sounds: length, loudness, silence and clipping, measured block by block so that no length fills the memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from io import BytesIO
from typing import Any

import numpy as np

from mofang.core.errors import MofangError

SECONDS_MOST = 3600.0
CHANNELS_MOST = 8
RATE_MOST = 384_000
BLOCK_FRAMES = 1 << 16
FRAME_MS = 20  # silence is told in stretches of this length
SILENT = 10 ** (-50 / 20)  # of full scale: -50 dB
CLIPPED = 0.999  # of full scale
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF", "AU", "RF64", "W64", "CAF")
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64, "ULAW": 8, "ALAW": 8}


class UnusableSoundError(Exception):
    """Why bytes are no sound that can be used: ``not-a-sound``, ``sound-too-long``, ``sound-channels``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason} {detail}".strip())


@dataclass(frozen=True)
class SoundFacts:
    """What a look at a sound found, or the reason why it cannot be used.

    ``rms`` and ``peak`` are shares of full scale; ``silent`` is the share of stretches of 20 ms below -50 dB, ``clipped``
    the share of samples at full scale, ``offset`` the mean (0 for a sound that is not shifted), ``bits`` the bits of a
    sample (0 where a lossy format has none).
    """

    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    rms: float = 0.0
    peak: float = 0.0
    silent: float = 0.0
    clipped: float = 0.0
    offset: float = 0.0
    bits: int = 0
    reason: str = ""
    detail: str = ""

    @property
    def loudness_db(self) -> float:
        """The root mean square in decibels of full scale; -120 for silence."""
        return 20 * math.log10(max(self.rms, 1e-6))


@dataclass(frozen=True)
class SoundRules:
    """From when on a sound is not used; 0 (for shares: 1) switches a rule off."""

    seconds_least: float = 0.0
    seconds_most: float = 0.0
    silent_most: float = 1.0
    clipped_most: float = 1.0


def open_sound(data: bytes, *, seconds_most: float = SECONDS_MOST) -> Any:
    """A ``soundfile.SoundFile`` with nothing decoded but its header, or ``UnusableSoundError``; the caller closes it."""
    soundfile = soundfile_module()
    try:
        file = soundfile.SoundFile(BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        raise UnusableSoundError("not-a-sound", str(error)[:200]) from error
    reason = ""
    if file.format not in FORMATS:
        reason, detail = "not-a-sound", file.format
    elif not 0 < file.channels <= CHANNELS_MOST:
        reason, detail = "sound-channels", str(file.channels)
    elif not 0 < file.samplerate <= RATE_MOST:
        reason, detail = "not-a-sound", f"{file.samplerate} Hz"
    elif file.frames > seconds_most * file.samplerate:
        reason, detail = "sound-too-long", f"{file.frames / file.samplerate:.0f} s"
    if reason:
        file.close()
        raise UnusableSoundError(reason, detail)
    return file


def soundfile_module() -> Any:
    """The library that reads sounds, or ``extra-missing`` with what to install."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is not there
        raise MofangError("sound-library-missing", reason=str(error)[:200]) from error
    return soundfile


def sound_facts(data: bytes, *, seconds_most: float = SECONDS_MOST) -> SoundFacts:
    """Measure a sound, block by block; a file that says less than it holds is stopped at the limit all the same."""
    try:
        with open_sound(data, seconds_most=seconds_most) as file:
            return _measured(file, int(seconds_most * file.samplerate))
    except UnusableSoundError as error:
        return SoundFacts(reason=error.reason, detail=error.detail)


def _measured(file: Any, frames_most: int) -> SoundFacts:
    soundfile = soundfile_module()
    stretch = max(1, file.samplerate * FRAME_MS // 1000)
    block = max(1, BLOCK_FRAMES // stretch) * stretch
    frames = clipped = stretches = quiet = 0
    squares = total = peak = 0.0
    while True:
        try:
            samples = file.read(block, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise UnusableSoundError("not-a-sound", f"after {frames / file.samplerate:.2f} s: {error}"[:200]) from error
        if not len(samples):
            break
        frames += len(samples)
        if frames > frames_most:
            raise UnusableSoundError("sound-too-long", f"over {frames_most / file.samplerate:.0f} s")
        samples = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
        size = np.abs(samples)
        squares += float((samples.astype(np.float64) ** 2).sum())
        total += float(samples.sum(dtype=np.float64))
        peak = max(peak, float(size.max()))
        clipped += int((size >= CLIPPED).sum())
        power = (samples.astype(np.float64) ** 2).mean(1)
        pieces = np.add.reduceat(power, np.arange(0, len(power), stretch))
        lengths = np.diff(np.append(np.arange(0, len(power), stretch), len(power)))
        quiet += int((pieces / lengths < SILENT**2).sum())
        stretches += len(pieces)
    if not frames:
        raise UnusableSoundError("sound-empty")
    values = frames * file.channels
    return SoundFacts(
        seconds=round(frames / file.samplerate, 6),
        rate=file.samplerate,
        channels=file.channels,
        rms=round(math.sqrt(squares / values), 8),
        peak=round(peak, 8),
        silent=round(quiet / stretches, 6),
        clipped=round(clipped / values, 8),
        offset=round(total / values, 8) + 0.0,
        bits=BITS.get(file.subtype, 0),
    )


def sound_reason(facts: SoundFacts, rules: SoundRules) -> str:
    """Why a sound is not used, or nothing."""
    if facts.reason:
        return facts.reason
    if facts.seconds < rules.seconds_least:
        return "sound-too-short"
    if rules.seconds_most and facts.seconds > rules.seconds_most:
        return "sound-too-long"
    if facts.silent > rules.silent_most or not facts.peak:
        return "sound-silent"
    return "sound-clipped" if facts.clipped > rules.clipped_most else ""


NAMES = tuple(one.name for one in fields(SoundFacts))
