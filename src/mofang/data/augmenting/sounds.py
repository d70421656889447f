"""Variants of sounds: float samples [frames, channels] in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Samples = Any
WINDOW, HOP = 512, 128
SPEED, SEMITONES, MASKED = 0.2, 4.0, 0.3  # at strength 1
NOISE_DB = (30.0, 10.0)  # of signal over noise, at strength 0 and 1


def noise(samples: Samples, chance: Any, strength: float) -> Samples:
    """Hiss below the sound."""
    quiet, loud = NOISE_DB
    db = quiet - (quiet - loud) * strength * chance.random()
    size = float(np.sqrt((samples**2).mean())) * 10 ** (-db / 20)
    return (samples + size * chance.standard_normal(samples.shape)).clip(-1, 1)


def speed(samples: Samples, chance: Any, strength: float) -> Samples:
    """Faster or slower, and so higher or lower, as a tape would."""
    return _resampled(samples, 1 + SPEED * strength * chance.uniform(-1, 1))


def pitch(samples: Samples, chance: Any, strength: float) -> Samples:
    """Higher or lower at the same length: stretched by a phase vocoder (Flanagan and Golden 1966), then resampled."""
    factor = 2 ** (SEMITONES * strength * chance.uniform(-1, 1) / 12)
    if len(samples) < WINDOW:
        return samples
    stretched = np.stack([_stretched(one, factor) for one in samples.T], 1)
    found = _resampled(stretched, factor)
    return np.pad(found, ((0, max(0, len(samples) - len(found))), (0, 0)))[: len(samples)]


def time_mask(samples: Samples, chance: Any, strength: float) -> Samples:
    """A stretch of silence (Park et al. 2019)."""
    width = round(MASKED * strength * chance.random() * len(samples))
    first = int(chance.integers(0, len(samples) - width + 1))
    found = samples.copy()
    found[first: first + width] = 0
    return found


def frequency_mask(samples: Samples, chance: Any, strength: float) -> Samples:
    """A band of frequencies taken out (Park et al. 2019)."""
    if len(samples) < WINDOW:
        return samples
    bands = WINDOW // 2 + 1
    width = max(1, round(MASKED * strength * chance.random() * bands))
    first = int(chance.integers(0, bands - width + 1))
    found = []
    for one in samples.T:
        spectrum = stft(one)
        spectrum[:, first: first + width] = 0
        found.append(_istft(spectrum, len(one)))
    return np.stack(found, 1)


KINDS: dict[str, Callable[[Samples, Any, float], Samples]] = {
    "noise": noise, "speed": speed, "pitch": pitch, "time-mask": time_mask, "frequency-mask": frequency_mask}


def varied(samples: Samples, kinds: Sequence[str], chance: Any, strength: float) -> Samples:
    """All named kinds, one after the other."""
    for kind in kinds:
        samples = KINDS[kind](samples, chance, strength)
    return samples


def _resampled(samples: Samples, factor: float) -> Samples:
    """Played ``factor`` times as fast, without the echoes that plain interpolation makes."""
    from mofang.data.operators.media import resampled

    return resampled(samples, factor, 1.0)


def stft(samples: Samples) -> Any:
    """The spectrum of each stretch, complex [stretches, 257]."""
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    count = 1 + (len(padded) - WINDOW) // HOP
    places = np.arange(WINDOW)[None, :] + HOP * np.arange(count)[:, None]
    return np.fft.rfft(padded[places] * np.hanning(WINDOW + 1)[:-1], axis=1)


def _istft(spectrum: Any, length: int) -> Samples:
    window = np.hanning(WINDOW + 1)[:-1]
    pieces = np.fft.irfft(spectrum, WINDOW, axis=1) * window
    found, weight = np.zeros((2, HOP * (len(pieces) - 1) + WINDOW))
    for place, piece in enumerate(pieces):
        found[place * HOP: place * HOP + WINDOW] += piece
        weight[place * HOP: place * HOP + WINDOW] += window**2
    found = found / np.maximum(weight, 1e-8)
    found = found[WINDOW // 2:]
    return np.pad(found, (0, max(0, length - len(found))))[:length]


def _stretched(samples: Samples, factor: float) -> Samples:
    """``factor`` times as long at the same pitch."""
    spectrum = stft(samples)
    steps = np.arange(0, len(spectrum) - 1, 1 / factor)
    expected = 2 * np.pi * HOP * np.arange(spectrum.shape[1]) / WINDOW
    phase = np.angle(spectrum[0])
    made = np.empty((len(steps), spectrum.shape[1]), complex)
    for place, step in enumerate(steps):
        whole, part = int(step), step - int(step)
        size = (1 - part) * np.abs(spectrum[whole]) + part * np.abs(spectrum[whole + 1])
        made[place] = size * np.exp(1j * phase)
        turned = np.angle(spectrum[whole + 1]) - np.angle(spectrum[whole]) - expected
        phase = phase + expected + turned - 2 * np.pi * np.round(turned / (2 * np.pi))
    return _istft(made, round(len(samples) * factor))
