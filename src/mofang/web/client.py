"""The other end of the API: sends requests to a remote shop, and turns its answers into values, events and errors."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mofang.core.canonical import file_digest, sync_folder
from mofang.core.errors import MofangError
from mofang.core.language import Language, current_language, say

if TYPE_CHECKING:
    import httpx

CONNECT_S, SILENCE_S = 10.0, 60.0  # the shop sends a beat every five seconds
PIECE_BYTES = 1 << 20
TRIES = 5
LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])")


class Told(MofangError):
    """An error that the shop has worded; its code may be newer than this machine's tables."""

    def __init__(self, code: str, what: str, fix: str) -> None:
        self._worded = (what, fix)
        super().__init__(code)

    def worded(self, language: Language) -> tuple[str, str]:
        """As the shop worded it, in the language that it was asked in."""
        return self._worded


def checked_address(text: str) -> str:
    """``https://host[:port]``; plain http only to this machine itself."""
    found = urlsplit(text.strip().rstrip("/"))
    host = found.netloc.rpartition(":")[0] if re.search(r":\d+$", found.netloc) else found.netloc
    good = found.scheme in ("http", "https") and host and not (found.path or found.query or found.username)
    if not good:
        raise MofangError("address-unreadable", address=text)
    if found.scheme == "http" and not LOOPBACK.fullmatch(host):
        raise MofangError("address-plain", address=text)
    return f"{found.scheme}://{found.netloc.lower()}"


def token_file(address: str) -> Path:
    """Where this user's token for a shop lies: one file for each host in the user's own configuration folder."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    name = re.sub(r"[^\w.-]", "_", urlsplit(address).netloc)
    return Path(base).expanduser() / "mofang" / "shops" / f"{name}.json"


def saved(address: str) -> dict[str, Any]:
    """What ``mofang join`` saved for a shop; ``shop-not-joined`` where that is nothing, or not this user's secret."""
    place = token_file(address)
    if not place.exists():
        raise MofangError("shop-not-joined", address=address)
    if stat.S_IMODE(place.stat().st_mode) & 0o077:
        raise MofangError("token-readable", path=place)
    found: dict[str, Any] = json.loads(place.read_bytes())
    return found


def token_of(address: str) -> str:
    """The personal token for a shop."""
    found = saved(address)
    if "token" not in found:
        raise MofangError("shop-not-joined", address=address)
    return str(found["token"])


def save(address: str, found: dict[str, Any]) -> Path:
    """Keep a token where only this user reads it."""
    place = token_file(address)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = place.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(json.dumps(found, indent=1, ensure_ascii=False).encode())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(place)
    sync_folder(place.parent)
    return place


class Client:
    """Talks to one shop for one person."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self._http = _connection(address, token)

    @classmethod
    def joined(cls, address: str) -> Client:
        """For whoever has joined this shop before."""
        address = checked_address(address)
        return cls(address, token_of(address))

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def ask(self, method: str, path: str, body: Any = None, *, content: bytes | None = None, **query: Any) -> Any:
        """One request and its answer, or the error that the shop tells."""
        with self._reached():
            answer = self._http.request(method, path, json=body, content=content, params=query or None)
        if answer.status_code != 200:
            raise _told(answer.status_code, answer.content, self.address)
        return json.loads(answer.content)

    @contextmanager
    def stream(self, path: str, body: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """A job's events as they come; ended early, the job is told."""
        with self._reached(), self._http.stream("POST", path, json=body) as answer:
            if answer.status_code != 200:
                raise _told(answer.status_code, answer.read(), self.address)
            yield (json.loads(line) for line in answer.iter_lines() if line)

    def cancel(self, job: str) -> None:
        """End a job; a shop that cannot be reached needs not to be told."""
        with suppress(MofangError):
            self.ask("DELETE", f"/api/jobs/{job}")

    def upload(self, root: str, files: dict[str, Path]) -> str:
        """Send what the shop lacks of these files; the id of the set. After a broken connection it goes on by itself."""
        from mofang.core.progress import progress

        listed: list[dict[str, Any]] = [{"name": name, "digest": file_digest(path), "size_bytes": path.stat().st_size}
                                        for name, path in files.items()]
        announced = self.ask("POST", "/api/uploads", {"root": root, "files": listed})
        missing: dict[str, int] = announced["missing"]
        to_send = {one["digest"]: files[one["name"]] for one in listed if one["digest"] in missing}
        total = sum(path.stat().st_size for path in to_send.values()) - sum(missing.values())
        with progress(say("Sending {root}", "正在发送 {root}", root=root), total) as bar:
            for digest, path in to_send.items():
                for sent in self._send(digest, path, missing[digest]):
                    bar.advance(sent)
        return str(announced["id"])

    def _send(self, digest: str, path: Path, have: int) -> Iterator[int]:
        size_bytes, failed = path.stat().st_size, 0
        with path.open("rb") as file:
            while True:
                file.seek(have)
                data = file.read(PIECE_BYTES)
                try:
                    now = self.ask("PUT", f"/api/uploads/{digest}", content=data, offset=have, size_bytes=size_bytes)["have"]
                except MofangError as error:
                    failed += 1
                    if error.code not in ("shop-unreachable", "upload-out-of-step") or failed >= TRIES:
                        raise
                    time.sleep(0.3 * failed)
                    again = self.ask("POST", "/api/uploads", {"root": "-", "files": [
                        {"name": "-", "digest": digest, "size_bytes": size_bytes}]})
                    now = again["missing"].get(digest, size_bytes)
                yield max(0, now - have)
                have = now
                if have >= size_bytes:
                    return

    @contextmanager
    def _reached(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.HTTPError as error:
            raise MofangError("shop-unreachable", address=self.address, reason=_reason(error)) from error


def _connection(address: str, token: str) -> httpx.Client:
    import ssl

    import httpx

    headers = {"accept-language": current_language(), "user-agent": "mofang"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    verify: Any = True
    if authority := os.environ.get("SSL_CERT_FILE"):
        verify = ssl.create_default_context(cafile=authority)
    here = bool(LOOPBACK.match(urlsplit(address).netloc))
    return httpx.Client(base_url=address, headers=headers, verify=verify, trust_env=not here,
                        timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S))


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return say("its certificate is not trusted here ({text})", "本机不信任它的证书（{text}）", text=text) if "CERTIFICATE" in text else text


def _told(status: int, content: bytes, address: str) -> MofangError:
    try:
        error = json.loads(content)["error"]
        return Told(str(error["code"]), str(error["what"]), str(error["fix"]))
    except (ValueError, KeyError, TypeError):
        return MofangError("shop-unreachable", address=address, reason=f"HTTP {status}")


def file_bytes(event: dict[str, Any]) -> bytes:
    """The content of a ``data`` event."""
    return base64.b64decode(event["data"])
