"""What can be told of a picture or a sound by itself: facts, kept in the statistics, and the reason that rules draw from
them; a changed rule needs no second decoding."""

from __future__ import annotations

from mofang.data.cleaning.media.pictures import PictureFacts, PictureRules, picture_facts, picture_reason
from mofang.data.cleaning.media.sounds import SoundFacts, SoundRules, sound_facts, sound_reason

__all__ = [
    "PictureFacts",
    "PictureRules",
    "SoundFacts",
    "SoundRules",
    "picture_facts",
    "picture_reason",
    "sound_facts",
    "sound_reason",
]
