"""Seventeen billing faults that users of other systems reported, each a named test: those that concern requests.

The sources stand in the research on serving, section 6; the numbers are its own. Those that concern money (7: a wrong price
corrupts a sum, 11: a top-up counts twice, 12 and 13: several invoices for one period, 15: a payment of unknown outcome, 16:
another system's memory ends sooner than ours) stand with the books: test_books.py, test_invoices.py, test_price_plans.py.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from bench._noop_server import ANSWER, Noop, stock

from mofang.client import Busy, Client, ClientError, Conflict, Retry, ServerFault
from mofang.core.identity import now_us
from mofang.core.shop import Shop
from mofang.data.remote.registry import set_secret
from mofang.data.remote.secret import secret_value
from mofang.trade.accounts.customers import customer_limit, customer_new
from mofang.trade.accounts.keys import key_new
from mofang.trade.billing.balance import balance_of
from mofang.trade.billing.reconcile import reconcile
from mofang.trade.elsewhere.gateway import Gateway
from mofang.trade.elsewhere.remotes import remote_add
from mofang.trade.pricing.prices import price_set
from mofang.trade.request.commit import Plan
from mofang.trade.request.meter import RETRY_S
from mofang.web.access import AccessLog
from tests.stories.terminal import eventually
from tests.web.double import Double
from tests.web.serving import Fixed, InThread, Serving

BODY = {"text": "房间很好"}
gate = threading.Event()
ONCE = Retry(deadline_s=20, first_s=1e9)  # the first pause is longer than the deadline


def held(records: Any) -> list[dict[str, Any]]:
    gate.wait(20)
    return [ANSWER for _ in records]


@pytest.fixture(scope="module")
def double() -> Iterator[tuple[Double, int]]:
    app, running = Double(), InThread()
    running.begin(app, lifespan="off")
    yield app, running.port
    running.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, double: tuple[Double, int]) -> Shop:
    made = stock(tmp_path_factory.mktemp("faults") / "shop", price="0.01")
    for model in ("free", "held", "broken"):
        made.act(price_set, model=model, price="0" if model == "free" else "0.01")
    set_secret(made, "theirs", "sk-theirs")
    here = f"127.0.0.1:{double[1]}"
    made.act(remote_add, name="big", url=f"http://{here}/v1", model="m", price="2.00/1000", output=3, secret="theirs", allow_private=(here,),
             timeout_s=5)
    return made


@pytest.fixture(scope="module")
def serving(shop: Shop) -> Iterator[Serving]:
    made = Serving(shop, {"noop@1": Noop(), "free@1": Noop(), "held@1": Fixed(held), "broken@1": Fixed(lambda _records: [{"label": object()}])})
    made.desk.gateway = Gateway(made.desk.directory, partial(secret_value, shop))
    made.app.statistics.access = AccessLog(shop.path / "scratch" / "access")
    yield made
    gate.set()
    made.app.statistics.gather()
    found = reconcile(shop)
    made.stop()
    assert shop.journals.verify() == [] and found.wrong == 0 and found.answered > 20, found


@pytest.fixture
def live(shop: Shop) -> str:
    gate.set()
    return (shop.path / "live").read_text()


def ids(shop: Shop, account: str | None = None) -> list[str]:
    return [row.id for row in shop.journals.rows("usage", account=account) if row.kind == "use"]


def client_of(serving: Serving, token: str, **more: Any) -> Client:
    return Client(f"http://127.0.0.1:{serving.port}", token, **more)


def test_01_rows_in_memory_are_lost_with_the_process(shop: Shop, live: str) -> None:
    """Stopped while requests are on their way: whatever was answered was on the disk before; the kills are in tests/faults."""
    server = Serving(shop, {"noop@1": Noop()})
    told: list[str] = []

    def ask() -> None:
        with client_of(server, live, retry=ONCE) as client:
            for _ in range(50):
                try:
                    told.append(client.predict("noop", BODY).request_id)
                except ClientError:  # it is being stopped
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(told) > 20, 10)
    server.stop()
    for thread in threads:
        thread.join()
    assert set(told) <= set(ids(shop)) and len(set(told)) == len(told)


def test_02_a_client_that_repeats_an_id_makes_rows_vanish(serving: Serving, shop: Shop, live: str) -> None:
    """Ids are ours: what a caller sends as one is no key of a row, and a repeated Idempotency-Key is answered, not skipped."""
    before = len(ids(shop))
    for _ in range(3):
        assert serving.predict(live, BODY, x_request_id="chatcmpl-213", mofang_request_id="req_1", x_litellm_call_id="1").status == 200
    assert len(ids(shop)) == before + 3 == len(set(ids(shop)))
    answers = [serving.predict(live, BODY, idempotency_key="chatcmpl-213") for _ in range(3)]
    assert len(ids(shop)) == before + 4 and len({one.body for one in answers}) == 1
    assert [one.headers.get("idempotent-replayed") for one in answers] == [None, "true", "true"]


def test_03_a_request_that_is_bridged_is_logged_twice(serving: Serving, shop: Shop, live: str, double: tuple[Double, int]) -> None:
    """Passed on to an engine elsewhere: one row, in our own name for it."""
    double[0].mode, before = "", len(ids(shop))
    with client_of(serving, live) as client:
        found = client.chat("big", "你好")
    assert len(ids(shop)) == before + 1 and ids(shop)[-1] == found.request_id
    assert eventually(lambda: len(ids(shop)) == before + 1, 0.1)


def test_04_an_answer_without_its_row(serving: Serving, shop: Shop, live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the row cannot be written nobody gets an answer; a model's nonsense is charged to nobody."""
    before, write = len(ids(shop)), Plan.write

    def fails(plan: Plan, journals: Any) -> None:
        write(plan, journals)
        fault = sqlite3.OperationalError("database or disk is full")
        fault.sqlite_errorcode = 13  # type: ignore[misc]
        raise fault

    monkeypatch.setattr(Plan, "write", fails)
    assert serving.predict(live, BODY).code == "meter-waiting" and len(ids(shop)) == before
    monkeypatch.undo()
    assert eventually(lambda: serving.predict(live, BODY).status == 200, 5 + RETRY_S)
    with client_of(serving, live, retry=ONCE) as client, pytest.raises(ServerFault, match="engine-failed"):
        client.predict("broken", BODY)
    assert len(ids(shop)) == before + 1
    assert serving.desk.meter.purses.by_account[account_of(shop)].reserved == 0


def account_of(shop: Shop) -> str:
    found: str = shop.control.rows("select account from account where name='tester'")[0][0]
    return found


def test_05_a_stream_that_is_left_is_never_billed_or_in_full(serving: Serving, shop: Shop, live: str, double: tuple[Double, int]) -> None:
    double[0].mode, double[0].ended, before = "endless", 0, len(ids(shop))
    came = 0
    with client_of(serving, live) as client, client.stream("big", "你好") as words:
        for _ in words:
            came += 1
            if came == 5:
                break
    assert eventually(lambda: len(ids(shop)) == before + 1 and double[0].ended == 1, 5), "the work elsewhere stops too"
    row = shop.journals.rows("usage")[-1].body
    assert came // 2 <= row["tokens_out"] < 400 and row["micros"] > 0, "for what was delivered: a little less perhaps, never in full"
    double[0].mode = ""


def test_06_a_budget_is_checked_and_then_spent(serving: Serving, shop: Shop) -> None:
    """Sixty-four at once at the edge of a first-seen customer's credit; over processes: test_meter.py and test_limits.py."""
    customer = shop.act(customer_new, name="edge", credit="0.20")
    token, codes = shop.act(key_new, customer="edge").token, list[str]()
    assert eventually(lambda: serving.desk.directory.picture.customers.get(customer.id), 2)
    threads = [threading.Thread(target=lambda: codes.append(serving.predict(token, BODY).code)) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(codes)) == ["credit-used-up", "ok"] and codes.count("ok") == 20 == len(ids(shop, customer.id))
    assert balance_of(shop.control, customer.id, now_us()).debited == 200_000


def test_08_a_free_model_is_blocked_by_an_exhausted_budget(serving: Serving, shop: Shop) -> None:
    shop.act(customer_new, name="poor", credit="0")
    token = shop.act(key_new, customer="poor").token
    assert eventually(lambda: serving.predict(token, BODY).code == "credit-used-up", 2)
    assert serving.predict(token, BODY, model="free").json["price"] == "0"


def test_09_a_key_is_claimed_before_the_row_is_written(serving: Serving, shop: Shop, live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails, the client repeats: metered once, not never, since key and row are one transaction."""
    before, write, failed = len(ids(shop)), Plan.write, []

    def fails_once(plan: Plan, journals: Any) -> None:
        write(plan, journals)
        if not failed:
            failed.append(plan)
            fault = sqlite3.OperationalError("database or disk is full")
            fault.sqlite_errorcode = 13  # type: ignore[misc]
            raise fault

    monkeypatch.setattr(Plan, "write", fails_once)
    with client_of(serving, live, retry=Retry(deadline_s=20)) as client:
        answer = client.predict("noop", BODY)
    assert failed and len(ids(shop)) == before + 1 and ids(shop)[-1] == answer.request_id and not answer.replayed


def test_10_one_tenants_key_suppresses_anothers(serving: Serving, shop: Shop, live: str) -> None:
    shop.act(customer_new, name="neighbour", credit="1")
    token = shop.act(key_new, customer="neighbour").token
    assert eventually(lambda: serving.predict(token, BODY).status == 200, 2)
    before = len(ids(shop))
    answers = [serving.predict(one, BODY, idempotency_key="same") for one in (live, token)]
    assert len(ids(shop)) == before + 2 and "idempotent-replayed" not in answers[1].headers
    assert answers[0].json["request_id"] != answers[1].json["request_id"]


def test_14_each_retry_of_a_client_makes_a_new_id(serving: Serving, shop: Shop, live: str) -> None:
    """Our client keeps its key: the answer was given and charged, but got lost on the way; the second attempt is the first's answer."""
    before, lost = len(ids(shop)), []

    class Losing(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = super().handle_request(request)
            if not lost:
                response.read()
                lost.append(response)
                raise httpx.ReadError("the connection broke")
            return response

    with client_of(serving, live, transport=Losing()) as client:
        answer = client.predict("noop", BODY)
    assert lost and answer.replayed and answer.raw == lost[0].json() and len(ids(shop)) == before + 1


def test_17_a_repeated_key_means_nothing_sure(serving: Serving, shop: Shop, live: str) -> None:
    """Done: the same answer again. At work: 409. Another body: 422. Refused: not kept, so that it may be asked again."""
    before = len(ids(shop))
    gate.clear()
    codes: list[str] = []
    first = threading.Thread(target=lambda: codes.append(serving.predict(live, BODY, model="held", idempotency_key="seventeen").code))
    first.start()
    assert eventually(lambda: serving.desk.running, 5)
    with client_of(serving, live, retry=ONCE) as client, pytest.raises(Conflict, match="retry-in-progress"):
        client.predict("held", BODY, idempotency_key="seventeen")
    gate.set()
    first.join()
    again = serving.predict(live, BODY, model="held", idempotency_key="seventeen")
    other = serving.predict(live, {"text": "other"}, model="held", idempotency_key="seventeen")
    assert codes == ["ok"] and again.headers["idempotent-replayed"] == "true" and (other.status, other.code) == (422, "retry-key-reused")
    assert len(ids(shop)) == before + 1
    for key in ("", "k" * 201, "käse"):
        assert serving.call("POST", "/v1/predict/noop", BODY, key=live, idempotency_key=key).code == "retry-key-invalid", key
    refused = serving.predict(live, {"wrong": 1}, idempotency_key="refused")
    assert refused.status == 422 and serving.predict(live, BODY, idempotency_key="refused").status == 200


def test_17_a_refusal_is_not_kept_so_money_that_came_in_helps(serving: Serving, shop: Shop) -> None:
    """As at Stripe's second version: what had no effect is tried anew under the same key."""
    shop.act(customer_new, name="late", credit="0")
    token = shop.act(key_new, customer="late").token
    assert eventually(lambda: serving.predict(token, BODY, idempotency_key="x").code == "credit-used-up", 2)
    shop.act(customer_limit, customer="late", credit="1")
    assert serving.predict(token, BODY, idempotency_key="x").status == 200


def test_busy_is_told_apart_from_used_up(serving: Serving, live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client must know what waiting mends: 429 and 503 name a time, 402 does not."""
    monkeypatch.setattr(serving.desk.meter, "_queue", type("Full", (), {"qsize": lambda self: 10**9})())
    with client_of(serving, live, retry=ONCE) as client, pytest.raises(Busy) as caught:
        client.predict("noop", BODY)
    assert caught.value.status in (429, 503) and caught.value.retry_after_s == 1
