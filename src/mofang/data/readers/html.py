"""HTML pages: one record a page, with its title and its text, read by a parser that follows no link and expands nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mofang.data.readers import CHUNK_BYTES, CHUNK_ROWS, Chunk, Reading, Reject
from mofang.data.sources.files import SourceFile
from mofang.data.sources.textfile import declared_encoding, detect_encoding, is_clean, open_text

PAGE_CHARS = 16 * 2**20
NOT_TEXT = ("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "head")
BREAKS = (
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
    "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
)  # fmt: skip

TAG = re.compile(r"<(/?)([A-Za-z][\w-]{0,30})")
DEPTH_MOST = 2000
CLOSING_THEMSELVES = {
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "option", "p", "param", "path",
    "source", "td", "th", "tr", "track", "wbr",
}  # fmt: skip
BLOCK = re.compile(rf"</?(?:{'|'.join(BREAKS)})(?=[\s/>])", re.I)


def read_html(files: list[SourceFile], how: Reading, reject: Reject) -> Iterator[Chunk]:
    """Every page as a record: ``title``, ``text`` (blocks on lines of their own), ``document`` (the file's name), and the
    folder's name as the label. The page's markup is not kept: ``--format documents`` takes it as it is."""
    label = how.label or "label"
    rows: list[tuple[str, str, str, str | None]] = []
    size = 0
    for file in files:
        found = _page(file, how, reject)
        if found:
            rows.append((*found, file.name, file.folder or None))
            size += len(found[1])
        if len(rows) >= CHUNK_ROWS or size > CHUNK_BYTES:
            yield _chunk(rows, label)
            rows, size = [], 0
    yield _chunk(rows, label)


def _chunk(rows: list[tuple[str, str, str, str | None]], label: str) -> Chunk:
    titles, texts, names, labels = map(list, zip(*rows, strict=True)) if rows else ([], [], [], [])
    columns = {"title": titles, "text": texts, "document": names, label: labels}
    return Chunk("", [0] * len(rows), columns, names=list(map(str, names)))


def _page(file: SourceFile, how: Reading, reject: Reject) -> tuple[str, str] | None:
    """Title and text of a page; None if it was rejected."""
    most = min(PAGE_CHARS, 8 * how.max_cell_chars)
    encoding = how.encoding or detect_encoding(file)
    if not how.encoding and not encoding.startswith("utf"):  # what the page says holds only where it is no UTF-8
        with file.open() as opened:
            encoding = declared_encoding(opened.read(4096)) or encoding
    with open_text(file, encoding) as text:
        content = text.read(most + 1)
    if not content.strip("\ufeff \t\r\n"):
        reject(file.name, 0, "file-empty")
    elif len(content) > most:
        reject(file.name, 0, "cell-too-large", f"> {most}")
    elif not is_clean(content):
        reject(file.name, 0, "undecodable", encoding)
    elif depth_of(content) > DEPTH_MOST:
        reject(file.name, 0, "page-too-deep", f"> {DEPTH_MOST}")
    else:
        title, words = text_of_page(content)
        if len(words) > how.max_cell_chars:
            reject(file.name, 0, "cell-too-large", f"> {how.max_cell_chars}")
        elif not words:
            reject(file.name, 0, "page-without-text", title)
        else:
            return title, words
    return None


def depth_of(content: str) -> int:
    """At most how deep a page's elements lie within each other; the time to read a page grows with its square."""
    depth = deepest = 0
    for found in TAG.finditer(content):
        if found[2].lower() not in CLOSING_THEMSELVES:
            depth += -1 if found[1] else 1
            deepest = max(deepest, depth)
    return deepest


def text_of_page(content: str) -> tuple[str, str]:
    """A page's title and its text: one line a block, no scripts, no styles."""
    tree = LexborHTMLParser(BLOCK.sub("\x01\\g<0>", content.replace("\0", "").replace("\x01", "")))
    head = tree.css_first("title")
    title = " ".join(head.text().replace("\x01", " ").split()) if head is not None else ""
    tree.strip_tags(list(NOT_TEXT))
    body: LexborNode | None = tree.body or tree.root
    if body is None:
        return title, ""
    lines = (" ".join(line.split()) for line in body.text(deep=True).split("\x01"))
    return title, "\n".join(line for line in lines if line)
