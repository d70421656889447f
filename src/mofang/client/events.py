"""Reading a stream of words, piece by piece, whatever the network made of it."""

from __future__ import annotations

import json
from typing import Any

from mofang.client.faults import StreamBroken, refusal_of

EVENT_BYTES_MAX = 1 << 20


class Events:
    """Server-sent events of a chat. ``text`` is everything so far; ``over`` once the server said that it is complete."""

    def __init__(self) -> None:
        self.text = ""
        self.finish = ""
        self.read = self.written = 0
        self.over = False
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The words in some bytes, which may begin and end anywhere. Raises the refusal that a broken stream ends with."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > EVENT_BYTES_MAX:
            raise StreamBroken("an event without an end", self.text)
        words = []
        for line in lines:
            line = line.strip()
            if line == b"data: [DONE]":
                self.over = True
            elif line.startswith(b"data:"):
                word = self._word(line[5:].strip())
                if word:
                    self.text += word
                    words.append(word)
        return words

    def end(self) -> None:
        """The connection has ended: complain unless the answer was complete."""
        if not self.over:
            raise StreamBroken("the connection ended", self.text)

    def _word(self, line: bytes) -> str:
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise StreamBroken("an event that is no JSON", self.text) from error
        if "error" in told:
            raise refusal_of(500, {}, line)
        used = told.get("usage")
        if used:
            self.read, self.written = used.get("prompt_tokens", 0), used.get("completion_tokens", 0)
        if not told.get("choices"):
            return ""
        choice = told["choices"][0]
        self.finish = choice.get("finish_reason") or self.finish
        return str(choice.get("delta", {}).get("content") or "")
