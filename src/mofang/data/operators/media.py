"""Noise in pictures and sounds: bytes in, bytes out, alike when a model is trained and when it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar

PIXELS_MOST = 50_000_000
DENOISE_SIZES = (3, 5, 7)
TAP_HALF = 16  # of the low-pass filter, in samples of the lower rate


class ImageDenoise:
    """Takes single wrong pixels out of a picture: the median of each pixel's neighbourhood (``size`` 3, 5 or 7)."""

    name: ClassVar[str] = "image-denoise"
    version: ClassVar[int] = 1

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """PNG bytes; bytes that are no picture stay as they are, for the encoder to refuse in words."""
        return [_denoised(value, int(state["size"])) if isinstance(value, bytes) else value for value in values]


def _denoised(data: bytes, size: int) -> bytes:
    from PIL import ImageFilter

    from mofang.data.pixels import UnusableImageError, decoded, open_header

    try:
        with open_header(data, PIXELS_MOST) as opened:
            image = decoded(opened)
    except UnusableImageError:
        return data
    plain = image.convert("L" if image.mode in ("1", "L") else "RGB")
    stream = BytesIO()
    plain.filter(ImageFilter.MedianFilter(size)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def samples_of(data: bytes) -> tuple[Any, int]:
    """The samples of sound bytes, float64 [frames, channels], and their rate; raises ``UnusableSoundError``."""
    from mofang.data.cleaning.media.sounds import UnusableSoundError, open_sound, soundfile_module

    with open_sound(data) as file:
        try:
            return file.read(dtype="float64", always_2d=True), int(file.samplerate)
        except soundfile_module().SoundFileError as error:
            raise UnusableSoundError("not-a-sound", str(error)[:200]) from error


def wav_bytes(samples: Any, rate: int) -> bytes:
    """Samples as 16-bit WAV."""
    from mofang.data.cleaning.media.sounds import soundfile_module

    stream = BytesIO()
    soundfile_module().write(stream, samples.clip(-1, 1), rate, format="WAV", subtype="PCM_16")
    return stream.getvalue()


class _Sound:
    """A sound read as float samples [frames, channels], changed, and written as 16-bit WAV."""

    def apply(self, values: Sequence[Any], state: Mapping[str, Any]) -> list[Any]:
        """WAV bytes; bytes that are no sound stay as they are."""
        return [self._changed(value, state) if isinstance(value, bytes) else value for value in values]

    def _changed(self, data: bytes, state: Mapping[str, Any]) -> bytes:
        from mofang.data.cleaning.media.sounds import UnusableSoundError

        try:
            samples, rate = samples_of(data)
        except UnusableSoundError:
            return data
        return wav_bytes(*self._samples(samples, rate, state))

    def _samples(self, samples: Any, rate: int, state: Mapping[str, Any]) -> tuple[Any, int]:
        raise NotImplementedError


class SoundTrim(_Sound):
    """Cuts silence off both ends of a sound: what is quieter than ``below_db`` of full scale."""

    name: ClassVar[str] = "sound-trim"
    version: ClassVar[int] = 1

    def _samples(self, samples: Any, rate: int, state: Mapping[str, Any]) -> tuple[Any, int]:
        import numpy as np

        if not len(samples):
            return samples, rate
        loud = np.nonzero(np.abs(samples).max(1) > 10 ** (float(state["below_db"]) / 20))[0]
        return (samples[loud[0]: loud[-1] + 1] if len(loud) else samples), rate


class SoundNormalise(_Sound):
    """Brings a sound to one loudness: its peak, or its root mean square, to ``to_db`` of full scale; takes a shift out."""

    name: ClassVar[str] = "sound-normalise"
    version: ClassVar[int] = 1

    def _samples(self, samples: Any, rate: int, state: Mapping[str, Any]) -> tuple[Any, int]:
        import numpy as np

        if not len(samples):
            return samples, rate
        samples = samples - samples.mean(0)
        peak = float(np.abs(samples).max())
        size = peak if state["by"] == "peak" else float(np.sqrt((samples**2).mean()))
        if size < 1e-6:
            return samples, rate
        gain = min(10 ** (float(state["to_db"]) / 20) / size, 0.999 / peak)  # never into clipping
        return samples * gain, rate


class SoundResample(_Sound):
    """Brings a sound to one channel and one rate, through a low-pass filter (windowed sinc)."""

    name: ClassVar[str] = "sound-resample"
    version: ClassVar[int] = 1

    def _samples(self, samples: Any, rate: int, state: Mapping[str, Any]) -> tuple[Any, int]:
        wanted = int(state["rate"])
        mono = samples.mean(1, keepdims=True)
        return (mono if wanted == rate or not len(mono) else resampled(mono, rate, wanted)), wanted


def resampled(samples: Any, rate: float, wanted: float) -> Any:
    """Samples [frames, channels] at another rate: each new one a windowed-sinc sum over the old ones around it."""
    import numpy as np

    count = max(1, round(len(samples) * wanted / rate))
    cut = min(1.0, wanted / rate)
    half = int(np.ceil(TAP_HALF / cut))
    padded = np.pad(samples, ((half, half + 1), (0, 0)))
    made = np.empty((count, samples.shape[1]))
    for first in range(0, count, 1 << 14):
        places = np.arange(first, min(count, first + (1 << 14))) * (rate / wanted)
        whole = np.floor(places).astype(np.int64)
        offsets = np.arange(-half + 1, half + 1)
        apart = offsets[None, :] - (places - whole)[:, None]
        weights = cut * np.sinc(cut * apart) * (0.5 + 0.5 * np.cos(np.pi * (apart / half).clip(-1, 1)))
        taken = padded[(whole[:, None] + offsets[None, :] + half).clip(0, len(padded) - 1)]
        made[first: first + len(places)] = np.einsum("ij,ijk->ik", weights, taken)
    return made
