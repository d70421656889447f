"""Items of an HTTP JSON API: page after page into the spool, from where the last fetch ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import orjson

from mofang.core.canonical import digest_of
from mofang.core.errors import MofangError
from mofang.data.remote.asking import Asking
from mofang.data.remote.fetch import Caps
from mofang.data.remote.scheme import shown

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job
    from mofang.data.remote.definition import Definition

PAGE_BYTES = 64 * 2**20
PAGES_MOST = 1_000_000
PER_SECOND = 10.0
LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*]+\s*=\s*(?:"[^"]*"|[^",;]*))*)')
FLAT_DEPTH = 8


def bring(job: Job) -> None:
    """Fetch all pages that are new.

    With ``newer_than`` (or ``growing``) a second fetch takes only items beyond the last; without, all pages are asked for
    again and compared. A fetch that died goes on behind its last page.
    """
    one, spool = job.definition, job.spool
    onwards = bool(one.newer_than or one.growing)
    if spool.complete:
        spool.complete = False
        if onwards:
            _from_the_end(job)
        else:
            spool.state = {}
    if not job.state.get("done"):
        _fetch(job)
    if not onwards:
        spool.keep_only(name_of(number) for number in range(1, int(job.state.get("number", 0)) + 1))


def _fetch(job: Job) -> None:
    one = job.definition
    asks = Caps(min(PAGE_BYTES, one.most_mb * 2**20), 300.0)
    with Asking(job, PER_SECOND) as asking:
        for _ in range(PAGES_MOST):
            url = str(job.state.get("next") or _first(one, job.state))
            answer, body = asking.read(url, {"Accept": "application/json"}, asks)
            page = _json(body, url)
            items = items_of(page, one.items, url)
            following = _following(one, job.state, answer.headers.get("link", ""), page, len(items), url)
            _keep(job, items, following)
            if not following:
                break


def _from_the_end(job: Job) -> None:
    """Begin again behind the last item: its page is asked for once more, and what was seen of it is passed over."""
    state = job.state
    for name in ("next", "done"):
        state.pop(name, None)
    if job.definition.growing and "at" in state:
        state["next"] = state["at"]
        state["position"] = state.get("at_position", 0)
    else:
        state.pop("position", None)
    state["last"] = state.get("highest", state.get("last"))


def _first(one: Definition, state: dict[str, Any]) -> str:
    extra: dict[str, Any] = {}
    if one.paging in ("page", "offset"):
        extra = {_page_name(one): 1 if one.paging == "page" else 0, one.size_name or _size_name(one): one.page_size}
    elif one.size_name:
        extra = {one.size_name: one.page_size}
    if one.since and state.get("last") is not None:
        extra[one.since] = state["last"]
    return with_query(one.url, {name: value for name, value in extra.items() if name})


def _page_name(one: Definition) -> str:
    return one.page_name or {"page": "page", "offset": "offset", "cursor": "cursor"}.get(one.paging, "")


def _size_name(one: Definition) -> str:
    return "limit" if one.paging == "offset" else ""


def with_query(url: str, extra: dict[str, Any]) -> str:
    """The URL with these values in its query, in place of others of the same name."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in extra]
    return urlunsplit(parts._replace(query=urlencode([*kept, *extra.items()])))


def _following(one: Definition, state: dict[str, Any], link: str, page: Any, count: int, url: str) -> str:
    """The URL of the next page, or nothing after the last one. Raises ``paging-in-circles``."""
    position = int(state.get("position", 0))
    following = ""
    if one.paging == "cursor":
        value = at_path(page, one.cursor)
        if value not in (None, "", False):
            linked = isinstance(value, str) and value.startswith(("http://", "https://", "/", "?"))
            following = urljoin(url, value) if linked else with_query(url, {_page_name(one): value})
    elif one.paging in ("page", "offset"):
        if count:
            position += 1 if one.paging == "page" else count
            following = with_query(url, {_page_name(one): position + (1 if one.paging == "page" else 0)})
    else:
        target = next_link(link) or (at_path(page, one.cursor) if one.cursor else "")
        following = urljoin(url, target) if isinstance(target, str) and target else ""
    if following == url:
        raise MofangError("paging-in-circles", url=shown(url))
    if count:  # the last page with items is where a growing list goes on
        state["at"], state["at_position"] = url, int(state.get("position", 0))
    state["position"] = position
    return following


def next_link(header: str) -> str:
    """The target of the ``next`` relation of a Link header (RFC 8288), or nothing."""
    for target, attributes in LINK.findall(header[:20_000]):
        for name, value in re.findall(r';\s*([\w*]+)\s*=\s*("[^"]*"|[^",;]*)', attributes):
            if name.lower() == "rel" and "next" in value.strip('" ').lower().split():
                return str(target)
    return ""


def _keep(job: Job, items: list[Any], following: str) -> None:
    """Write the new items of one page; the state that is saved with them says where to go on."""
    one, state = job.definition, job.state
    seen = set(state.get("seen", ())) if one.growing else set()
    fresh: list[Any] = []
    for item in items:
        if one.newer_than and not _is_newer(item, one.newer_than, state):
            continue
        if one.growing and digest_of(item)[:24] in seen:
            continue
        fresh.append(item)
    state["next"], state["done"] = following, not following
    if one.growing and items:
        state["seen"] = [digest_of(item)[:24] for item in items]
    if not fresh:
        job.spool.save()
        return
    number = int(state.get("number", 0)) + 1
    state["number"] = number
    with job.spool.piece(name_of(number)) as path, path.open("wb") as file:
        for item in fresh:
            file.write(orjson.dumps(flat(item) if isinstance(item, dict) else {"value": item}) + b"\n")
    job.note(f"{number}")


def name_of(number: int) -> str:
    """What a page with new items is called."""
    return f"page-{number:06}.jsonl"


def _is_newer(item: Any, field: str, state: dict[str, Any]) -> bool:
    """True if the item lies beyond what the fetch before ended with; the highest of this fetch is noted."""
    value = at_path(item, field)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise MofangError("newer-than-missing", column=field, value=str(value)[:80])
    last, highest = state.get("last"), state.get("highest")
    for known in (last, highest):
        if known is not None and isinstance(known, str) != isinstance(value, str):
            raise MofangError("newer-than-missing", column=field, value=str(value)[:80])
    if last is not None and value <= last:
        return False
    if highest is None or value > highest:
        state["highest"] = value
    return True


def _json(body: bytes, url: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MofangError("answer-not-json", url=shown(url), reason=str(error)[:120]) from None


def items_of(page: Any, path: str, url: str) -> list[Any]:
    """The items of an answer: at a path, or the answer itself if it is a list. Raises ``items-missing``."""
    found = at_path(page, path) if path else page
    if found is None and path and isinstance(page, dict):
        raise MofangError("items-missing", path=path, url=shown(url), names=", ".join(map(str, list(page)[:20])))
    if isinstance(found, dict):
        lists = [name for name, value in found.items() if isinstance(value, list)]
        if path or len(lists) != 1:
            raise MofangError("items-missing", path=path or "-", url=shown(url), names=", ".join(map(str, list(found)[:20])))
        found = found[lists[0]]
    if not isinstance(found, list):
        raise MofangError("items-missing", path=path or "-", url=shown(url), names=type(found).__name__)
    return found


def at_path(value: Any, path: str) -> Any:
    """What stands at ``data.items.0``, or None."""
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def flat(item: dict[str, Any]) -> dict[str, Any]:
    """Objects within objects as columns of their own: ``{"user": {"name": …}}`` becomes ``user.name``; lists stay."""

    def walk(value: dict[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
        for name, inner in value.items():
            if isinstance(inner, dict) and depth < FLAT_DEPTH:
                yield from walk(inner, f"{before}{name}.", depth + 1)
            else:
                yield f"{before}{name}", inner

    return dict(walk(item, "", 0))
