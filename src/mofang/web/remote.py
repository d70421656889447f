"""A shop on another machine, as a recipe sees it: the same ``run``, but the work and every file stay over there.

Only stages of the house run there; a recipe's own code runs where the recipe is. Sources are uploaded, under their
digests, and only what the shop lacks.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mofang.core.artifact import KINDS, Artifact, Part
from mofang.core.errors import MofangError
from mofang.core.given import with_given
from mofang.core.lock import import_kind, locked
from mofang.core.progress import Bar, progress
from mofang.core.stage import Setting, Spec, places_of, spec_of
from mofang.core.variant import Variant
from mofang.web.client import Client, Told

Event = dict[str, Any]


def shown(artifact: Artifact) -> dict[str, Any]:
    """An artifact as it is sent: what it is called, and nothing of its content."""
    return {"kind": artifact.kind, "entry": artifact.entry, "within": artifact.within, "licences": list(artifact.licences),
            "parts": [part.to_list() for part in artifact.parts], "measures": artifact.measures}


class RemoteShop:
    """What a recipe is given instead of a ``Shop`` where ``MOFANG_SHOP`` is an address."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.about: dict[str, Any] = client.ask("GET", "/api/me")
        self.store = _Elsewhere()

    @property
    def rates(self) -> dict[str, Any]:
        """What an hour of the shop's machine costs."""
        return dict(self.about["rates"])

    @property
    def currency(self) -> str:
        """The currency in which the shop sells."""
        return str(self.about["currency"])

    def run(self, function: Callable[..., Any], *artifacts: Any, **settings: Any) -> Any:
        """Run a stage of the house over there, or reuse what an equal run made."""
        spec = spec_of(function)
        artifacts, settings = spec.placed(artifacts, settings)
        if spec.name not in locked()["stages"] or not spec.function.__module__.startswith("mofang."):
            raise MofangError("stage-own", stage=spec.name)
        settings = with_given(spec.name, settings)
        checked = spec.check(settings)
        spec.bind(artifacts)  # a wrong input is said before anything is sent
        given = {one.name: self._plain(one, checked[one.name]) for one in spec.settings if one.name in settings}
        body = {"stage": spec.name, "inputs": [_reference(one) for one in artifacts], "settings": given}
        with self.client.stream("/api/runs", body) as events:
            return self._made(spec, events)

    def find(self, text: str, kind: str = "") -> Artifact:
        """An artifact by name, ``name@version`` or id."""
        return self._artifact(self.client.ask("GET", "/api/artifacts", name=text, kind=kind))

    def last(self, name: str, kind: str) -> Artifact | None:
        """The nearest ancestor of that kind of the newest version of that name, if there is one."""
        found = self.client.ask("GET", "/api/artifacts", last=name, kind=kind)
        return None if found is None else self._artifact(found)

    def act(self, function: Callable[..., Any], **_settings: Any) -> Any:
        """Actions are typed, not written into a recipe, where the shop is elsewhere."""
        raise MofangError("action-remote", action=spec_of(function).name)

    def _plain(self, setting: Setting, value: Any) -> Any:
        """A setting as JSON; places on this disk become uploads."""
        if setting.on_disk and value:
            return lend(self.client, str(value))
        if isinstance(value, Variant):
            for place in places_of(value).values():
                if not place.startswith("package:"):
                    raise MofangError("place-not-here", setting=setting.name, place=place)
            return {name: one for name, one in value.to_dict().items() if name != "version"}
        if isinstance(value, tuple | list):
            return [self._plain(Setting(setting.name, str), one) for one in value]
        return value

    def _made(self, spec: Spec, events: Iterator[Event]) -> Artifact:
        made: dict[str, Any] | None = None
        for event in listened(events, self.client):
            if "error" in event:
                raise Told(**event["error"])
            made = event.get("made", made)
        if made is None:
            raise MofangError("run-broken-off", stage=spec.name)
        return self._artifact(made)

    def _artifact(self, told: dict[str, Any]) -> Artifact:
        import_kind(told["kind"])
        parts = tuple(Part(*one) for one in told["parts"])
        cls = KINDS.get(told["kind"], Artifact)
        here: Any = self
        return cls(here, told["entry"], parts, told["within"], tuple(told["licences"]), told["measures"])


class _Elsewhere:
    """The store of a remote shop: its files stay there."""

    def has(self, _digest: str) -> bool:
        raise MofangError("file-elsewhere")

    def path(self, _digest: str) -> Path:
        raise MofangError("file-elsewhere")


def _reference(given: Any) -> Any:
    if isinstance(given, tuple | list):
        return [_reference(one) for one in given]
    return None if given is None else f"{given.entry}/{given.within}".rstrip("/")


def lend(client: Client, source: str) -> str:
    """Upload a source of this machine; what it is called over there."""
    from mofang.data.remote.scheme import is_remote
    from mofang.data.sources.files import on_disk, source_files

    if is_remote(source):  # registered there; a bare address is refused by the shop
        return source
    path = Path(source).expanduser()
    if path.is_file():
        root, files = path.name, {path.name: path}
    else:
        root = re.sub(r"[\\/*?\[\]:]+", "-", source.rstrip("/").rpartition("/")[2]).strip("-.") or "files"
        files = {one.name: one.path for one in on_disk(source_files(source))}
    return f"upload:{client.upload(root, files)}/{root}"


class Interrupts:
    """Ctrl-C at this terminal, passed on to a job over there once; what it still says is heard. Twice ends this side too."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.job = ""
        self.pressed = False

    def __enter__(self) -> Interrupts:
        self._here = threading.current_thread() is threading.main_thread()
        if self._here:
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._here:
            signal.signal(signal.SIGINT, self._before)

    def _press(self, _signal: int, _frame: object) -> None:
        if self.pressed or not self.job:
            raise KeyboardInterrupt
        self.pressed = True  # in a thread: the connection that is being read here may hold a lock
        threading.Thread(target=self.client.cancel, args=(self.job,), daemon=True).start()


def listened(events: Iterator[Event], client: Client) -> Iterator[Event]:
    """The events that say something, with progress drawn on this terminal; after Ctrl-C, KeyboardInterrupt at their end."""
    with ExitStack() as drawn, Interrupts(client) as interrupts:
        bar: Bar | None = None
        for event in events:
            if "job" in event:
                interrupts.job = event["job"]
            elif "progress" in event:
                words, done, total, detail = event["progress"]
                if bar is None or bar.words != words:
                    drawn.close()
                    bar = drawn.enter_context(progress(words, total))
                bar.at(done, total, detail)
            elif "beat" not in event:
                yield event
    if interrupts.pressed:
        raise KeyboardInterrupt
