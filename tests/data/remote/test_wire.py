"""The wire itself: certificates are checked against the name though the connection goes to a number; slow answers end; an
erasure removes what was fetched."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.core.personal import Sought
from mofang.core.shop import Shop
from mofang.core.tombstones import Tombstones
from mofang.data.remote import fetch
from mofang.data.remote.address import Allowed
from mofang.data.remote.fetch import Caps, Fetcher
from mofang.data.remote.spool import Spool, spools
from tests.data.remote.loopback import Site
from tests.stories.terminal import Inside


def certificate(folder: Path, name: str) -> Path:
    """A certificate for one name, signed by itself, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256()))
    file = folder / f"{name}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return file


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, Path, list[str]]]:
    """A TLS server for data.example on loopback: its port, its certificate, and the names it was asked for."""
    file = certificate(tmp_path, "data.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    names: list[str] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name or "")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) as wire:
                        names.append(wire.recv(4096).decode().split("Host: ")[1].split("\r")[0])
                        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                except (ssl.SSLError, OSError, IndexError):
                    plain.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1], file, names
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def to_loopback(_host: str, _port: int) -> list[str]:
    """A name server that knows one machine."""
    return [str(ipaddress.ip_address("127.0.0.1"))]


def test_a_certificate_is_checked_against_the_name(secured: tuple[int, Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    port, file, names = secured
    allowed = Allowed(frozenset({f"data.example:{port}", f"other.example:{port}"}), to_loopback)
    with Fetcher(allowed) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"https://data.example:{port}/"):
        pass
    assert told.value.code == "certificate-wrong"  # nobody vouches for it
    monkeypatch.setattr(fetch, "_certificates", lambda: ssl.create_default_context(cafile=str(file)))
    with Fetcher(allowed) as fetcher, fetcher.get(f"https://data.example:{port}/") as answer:
        assert answer.read() == b"ok"
    assert names[-2:] == ["data.example", f"data.example:{port}"]  # in TLS and in the request, though a number was dialled
    with Fetcher(allowed) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"https://other.example:{port}/"):
        pass
    assert told.value.code == "certificate-wrong" and "other.example" in str(told.value)


def test_a_source_that_says_nothing_or_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(listening: socket.socket, pause_s: float) -> None:
        plain, _ = listening.accept()
        with plain:
            plain.recv(4096)
            plain.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(20):
                time.sleep(pause_s)
                try:
                    plain.sendall(b"x")
                except OSError:
                    return

    for pause_s, seconds in ((0.6, 60.0), (0.05, 0.3)):  # no byte for too long; bytes, but never enough of them
        monkeypatch.setattr(fetch, "TIMEOUTS", {"connect": 1.0, "read": 0.4, "write": 1.0, "pool": 1.0})
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            thread = threading.Thread(target=drip, args=(listening, pause_s), daemon=True)
            thread.start()
            began = time.monotonic()
            caps = Caps(seconds=seconds)
            with (Fetcher(Allowed.of([f"127.0.0.1:{port}"]), caps=caps) as fetcher, pytest.raises(MofangError) as told,
                  fetcher.get(f"http://127.0.0.1:{port}/") as answer):
                answer.read()
            assert told.value.code == "answer-too-slow" and time.monotonic() - began < 5
            thread.join(20)


def test_nobody_listening_is_told_in_words(terminal: Inside, web: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Fetcher(Allowed.of([f"127.0.0.1:{port}"])) as fetcher, pytest.raises(MofangError) as told, fetcher.get(f"http://127.0.0.1:{port}/"):
        pass
    assert told.value.code == "connection-failed"


def test_an_erasure_removes_what_was_fetched(shop: Shop) -> None:
    spool = Spool(shop.path / "cache" / "remote" / "abc")
    with spool.piece("rows.jsonl", {"last": 7}) as path:
        path.write_bytes(b'{"name": "someone"}\n')
    sought = Sought(Tombstones(shop), ("someone",), dry=True)
    assert spools(shop, sought) == {"fetched sources": 1} and (spool.folder / "spool.json").exists()
    assert spools(shop, Sought(Tombstones(shop), ("someone",))) == {"fetched sources": 1} and not spool.folder.exists()


def test_a_torn_list_means_that_everything_is_fetched_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    with spool.piece("a.jsonl") as path:
        path.write_bytes(b"{}\n")
    assert [one.name for one in Spool(tmp_path / "s").pieces] == ["a.jsonl"]
    with pytest.raises(RuntimeError), spool.piece("b.jsonl") as path:
        path.write_bytes(b"half")
        raise RuntimeError("killed")
    assert [one.name for one in Spool(tmp_path / "s").pieces] == ["a.jsonl"]
    (tmp_path / "s" / "spool.json").write_bytes(b'{"format": 1, "held": [')
    assert Spool(tmp_path / "s").pieces == []
