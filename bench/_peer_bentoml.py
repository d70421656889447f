"""Peer: BentoML, a service that does nothing, batches of at most 32; no keys, no metering. Served by ``bentoml serve``."""

import bentoml


@bentoml.service(workers=1, traffic={"max_concurrency": 1000, "timeout": 30})
class Noop:
    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, text: list[str]) -> list[dict]:
        return [{"label": "pos", "scores": {"neg": 0.25, "pos": 0.75}} for _ in text]
