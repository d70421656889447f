"""The pages: a model of each kind is tried, runs and invoices are looked at, in two languages; hostile content stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mofang.core.errors import MofangError
from mofang.core.shop import Shop
from mofang.web.forms import read_form
from mofang.web.pages import ROUTES, Pages
from mofang.web.rendering import TEMPLATES
from tests.web.consoling import Consoling, Reader

SIGNATURES: dict[str, list[dict[str, str]]] = {
    "reviews@1": [{"name": "评论 <b>", "role": "text"}],
    "digits@1": [{"name": "image", "role": "image"}],
    "cancer@1": [{"name": "mean radius", "role": "number"}, {"name": "city", "role": "category"}],
}


class Fixed:
    """A predictor whose answer shows what it was asked."""

    def __init__(self, inputs: list[dict[str, str]]) -> None:
        self.signature = {"inputs": inputs, "labels": ["a", "b"]}

    def predict(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        shown = {name: len(value) if isinstance(value, bytes) else value for name, value in records[0].items()}
        return [{"label": f"<script>{shown}", "scores": {"<i>a": 0.75, "b": 0.25}}]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consoling]:
    patch = pytest.MonkeyPatch()
    patch.setattr(Pages, "_open", lambda self, name: Fixed(SIGNATURES[name]))
    patch.setattr(Shop, "named", lambda self, name, kind="": name if name in SIGNATURES else unknown(name))
    running = Consoling(Shop.open(tmp_path_factory.mktemp("pages") / "shop"))
    yield running
    running.stop()
    patch.undo()


def unknown(name: str) -> Any:
    raise MofangError("name-unknown", name=name, nearest="reviews@1")


@pytest.fixture(scope="module")
def reader(console: Consoling) -> Reader:
    return console.reads(console.entrance.enter(console.entrance.new_code(), "test"))


def page(console: Consoling, reader: Reader, path: str, language: str = "en") -> str:
    status, _, content = console.call("GET", path, cookie=reader.cookie, accept_language=language)
    assert status == 200, content
    return content.decode()


def well_formed(text: str) -> None:
    """Every field has its label, every table its heads, and nothing but our own style is fetched."""
    from html.parser import HTMLParser

    class Reads(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.fields: set[str] = set()
            self.labels: set[str] = set()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            assert tag not in ("script", "iframe", "img") and "style" not in given and not any(name.startswith("on") for name in given)
            if tag in ("input", "textarea") and given.get("type") != "hidden":
                self.fields.add(given.get("id") or "?")
            if tag == "label":
                self.labels.add(given.get("for") or "")
            for name in ("href", "src", "action"):
                assert (given.get(name) or "/").startswith(("/", "#")) and not (given.get(name) or "").startswith("//")
            if tag not in ("meta", "link", "input", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reads = Reads()
    reads.feed(text)
    assert reads.open == [] and reads.fields <= reads.labels
    assert text.count("<h1") == 1 and "<title>" in text and 'name="viewport"' in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_in_both_languages(console: Consoling, reader: Reader, language: str) -> None:
    for route in ROUTES:
        if route.method == "GET" and "{" not in route.path and route.path not in ("/style.css", "/enter", "/language"):
            text = page(console, reader, route.path, language)
            well_formed(text)
            assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in text
            said = re.sub(r"<[^>]+>|中文|模坊", "", text)
            assert bool(re.search("[\u4e00-\u9fff]", said)) == (language == "zh"), route.path
    for name in SIGNATURES:
        well_formed(page(console, reader, f"/models/{name}", language))


def test_the_language_is_chosen_and_kept_and_leads_nowhere_else(console: Consoling) -> None:
    status, headers, _ = console.call("GET", "/language?to=zh&back=/models/reviews@1")
    assert status == 303 and headers["location"] == "/models/reviews@1" and "mofang_language=zh" in headers["set-cookie"]
    for back in ("//evil.example", "https://evil.example", "/\\evil.example", "/x?y", "javascript:x"):
        assert console.call("GET", f"/language?to=zh&back={back}")[1]["location"] == "/"


def test_a_text_and_a_row_are_tried(console: Consoling, reader: Reader) -> None:
    status, _, content = console.submit("/models/reviews@1", {"评论 <b>": "好 <script>"}, reader)
    text = content.decode()
    assert status == 200 and "<script>" not in text and "&lt;script&gt;" in text and "0.750" in text
    well_formed(text)
    status, _, content = console.submit("/models/cancer@1", {"mean radius": "1,5", "city": ""}, reader, accept_language="zh")
    assert status == 422 and "problem" in content.decode() and "1,5" in content.decode(), "what was typed stays"
    status, _, content = console.submit("/models/cancer@1", {"mean radius": " 1.5 ", "city": ""}, reader)
    assert status == 200 and "&#39;mean radius&#39;: 1.5, &#39;city&#39;: None" in content.decode()
    assert console.submit("/models/reviews@1", {"评论 <b>": "  "}, reader)[0] == 422
    assert console.submit("/models/nothing", {"text": "x"}, reader)[0] == 404


def multipart(fields: dict[str, bytes], files: dict[str, bytes], boundary: str = "xx--x") -> tuple[str, bytes]:
    out = io.BytesIO()
    for name, content in {**fields, **files}.items():
        filename = '; filename="a.png"' if name in files else ""
        out.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + content + b"\r\n")
    out.write(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", out.getvalue()


def test_an_image_is_tried_as_it_was_chosen(console: Consoling, reader: Reader) -> None:
    picture = bytes(range(256)) * 40 + b"\r\n--xx-\r\n\r"
    kind, body = multipart({"form_token": reader.form_token.encode()}, {"image": picture})
    assert read_form(kind, body)["image"] == picture, "byte for byte"
    status, _, content = console.call("POST", "/models/digits@1", body, cookie=reader.cookie, content_type=kind)
    assert status == 200 and str(len(picture)) in content.decode()
    kind, body = multipart({"form_token": reader.form_token.encode()}, {})
    assert console.call("POST", "/models/digits@1", body, cookie=reader.cookie, content_type=kind)[0] in (200, 422)


@pytest.mark.parametrize(("kind", "body"), [
    ("text/plain", b"x=1"), ("", b"x"), ("multipart/form-data", b"x"), ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
    ("multipart/form-data; boundary=b", b"--b\r\nno name\r\n\r\nx\r\n--b--"), ("application/x-www-form-urlencoded", b"\xff=1"),
    ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(3000))), ("application/json", b"{}"),
])
def test_forms_that_no_browser_sends(console: Consoling, reader: Reader, kind: str, body: bytes) -> None:
    assert console.call("POST", "/models/reviews@1", body, cookie=reader.cookie, content_type=kind)[0] == 400


def test_a_run_and_a_failed_run_are_shown(console: Consoling, reader: Reader, tmp_path: Path) -> None:
    from mofang.data.collect import collect

    shop = console.shop.again()
    (tmp_path / "few.csv").write_text("text,label\n<b>x,a\ny,b\n", encoding="utf-8")
    made = shop.run(collect, source=str(tmp_path / "few.csv"), licence="<own>")
    with pytest.raises(MofangError):
        shop.run(collect, source=str(tmp_path / "few.csv"), licence="x", bad_share=0.0, text=("nothing",))
    for entry in shop.ledger.entries("done", "fail", "start"):
        text = page(console, reader, f"/runs/{entry.id}", "zh")
        well_formed(text)
        assert "<own>" not in text and ("失败" in text) == (entry.kind == "fail")
    assert "few.csv" in page(console, reader, f"/runs/{made.entry}") and "failed" in page(console, reader, "/runs")
    assert console.call("GET", "/runs/run_nothing", cookie=reader.cookie)[0] == 404


def test_our_own_mistake_is_said_as_such(console: Consoling, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pages, "_models", lambda self, newest=False: 1 / 0)
    status, _, content = console.call("GET", "/models", cookie=reader.cookie)
    assert status == 500 and b"Mofang itself made a mistake" in content and b"ZeroDivision" not in content


def test_pages_and_style_lie_in_the_package() -> None:
    from mofang.web import rendering

    assert TEMPLATES.is_relative_to(Path(rendering.__file__).parent) and len(list(TEMPLATES.glob("*.html"))) >= 10
    assert rendering.STYLE.read_text(encoding="utf-8").count("http") == 0
