"""Plain predictions without a task: from the parser to the desk in one call, and from the outcome to the socket in one write.

Most requests of a busy server are alike: ``POST /v1/predict/{model}`` with a small JSON body and a good key. For those the
general way, a scope, a cycle, a task and some coroutines, costs as much as all the rest (bench/serve.py). Whatever is not
plain, and every refusal but one, goes the general way (``predict.PredictApp``), from its beginning. The one: where a model
is asked more than it can answer, whoever asks most is refused as soon as the headers are here, with bytes made before.
"""

from __future__ import annotations

from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.core.identity import new_id
from mofang.core.language import Language, language_of
from mofang.serve.batching import Batcher
from mofang.serve.boundary import attempt
from mofang.trade.request.desk import Call, Desk, Reply, Who
from mofang.trade.request.model import Served
from mofang.trade.request.replay import Stored
from mofang.trade.request.straight import ready, refused_early, sell
from mofang.web.routes import DRAIN_BYTES_MAX, refusal

if TYPE_CHECKING:
    from mofang.web.predict import PredictApp
    from mofang.web.protocol import DeadlineProtocol

PREFIX = b"/v1/predict/"
# a header that asks for more than the plain way gives
MORE = frozenset((b"idempotency-key", b"mofang-arrays", b"mofang-deadline-ms", b"transfer-encoding", b"expect", b"upgrade"))
TYPES = frozenset((b"", b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"))
KNOWN_MAX = 1024
SAID_S = 1.0  # a refusal's bytes are made anew so often: they tell how many records wait
ANSWER = (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nmofang-request-id: %s\r\n"
          b"server-timing: total;dur=%.2f\r\n%s\r\n%s")
CLOSE = b"connection: close\r\n"
MARK = b"req_00000000000000000000000000"  # stands for the id of a request in bytes that were made before


class _Always:
    """Where uvicorn tells a request that something came for it; here nobody waits."""

    def set(self) -> None:
        """Nothing to wake."""


ALWAYS = _Always()


class Straight:
    """One plain request: what uvicorn asks of a request under way, and who waits for its outcome.

    The attributes down to ``response_complete`` have uvicorn's own names.
    """

    __slots__ = ("_began_s", "_headers", "_protocol", "_refusal", "_request_id", "_way", "body", "disconnected", "keep_alive",
                 "message_event", "model", "more_body", "response_complete")

    def __init__(self, way: Way, protocol: DeadlineProtocol, headers: dict[bytes, bytes], model: str, refusal: bytes) -> None:
        self.body = b""
        self.more_body, self.keep_alive = True, protocol.parser.should_keep_alive()
        self.disconnected = self.response_complete = False
        self.message_event = ALWAYS
        self.model = model
        self._way, self._protocol, self._headers, self._refusal = way, protocol, headers, refusal
        self._request_id = ""
        self._began_s = 0.0

    def run(self) -> bool:
        """The body is here. False: nothing was done, the request must go the general way."""
        if self._refusal:
            self._send(self._refusal)
            return True
        self._began_s = perf_counter()
        self._request_id = new_id("req")
        begun: list[bool] = []
        if attempt(partial(self._begin, begun)) is not None or not begun:
            self.response_complete = True
            return False
        return True

    def _begin(self, begun: list[bool]) -> None:
        desk = self._way.desk
        who: Who = desk.admit(self._way.token(self._headers))
        call = Call(self._request_id, self.model, self.body, None, False, self.gone)
        if sell(desk, who, call, self):
            begun.append(True)

    def gone(self) -> bool:
        """True once the caller has hung up."""
        return self.disconnected

    def done(self) -> bool:
        """Whether an outcome was told."""
        return self.response_complete

    def set_result(self, outcome: Stored | MofangError) -> None:
        """Answer; on the event loop."""
        app = self._way.app
        self._way.desk.pending.pop(self, None)
        took_s = perf_counter() - self._began_s
        if type(outcome) is Stored and outcome.status == 200 and not outcome.replayed:
            app.statistics.took(took_s, self.model, self._request_id)
            self._send(ANSWER % (len(outcome.body), self._request_id.encode(), took_s * 1000, b"" if self.keep_alive else CLOSE,
                                 outcome.body))
            return
        fault = outcome if isinstance(outcome, MofangError) else MofangError("server-fault", request=self._request_id)
        app.statistics.refuse(fault.code, fault.status)
        told = refusal(fault, self._request_id, self._way.language(self._headers))
        self._send(whole(told, self._request_id.encode(), self.keep_alive))

    def _send(self, data: bytes) -> None:
        self.response_complete = True
        if self.disconnected:
            return
        protocol = self._protocol
        protocol.transport.write(data)
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class Way:
    """The plain way into one application."""

    def __init__(self, app: PredictApp, desk: Desk) -> None:
        self.app = app
        self.desk = desk
        self._models: dict[bytes, str] = {}  # paths that were asked for before
        self._said: dict[tuple[str, Language], tuple[float, bytes]] = {}

    def take(self, protocol: DeadlineProtocol) -> Straight | None:
        """The request whose headers are here, if it is plain."""
        parser = protocol.parser
        if parser.get_method() != b"POST" or protocol.answering or protocol.flow.write_paused:
            return None
        model = self._model(protocol.url)
        if not model or parser.get_http_version() != "1.1":
            return None
        headers = dict(protocol.headers)
        length = headers.get(b"content-length", b"")
        if not (MORE.isdisjoint(headers) and headers.get(b"content-type", b"") in TYPES and length.isdigit()
                and len(length) < 6 and int(length) <= min(DRAIN_BYTES_MAX, self.app.body_bytes_max)):
            return None
        port = self.app.admin_port
        if port and protocol.server is not None and protocol.server[1] == port:
            return None
        served = ready(self.desk, model)
        if served is None or not isinstance(served.batcher, Batcher):
            return None
        early = self._early(served, headers, model) if served.batcher.crowded else b""
        return Straight(self, protocol, headers, model, early)

    def _model(self, url: bytes) -> str:
        """The model that a path names; empty where it is another path."""
        known = self._models.get(url)
        if known is None:
            name = url[len(PREFIX):] if url.startswith(PREFIX) else b""
            known = name.decode() if name.isascii() and not any(sign in name for sign in b"/?%#;") else ""
            if len(self._models) < KNOWN_MAX:
                self._models[url] = known
        return known

    def token(self, headers: dict[bytes, bytes]) -> str:
        """The key that came; raises ``key-missing``."""
        from mofang.web.predict import bearer

        return bearer(headers.get(b"authorization", b""))

    def language(self, headers: dict[bytes, bytes]) -> Language:
        """The language of refusals."""
        return language_of(headers.get(b"accept-language", b"").decode("latin-1"))

    def _early(self, served: Served, headers: dict[bytes, bytes], model: str) -> bytes:
        """The refusal of a caller who may not queue more now; empty where he may, or where something else is wrong."""
        found: list[str] = []
        if attempt(partial(self._look, served, headers, model, found)) is not None or not found[0]:
            return b""
        code, language = found[0], self.language(headers)
        made_s, data = self._said.get((code, language), (0.0, b""))
        now = monotonic()
        if now > made_s + SAID_S:
            error = MofangError(code, waiting=served.batcher.waiting)
            data = whole(refusal(error, MARK.decode(), language), MARK, True)
            self._said[code, language] = now, data
        self.app.statistics.refuse(code, 429 if data[9:12] == b"429" else 503)
        return data.replace(MARK, new_id("req").encode())

    def _look(self, served: Served, headers: dict[bytes, bytes], model: str, found: list[str]) -> None:
        found.append(refused_early(self.desk, served, self.desk.admit(self.token(headers)), model))


def whole(reply: Reply, request_id: bytes, keep_alive: bool) -> bytes:
    """A refusal as it is sent."""
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE

    lines = [STATUS_LINE[reply.status], b"content-type: application/json\r\ncontent-length: %d\r\nmofang-request-id: %s\r\n"
             % (len(reply.body), request_id), *(b"%s: %s\r\n" % one for one in reply.headers),
             b"" if keep_alive else CLOSE, b"\r\n", reply.body]
    return b"".join(lines)

