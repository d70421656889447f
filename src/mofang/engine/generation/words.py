"""Token ids become text piece by piece: no half character leaves, and nothing that may be the beginning of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
HALF = "\ufffd"  # what a decoder writes for bytes that are no whole character yet
WAIT_MAX = 8     # tokens after which bytes that make no character are let go as they are


class Words:
    """The text of one answer as it grows. What all pieces come to is what the ids decode to, up to a stop string."""

    def __init__(self, decode: Decode, stop: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._ids: list[int] = []
        self._begin = 0    # of the ids that are decoded together with new ones: what they look like depends on those before
        self._read = 0     # ids whose text was taken
        self._held = ""    # text that may be the beginning of a stop string
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop string was completed."""
        return self._stopped

    def add(self, token: int) -> str:
        """One more token: the text that may leave now. """
        self._ids.append(token)
        before = self._decode(self._ids[self._begin : self._read])
        whole = self._decode(self._ids[self._begin :])
        if whole.endswith(HALF) and len(self._ids) - self._read < WAIT_MAX:
            return ""
        self._begin, self._read = self._read, len(self._ids)
        return self._safe(whole[len(before) :])

    def end(self) -> str:
        """What is left at the end."""
        if self._stopped:
            return ""
        before = self._decode(self._ids[self._begin : self._read])
        text = self._safe(self._decode(self._ids[self._begin :])[len(before) :])
        rest, self._held = self._held, ""
        return text + rest

    def _safe(self, text: str) -> str:
        if not self._stop:
            return text
        text, self._held = self._held + text, ""
        places = [place for one in self._stop if (place := text.find(one)) >= 0]
        if places:
            self._stopped, self._held = True, ""
            return text[: min(places)]
        held = max((length for one in self._stop for length in range(1, min(len(one), len(text) + 1))
                    if text.endswith(one[:length])), default=0)
        self._held = text[len(text) - held :] if held else ""
        return text[: len(text) - held]
