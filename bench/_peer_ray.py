"""Peer: Ray Serve, one replica that does nothing, batches of at most 32; no keys, no metering. PORT."""

import sys
import time
from typing import Any

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.5})
class Noop:
    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
    async def answer(self, texts: list[str]) -> list[dict[str, Any]]:
        return [{"label": "pos", "scores": {"neg": 0.25, "pos": 0.75}} for _ in texts]

    async def __call__(self, request: Request) -> dict[str, Any]:
        return await self.answer((await request.json())["text"])


if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])}, logging_config={"log_level": "ERROR"})
    serve.run(Noop.bind(), route_prefix="/predict")
    while True:
        time.sleep(60)
