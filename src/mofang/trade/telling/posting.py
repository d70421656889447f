"""Posting an event: to a webhook, signed twice over, or to Stripe's API; addresses are checked where the connection is made.

A webhook is told as standardwebhooks.com says: ``webhook-id`` (the same at every try), ``webhook-timestamp`` and, where a secret
is kept, ``webhook-signature`` (HMAC-SHA256 of id, time and body). ``mofang-signature`` is the shop's own Ed25519 signature over
the same bytes. At Stripe a bill becomes an invoice with its lines; every call carries an Idempotency-Key of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import quote, urlencode

from mofang.core.canonical import canonical
from mofang.core.errors import MofangError
from mofang.core.identity import now_us
from mofang.core.journal import NewRow
from mofang.core.money import MINOR_MICROS
from mofang.core.shop import Shop
from mofang.core.signing import sign
from mofang.data.remote.address import Allowed
from mofang.data.remote.secret import secret_value
from mofang.trade.accounts.customers import find_customer
from mofang.trade.billing.issuing import invoice_document
from mofang.trade.billing.page import title, words_in
from mofang.trade.telling.sending import JOURNAL, Endpoint, Event

CONTEXT = "webhook"
TIMEOUT_S = 15.0  # of one wait
WITHIN_S = 30.0  # of a whole request, however slowly the other side drips
ANSWER_MOST = 1 << 20
KEYS_LAST_US = 20 * 3600 * 1_000_000  # Stripe remembers an Idempotency-Key for a day at least
SECRET_PREFIX = "whsec_"


def post(shop: Shop, endpoint: Endpoint, event: Event) -> str:
    """Tell one endpoint of one event; the id there, where it gives one. Raises ``endpoint-answered``, and as an address does."""
    return _webhook(shop, endpoint, event) if endpoint.kind == "webhook" else _stripe(shop, endpoint, event)


def signed(shop: Shop, endpoint: Endpoint, event: Event, at_s: int) -> tuple[bytes, dict[str, str]]:
    """The body of an event and the headers that sign it."""
    body = canonical(event.told())
    message = f"{event.id}.{at_s}.".encode() + body
    headers = {
        "content-type": "application/json",
        "webhook-id": event.id,
        "webhook-timestamp": str(at_s),
        "idempotency-key": event.id,
        "mofang-signature": canonical(sign(shop, CONTEXT, message)).decode(),
    }
    if endpoint.secret:
        digest = hmac.new(_key(secret_value(shop, endpoint.secret)), message, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
    return body, headers


def _key(secret: str) -> bytes:
    """The bytes of a secret: base64 behind ``whsec_``, else as it stands."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX) + "==")
    return secret.encode()


def _webhook(shop: Shop, endpoint: Endpoint, event: Event) -> str:
    body, headers = signed(shop, endpoint, event, now_us() // 1_000_000)
    _ask(endpoint, "POST", endpoint.url, headers, body)
    return ""


def _ask(endpoint: Endpoint, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> dict[str, Any]:
    """One request to an allowed address; no redirect is followed. A JSON answer, or nothing."""
    import httpx
    import orjson

    from mofang.data.remote.fetch import Transport, checked_url, told

    allowed = Allowed(frozenset(endpoint.private))
    timeouts = {"connect": TIMEOUT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}
    transport = Transport(allowed, WITHIN_S)
    try:
        with told(url):
            plain = [(name.encode(), value.encode()) for name, value in {**headers, "accept-encoding": "identity"}.items()]
            asked = httpx.Request(method, checked_url(url), headers=plain, content=body, extensions={"timeout": timeouts})
            answer = transport.handle_request(asked)
            said = b""
            for piece in answer.iter_raw():
                said += piece
                if len(said) > ANSWER_MOST:
                    break
            answer.close()
    finally:
        transport.close()
    if not 200 <= answer.status_code < 300:
        raise MofangError("endpoint-answered", name=endpoint.name, status=answer.status_code)
    try:
        found = orjson.loads(said)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


# Stripe


def _stripe(shop: Shop, endpoint: Endpoint, event: Event) -> str:
    """A bill becomes a Stripe invoice with its lines, finalised; other events are not Stripe's concern."""
    if event.type != "invoice.issued":
        return ""
    document = invoice_document(shop, event.body["number"])
    if document["total_micros"] <= 0:
        return ""
    customer = _stripe_customer(shop, endpoint, event.account)
    salt = ""
    if event.first_us and now_us() - event.first_us > KEYS_LAST_US:  # keys of an earlier try are forgotten there by now
        found = _found_before(shop, endpoint, event)
        if found.get("status", "draft") != "draft":
            return str(found["id"])
        if found:  # begun and not finished: away with it, since nobody knows which lines it has
            url = f"{endpoint.url.rstrip('/')}/v1/invoices/{quote(str(found['id']), safe='')}"
            _ask(endpoint, "DELETE", url, _login(shop, endpoint))
        salt = f"-{event.tries}"
    currency = document["currency"].lower()
    fields = {
        "customer": customer,
        "currency": currency,
        "collection_method": "send_invoice",
        "days_until_due": "30",
        "auto_advance": "false",
        "pending_invoice_items_behavior": "exclude",
        "metadata[mofang]": document["number"],
    }
    invoice = _call(shop, endpoint, event, f"invoice{salt}", "/v1/invoices", fields)
    words = words_in("en")
    lines = [
        (one["amount_micros"], one["model"] if one.get("kind", "usage") == "usage" else title(one, words, document["currency"]))
        for one in document["lines"]
    ] + [(one["amount_micros"], one["reason"]) for one in document.get("credits", ())]
    for at, (micros, what) in enumerate(lines):
        _call(
            shop,
            endpoint,
            event,
            f"line-{at}{salt}",
            "/v1/invoiceitems",
            {
                "customer": customer,
                "invoice": str(invoice["id"]),
                "currency": currency,
                "description": what[:300],
                "amount": str(micros // MINOR_MICROS[document["currency"]]),
                "metadata[mofang]": f"{document['number']}/{at}",
            },
        )
    _call(
        shop,
        endpoint,
        event,
        f"finalize{salt}",
        f"/v1/invoices/{quote(str(invoice['id']), safe='')}/finalize",
        {"auto_advance": "false"},
    )
    return str(invoice["id"])


def _stripe_customer(shop: Shop, endpoint: Endpoint, account: str) -> str:
    """The id by which Stripe knows a customer; made there at the first bill, and written down."""
    known = shop.control.rows("select id from counterpart where endpoint=? and account=?", (endpoint.name, account))
    if known:
        return str(known[0][0])
    who = find_customer(shop.control, account)
    made = _post_form(shop, endpoint, "/v1/customers", {"name": who.name, "metadata[mofang]": account}, f"mofang-{account}")
    shop.journals.record(JOURNAL, [NewRow("counterpart", {"endpoint": endpoint.name, "id": str(made["id"])}, account=account)])
    return str(made["id"])


def _found_before(shop: Shop, endpoint: Endpoint, event: Event) -> dict[str, Any]:
    """The invoice that an earlier try may have made, where its key is forgotten there by now."""
    query = urlencode({"query": f"metadata['mofang']:'{event.body['number']}'"})
    found = _ask(endpoint, "GET", f"{endpoint.url.rstrip('/')}/v1/invoices/search?{query}", _login(shop, endpoint))
    rows: list[dict[str, Any]] = found.get("data", [])
    return rows[0] if rows else {}


def _call(shop: Shop, endpoint: Endpoint, event: Event, step: str, path: str, fields: dict[str, str]) -> dict[str, Any]:
    made = _post_form(shop, endpoint, path, fields, f"{event.id}-{step}")
    if not made.get("id"):
        raise MofangError("endpoint-answered", name=endpoint.name, status="no id")
    return made


def _post_form(shop: Shop, endpoint: Endpoint, path: str, fields: dict[str, str], key: str) -> dict[str, Any]:
    headers = {**_login(shop, endpoint), "content-type": "application/x-www-form-urlencoded", "idempotency-key": key}
    return _ask(endpoint, "POST", endpoint.url.rstrip("/") + path, headers, urlencode(fields).encode())


def _login(shop: Shop, endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Bearer {secret_value(shop, endpoint.secret)}"}
