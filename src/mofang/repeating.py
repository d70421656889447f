"""What answered a request then, opened again: a model, a generator, or an engine elsewhere.

Each reads what a customer shows in every way in which it may have been sent, and repeats an answer where that can be done.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.trade.elsewhere.passed import asked_of, said_in
from mofang.trade.elsewhere.remotes import Remote, remote_then
from mofang.trade.looked import Answered

Records = list[dict[str, Any]]
Reading = tuple[Records, Any]  # the records, and what else says how they were asked
PATHS = ("/chat/completions", "/completions", "/embeddings")


class Answerer(Protocol):
    """What answered then."""

    predictor: Any  # of a model whose answers can be corrected; else None

    def readings(self, data: bytes) -> Iterator[Reading]:
        """What a file may say."""
        ...

    def kept(self, records: Records) -> Reading:
        """Records that were kept, as the model reads them."""
        ...

    def repeat(self, records: Records, how: Any) -> tuple[Records | None, bool]:
        """The answers again (None: it is not asked), and whether chance had a part in them."""
        ...


def answerer(shop: Shop, found: Answered, ask: bool) -> Answerer:
    """What answered a request. ``ask``: an engine elsewhere is asked again, at its price."""
    remote = remote_then(shop, found.package)
    if remote is not None:
        return Elsewhere(shop, remote, ask)
    package = shop.artifact(shop.ledger.get(found.package))
    if any(part.name.startswith("decoder/") for part in package.parts):
        return Writer(package)
    return Model(package)


class Model:
    """A package that answers with labels, numbers, vectors."""

    def __init__(self, package: Any) -> None:
        from mofang.engine.predictor import Predictor

        self.predictor = Predictor(package)

    def readings(self, data: bytes) -> Iterator[Reading]:
        """The JSON that was sent, of the house, of OpenAI's embeddings or of the Open Inference Protocol, or the one text or
        image of a request."""
        from mofang.web.oip import Asked

        with suppress(MofangError):
            yield list(Asked(None).records(self.predictor, data)[0]), None
        for body in self._bodies(data):
            with suppress(MofangError):
                yield list(self.predictor.parse(body)[0]), None

    def _bodies(self, data: bytes) -> Iterator[Any]:
        inputs = self.predictor.signature["inputs"]
        body = _json(data)
        if body is not None:
            yield body
        if isinstance(body, dict) and "input" in body:
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            yield {"records": [{inputs[0]["name"]: one} for one in texts]}
        if len(inputs) == 1 and inputs[0]["role"] == "image":
            yield {inputs[0]["name"]: base64.b64encode(data).decode()}
        elif len(inputs) == 1:
            text = data.decode("utf-8-sig", "replace")
            yield from ({inputs[0]["name"]: one} for one in dict.fromkeys((text, text.rstrip("\r\n"), text.strip())))

    def kept(self, records: Records) -> Reading:
        """As they were sent."""
        return list(self.predictor.parse({"records": records})[0]), None

    def repeat(self, records: Records, how: Any) -> tuple[Records | None, bool]:
        """Ask it."""
        return self.predictor.predict(records), False


class Writer:
    """A package that writes. Greedy answers and those with a seed can be repeated, others were drawn."""

    predictor = None

    def __init__(self, package: Any) -> None:
        from mofang.engine.generation.opened import Generator

        self.generator = Generator(package)

    def readings(self, data: bytes) -> Iterator[Reading]:
        """A request of the OpenAI protocols, or of ``/v1/predict``."""
        from mofang.web.openai_asked import read_chat, read_completion

        body = _json(data)
        if not isinstance(body, dict):
            text = data.decode("utf-8-sig", "replace")
            for one in dict.fromkeys((text, text.rstrip("\r\n"), text.strip())):
                with suppress(MofangError):
                    yield list(self.generator.parse({"prompt": one})[0]), {}
            return
        with suppress(MofangError):
            if "messages" in body:
                asked = read_chat(data)
                yield [self.generator.conversation(asked.messages)], {**body, "sampling": asked.sampling}
            elif "model" in body:
                asked = read_completion(data)
                yield list(self.generator.parse({"prompt": asked.prompt})[0]), {**body, "sampling": asked.sampling}
        with suppress(MofangError):
            yield list(self.generator.parse(body)[0]), {}

    def kept(self, records: Records) -> Reading:
        """What was asked is kept, and how it was sampled is not."""
        return records, None

    def repeat(self, records: Records, how: Any) -> tuple[Records | None, bool]:
        """Write it again."""
        from mofang.engine.generation.sampling import Sampling

        sampling = (how or {}).get("sampling", Sampling())
        drawn = how is None or (sampling.temperature > 0 and "seed" not in how)
        texts = self.generator.write([self.generator.prompt(one) for one in records], sampling)
        return [{"text": one} for one in texts], drawn


class Elsewhere:
    """An engine elsewhere, under the registration that a bill names."""

    predictor = None

    def __init__(self, shop: Shop, remote: Remote, ask: bool) -> None:
        self.shop, self.remote, self.ask = shop, remote, ask

    def readings(self, data: bytes) -> Iterator[Reading]:
        """The JSON that was sent, to whichever of the protocols' addresses."""
        body = _json(data)
        for path in PATHS if isinstance(body, dict) else ():
            yield asked_of(path, body), None

    def kept(self, records: Records) -> Reading:
        """As it was sent."""
        return records, None

    def repeat(self, records: Records, how: Any) -> tuple[Records | None, bool]:
        """Ask the engine there again, where that was said; what it writes is drawn unless its temperature is 0."""
        asked = records[0]
        body = dict(asked["body"])
        drawn = asked["path"] != "/embeddings" and body.get("temperature", 1) != 0
        if not self.ask:
            return None, drawn
        for name in ("stream", "stream_options"):
            body.pop(name, None)
        if asked["path"] != "/embeddings" and not {"max_tokens", "max_completion_tokens"} & body.keys():
            body["max_tokens"] = self.remote.most_tokens
        return said_in(self._answer(asked["path"], {**body, "model": self.remote.model})), drawn

    def _answer(self, path: str, body: dict[str, Any]) -> bytes:
        import asyncio

        from mofang.data.remote.address import Allowed
        from mofang.data.remote.secret import secret_value
        from mofang.serve.batching import never
        from mofang.serve.upstream import Upstream

        secret = secret_value(self.shop, self.remote.secret)
        there = Upstream(self.remote.url, Allowed(frozenset(self.remote.private)), secret, self.remote.timeout_s)

        async def ask() -> tuple[int, bytes]:
            answer = await there.ask(path, json.dumps(body).encode(), never)
            try:
                return answer.status, await answer.read()
            finally:
                answer.close()
                there.close()

        status, data = asyncio.run(ask())
        if status != 200:
            raise MofangError("remote-failed", name=self.remote.name, status=status)
        return data


def _json(data: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(data)
    return None
