"""Asking politely: a pace, another try after what passes by itself, and words for what does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from mofang.core.errors import MofangError
from mofang.data.remote.fetch import Answer, Caps, Fetcher
from mofang.data.remote.scheme import shown

if TYPE_CHECKING:
    from mofang.data.remote.bring import Job

ATTEMPTS = 5
FIRST_WAIT_S = 0.5
WAIT_MOST_S = 60.0
PASSING = (408, 425, 429, 500, 502, 503, 504)
AGAIN = ("answer-cut", "answer-too-slow", "connection-failed")
WORDS = {401: "source-login", 403: "source-forbidden", 404: "source-not-there", 410: "source-not-there", 429: "source-busy"}


class Asking:
    """A fetcher for one job, never faster than ``per_second``; 429 and 5xx are asked again, as late as Retry-After says."""

    def __init__(self, job: Job, per_second: float = 0.0, attempts: int = ATTEMPTS) -> None:
        self.job = job
        self.attempts = attempts
        self.fetcher = Fetcher(job.allowed, job.headers(), job.definition.url or "-", job.caps)
        rate = job.definition.rate or per_second
        self.pause_s = 1 / rate if rate else 0.0
        self._last = 0.0
        self._wait_s = FIRST_WAIT_S

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None, accept: tuple[int, ...] = (200,),
            caps: Caps | None = None) -> Iterator[Answer]:
        """An answer with one of these statuses, its body still to be read.

        Raises ``source-login``, ``source-forbidden``, ``source-not-there``, ``source-busy``, ``source-failed``.
        """
        with ExitStack() as open_one:
            for attempt in range(1, self.attempts + 1):
                answer = self._try(open_one, url, headers, caps, last=attempt == self.attempts)
                if answer is None:
                    self.wait()
                elif answer.status in accept:
                    self._wait_s = FIRST_WAIT_S
                    yield answer
                    return
                elif answer.status not in PASSING or attempt == self.attempts:
                    raise MofangError(WORDS.get(answer.status, "source-failed"), url=shown(url), status=answer.status)
                else:
                    waited = answer.headers.get("retry-after", "")
                    open_one.close()
                    self.wait(waited)

    def _try(self, open_one: ExitStack, url: str, headers: Mapping[str, str] | None, caps: Caps | None,
             last: bool) -> Answer | None:
        self._keep_pace()
        try:
            return open_one.enter_context(self.fetcher.get(url, headers, caps))
        except MofangError as error:
            if last or error.code not in AGAIN:
                raise
            return None

    def read(self, url: str, headers: Mapping[str, str] | None = None, caps: Caps | None = None) -> tuple[Answer, bytes]:
        """An answer with its whole body; one that is cut is asked for again."""
        for attempt in range(1, self.attempts + 1):
            with self.get(url, headers, caps=caps) as answer:
                try:
                    return answer, answer.read()
                except MofangError as error:
                    if error.code not in AGAIN or attempt == self.attempts:
                        raise
            self.wait()
        raise AssertionError("the last attempt raises")

    def wait(self, said: str = "") -> None:
        """Wait as long as the source says, or twice as long as the last time."""
        seconds = retry_after(said)
        if seconds is None:
            seconds, self._wait_s = self._wait_s, min(2 * self._wait_s, WAIT_MOST_S)
        self.job.bar.note(f"… {seconds:.0f} s")
        time.sleep(min(seconds, WAIT_MOST_S))

    def _keep_pace(self) -> None:
        if self.pause_s:
            time.sleep(max(0.0, self._last + self.pause_s - time.monotonic()))
        self._last = time.monotonic()

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_error: object) -> None:
        self.fetcher.close()


def retry_after(said: str) -> float | None:
    """The seconds of a Retry-After header, given as a number or as a date (RFC 9110, 10.2.3); None for anything else."""
    text = said.strip()
    if text.isascii() and text.isdigit() and len(text) < 8:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except (TypeError, ValueError, OverflowError):
        return None
