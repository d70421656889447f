"""An engine elsewhere that does nothing: python bench/_double.py PORT. One fixed conversation answer to every POST, with a usage block.

It must cost next to nothing, because it shares the processors with the gateways that are measured in front of it.
"""

from __future__ import annotations

import asyncio
import json
import sys

SAID = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "double",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "房间很干净，服务也很好。"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 24, "completion_tokens": 12, "total_tokens": 36}}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(SAID), SAID)


class Double(asyncio.Protocol):
    """Waits for a whole request and answers it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.held = transport, b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (head := self.held.find(b"\r\n\r\n")) >= 0:
            lower = self.held[:head].lower()
            at = lower.find(b"content-length:")
            size = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.held) < head + 4 + size:
                return
            self.held = self.held[head + 4 + size :]
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Double, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1])))
