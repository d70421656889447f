"""``GET /metrics`` for Prometheus (text format 0.0.4): answers, refusals, queues, batches, commits, memory; no customer.

It is a route of the admin listener, which listens on loopback unless told otherwise (``mofang serve --admin-port``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mofang
from mofang.trade.request.desk import Reply
from mofang.web.routes import Exchange, Route
from mofang.web.statistics import Histogram

TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
JOBS_FILE, JOBS_FRESH_S = "jobs.prom", 120.0
BATCH_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128)


def label(text: str) -> str:
    """A label's value, escaped."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def labels(named: Mapping[str, Any]) -> str:
    """``{a="1",b="2"}``, or nothing."""
    inside = ",".join(f'{name}="{label(str(value))}"' for name, value in named.items())
    return f"{{{inside}}}" if inside else ""


def family(name: str, kind: str, words: str, rows: Sequence[tuple[Mapping[str, Any], float]]) -> Iterator[str]:
    """One metric with its values (whole numbers stay whole)."""
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
    for named, value in rows:
        yield f"{name}{labels(named)} {value!r}"


def histogram(name: str, words: str, rows: Sequence[tuple[Mapping[str, Any], Histogram]]) -> Iterator[str]:
    """One metric whose values are counted by size."""
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} histogram"
    for named, found in rows:
        below = 0
        for edge, count in zip([*map(str, found.edges), "+Inf"], found.counts, strict=True):
            below += count
            yield f"{name}_bucket{labels({**named, 'le': edge})} {below}"
        yield f"{name}_sum{labels(named)} {found.total!r}"
        yield f"{name}_count{labels(named)} {below}"


async def metrics(call: Exchange) -> Reply:
    """Everything that this process counts, or all of several processes together."""
    figures, own = call.statistics.figures, call.statistics.path
    jobs = await asyncio.to_thread(jobs_page, own.parent) if own is not None else ""
    if figures is None:
        return Reply(200, (page(call.desk, call.statistics) + jobs).encode(), (TEXT,))
    await asyncio.to_thread(call.statistics.write_figures)
    return Reply(200, (await asyncio.to_thread(figures.page) + jobs).encode(), (TEXT,))


def jobs_page(folder: Path) -> str:
    """What the shop's keeper told of its jobs (web/keeping.py); nothing where it has told nothing for two minutes."""
    place = folder / JOBS_FILE
    try:
        return place.read_text(encoding="utf-8") if time.time() < place.stat().st_mtime + JOBS_FRESH_S else ""
    except OSError:
        return ""


def page(desk: Any, statistics: Any) -> str:
    """The page of this process alone."""
    with statistics.telling:
        return "\n".join(told(desk, statistics)) + "\n"


def told(desk: Any, statistics: Any) -> Iterator[str]:
    """The page, line by line."""
    statistics.gather()
    yield from family("mofang_info", "gauge", "Version of this server.", [({"version": mofang.__version__}, 1)])
    yield from histogram("mofang_request_seconds", "Time of answered requests, from the last header to the answer.",
                         [({"model": model}, found) for model, found in sorted(statistics.latencies.items())])
    yield from family("mofang_refused_total", "counter", "Requests that were refused, by code.",
                      [({"code": code}, count) for code, count in sorted(statistics.refused.items())])
    yield from family("mofang_failed_total", "counter", "Refusals that were this server's own fault (5xx).",
                      [({}, statistics.failed)])
    yield from _models(desk)
    yield from _meter(statistics, desk.meter)
    yield from family("process_resident_memory_bytes", "gauge", "Memory of this process.", [({}, resident_bytes())])


def _models(desk: Any) -> Iterator[str]:
    rows = sorted((one.name, one.batcher) for one in desk.served.values())
    named = [({"model": name}, feed) for name, feed in rows]
    yield from family("mofang_queue_records", "gauge", "Records that wait.", [(who, feed.waiting) for who, feed in named])
    batchers = [(who, feed) for who, feed in named if hasattr(feed, "sizes")]
    yield from family("mofang_queue_wait_seconds", "gauge", "How long a record that came now would wait.",
                      [(who, float(feed.wait_s)) for who, feed in batchers])
    yield from family("mofang_engine_seconds_total", "counter", "Time in the engine, all streams together.",
                      [(who, float(feed.busy_s)) for who, feed in batchers])
    yield from family("mofang_queue_refused_total", "counter", "Requests that the queue refused, by code.",
                      [({**who, "code": code}, count) for who, feed in batchers for code, count in sorted(feed.refused.items())])
    sizes = []
    for who, feed in batchers:
        found = Histogram(BATCH_RECORDS)
        found.counts, found.total = _by_size(feed.sizes)
        sizes.append((who, found))
    yield from histogram("mofang_batch_records", "Records that went to the engine together.", sizes)
    yield from family("mofang_models_open", "gauge", "Models that are open.", [({}, len(rows))])
    yield from family("mofang_models_memory_bytes", "gauge", "What open models are expected to take.",
                      [({}, desk.served.used_bytes)])
    yield from family("mofang_models_put_away_total", "counter", "Models put away to make room.", [({}, desk.served.unloads)])


def _by_size(sizes: Mapping[int, int]) -> tuple[list[int], float]:
    counts = [0] * (len(BATCH_RECORDS) + 1)
    for size, count in list(sizes.items()):
        counts[next((place for place, edge in enumerate(BATCH_RECORDS) if size <= edge), len(BATCH_RECORDS))] += count
    return counts, float(sum(size * count for size, count in list(sizes.items())))


def _meter(statistics: Any, meter: Any) -> Iterator[str]:
    statistics.commits.add_all([meter.took.popleft()[0] for _ in range(len(meter.took))])
    yield from histogram("mofang_commit_seconds", "Time of a durable commit of usage.", [({}, statistics.commits)])
    yield from family("mofang_commits_total", "counter", "Durable commits.", [({}, meter.commits)])
    yield from family("mofang_meter_state", "gauge", "1 for the state that the meter is in.",
                      [({"state": state}, int(meter.state == state)) for state in ("running", "waiting", "stopped")])


def resident_bytes(proc: Path = Path("/proc")) -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        return int((proc / "self" / "statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0


ROUTES = (Route("GET", "/metrics", "admin", metrics, "Prometheus metrics, of all workers together; the admin listener only.",
                "Prometheus 指标（所有工作进程之和）；仅限管理端口。"),)
