"""The child process that opens PDF files: run as a script, under limits on memory and time.

A page of a few hundred bytes can ask for gigabytes or never end, and a broken file can end the process that reads it. So
this process ends and not the one that called it. It knows nothing of Mofang: a path or standard input, and limits, as
arguments; frames of JSON out (four bytes of length before each): the document, its pages, an empty object at the end.
"""

from __future__ import annotations

import sys
from typing import Any

MEMORY_BYTES = 2 * 2**30
CPU_S = 120


def limit() -> None:
    """Bound this process's memory and time where the system can; its core is never written."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for what, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):  # macOS refuses some of them
            continue


def send(value: Any) -> None:
    """One frame to the caller, at once: what came before a stumble counts."""
    import orjson

    data = orjson.dumps(value)
    sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
    sys.stdout.buffer.flush()


def text_of(page: Any, most: int) -> str:
    """The text of a page in reading order, as the file gives it; at most so many characters and one more."""
    words = page.get_textpage()
    try:
        found: str = words.get_text_range(0, min(words.count_chars(), most + 1))
    finally:
        words.close()
    return found.encode("utf-8", "replace").decode()


def main(path: str, pages_most: int, chars_most: int) -> None:
    """Send the number of pages and the title, then each page: its number and text, or its number and the reason."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(sys.stdin.buffer.read() if path == "-" else path)
        count = len(document)
        title = str(document.get_metadata_value("Title") or "")
    except pypdfium2.PdfiumError as error:
        send({"error": "pdf-locked" if "password" in str(error).lower() else "pdf-broken", "detail": str(error)})
        return
    send({"pages": count, "title": title.encode("utf-8", "replace").decode()[:1000]})
    for number in range(min(count, pages_most)):
        try:
            text = text_of(document[number], chars_most)
        except pypdfium2.PdfiumError as error:
            send([number + 1, "", "page-broken", str(error)])
            continue
        if len(text) > chars_most:
            send([number + 1, "", "cell-too-large", f"> {chars_most}"])
        else:
            send([number + 1, text, "" if text.strip() else "page-without-text", ""])
    send({})


if __name__ == "__main__":
    limit()
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
