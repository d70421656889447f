"""Ids sort by time and are never given twice, in threads and in forked children either."""

from __future__ import annotations

import os
import threading
import time

from mofang.core.identity import new_id


def test_ids_have_one_shape_and_sort_by_time() -> None:
    first = new_id("req")
    time.sleep(0.002)
    assert len(first) == 30 and first.startswith("req_") and first < new_id("req")
    assert not set(first[4:]) - set("0123456789abcdefghjkmnpqrstvwxyz")


def test_no_id_is_given_twice() -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.extend([new_id("x") for _ in range(20_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "\n".join(new_id("x") for _ in range(1000)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        found += pipe.read().split("\n")
    found += [new_id("x") for _ in range(1000)]
    assert len(set(found)) == len(found) == 82_000


def test_ids_of_one_moment_differ_early_so_that_short_forms_do() -> None:
    assert len({new_id("run")[:17] for _ in range(50)}) > 45
