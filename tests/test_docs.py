"""The docs are true: the reference is current, everything is named, every command line in them parses, every path is there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from mofang.cli.chinese import sentences
from mofang.cli.group import COMMANDS, cli
from mofang.core.errors import MofangError, wordings
from mofang.core.lock import locked
from mofang.data.snapshot import REASONS
from mofang.fit.families import KINDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in [*ROOT.glob("README*.md"), *DOCS.glob("*.md")] if path.name != "reference.md")
WORDINGS = sorted((ROOT / "src" / "mofang").rglob("wording.toml"))
PLACES = re.compile(r"`((?:src|docs|tests|tools|recipes|bench|engine|fit|core|data|web|cli)/[\w./-]*\w/?)`|\]\((?!http|#)([^)#]+)")
LINES_MOST = 120


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """tools/reference.py, which is no package."""
    spec = importlib.util.spec_from_file_location("tools_reference", ROOT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(reference: ModuleType) -> None:
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == reference.reference(), "run `python tools/reference.py`"


def test_the_reference_names_everything() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    names = [f"### {name}\n" for name in (*locked()["stages"], *KINDS)]
    names += [f"**`mofang {name}" for group in COMMANDS.values() for name in group]
    names += [f"`{name}`" for name in (*wordings(), *locked()["actions"])]
    assert [name for name in names if name not in text] == []


def test_every_endpoint_is_told_in_both_languages() -> None:
    from mofang.web.predict import ROUTES

    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert [one.path for one in ROUTES if not (one.en and one.zh and f"`{one.method} {one.path}`" in text)] == []


def test_the_pages_name_every_command_stage_and_family() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    commands = [name for group in COMMANDS.values() for name in group]
    missing = [name for name in commands if not re.search(rf"mofang {name}\b|make {name}\b", text)]
    missing += [name for name in KINDS if f"`{name}`" not in text]
    missing += [name for name in locked()["stages"] if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_a_page_is_short_and_speaks_both_languages(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MOST
    assert "## 中文" in text or path.with_suffix(".zh.md").exists() or path.name.endswith(".zh.md")


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_paths_and_links_lead_somewhere(path: Path) -> None:
    def there(place: str, linked: bool) -> bool:
        starts = [path.parent] if linked else [ROOT, ROOT / "src" / "mofang"]
        return "NAME" in place or any((start / place).exists() for start in starts)

    found = [(quoted or linked, bool(linked)) for quoted, linked in PLACES.findall(path.read_text(encoding="utf-8"))]
    assert [place for place, linked in found if not there(place, linked)] == []


def test_codes_named_in_the_pages_exist() -> None:
    known = {*wordings(), *locked()["stages"]}
    words = {word for path in PAGES for word in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", path.read_text(encoding="utf-8"))}
    reasons = {"class-too-small", "image-mode", "idempotency-key", "utf-8", "text-normalise", "near-duplicate",
               "back-translate", "time-mask", "frequency-mask", "min-max", "one-hot", "most-frequent"}  # no codes, but words of ours
    reasons |= {*REASONS}  # why a snapshot leaves a record out
    assert words - known - reasons == set()


# Command lines


def command_lines(text: str) -> Iterator[str]:
    """Every ``mofang …`` of a page's shell blocks, joined lines joined, each side of a ``&&`` apart."""
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for piece in re.split(r"(?:&&|;|\|(?!\|))(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", re.sub(r"(^|\s)#.*$", "", line)):
                piece = piece.strip().removeprefix("$ ").removeprefix("./")
                if piece.startswith("mofang"):
                    yield piece.removeprefix("mofang").strip()


def parse(words: list[str]) -> None:
    """Parse a command line as it would be parsed, but run nothing."""
    context = cli.make_context("mofang", words)
    command: click.Command = cli
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


LINES = [(shown(path), line) for path in PAGES for line in command_lines(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page} {line}" for page, line in LINES])
def test_every_command_line_parses(page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    parse(shlex.split(line))


def test_a_wrong_command_line_would_be_noticed() -> None:
    for line in ("modles", "run", "run x.py --bugdet 5m", "key nwe x", "price set reviews", "customer top-up a 5"):
        with pytest.raises((click.UsageError, MofangError)):
            parse(shlex.split(line))


def test_every_help_sentence_has_its_chinese() -> None:
    def told(command: click.Command) -> Iterator[str]:
        yield from (one for one in (command.help, *(getattr(param, "help", "") for param in command.params)) if one)
        for below in command.commands.values() if isinstance(command, click.Group) else ():
            yield from told(below)

    commands = [cli, *(cli.get_command(click.Context(cli), name) for group in COMMANDS.values() for name in group)]
    said = {" ".join(text.split()) for command in commands if command for text in told(command)}
    assert said - set(sentences()) == set()
    assert set(sentences()) - said == set(), "sentences that nothing says any more"


def test_commands_named_in_errors_exist() -> None:
    """``Do this now`` must be something that can be done."""
    for path in WORDINGS:
        for code, one in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for words in re.findall(r"`mofang ([^`]+)`", " ".join([*one["en"], *one["zh"]])):
                name, *rest = re.sub(r"[{}…]", "x", words).split()
                if name == "--help" or name == "--verbose":
                    continue
                command = cli.get_command(click.Context(cli), name)
                assert command is not None, f"{code}: {words}"
                if isinstance(command, click.Group) and rest:
                    command = command.commands.get(rest[0])
                    assert command is not None, f"{code}: {words}"
                flags = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
                assert [word for word in rest if word.startswith("--") and word not in flags] == [], f"{code}: {words}"


def test_the_readme_shows_the_figures_of_the_committed_demo_run() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "demo_table.py"), "--check"], check=False)
    assert done.returncode == 0
