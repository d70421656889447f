"""The address that a server listens on; imports next to nothing, so that a supervisor stays small."""

from __future__ import annotations

import hmac
import os
import socket

from mofang.core.errors import MofangError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN_LEAST = 24


def listen(host: str, port: int) -> socket.socket:
    """A bound socket (port 0: any free one); an address in use is refused in words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise MofangError("address-taken", host=host, port=port, reason=error.strerror or str(error)) from None
    return bound


def admin_listener(host: str, port: int) -> socket.socket:
    """The listener for /metrics; beyond this machine only with a secret (``MOFANG_ADMIN_TOKEN``).

    Raises ``admin-in-the-open``.
    """
    if host not in LOOPBACK and not admin_token():
        raise MofangError("admin-in-the-open", host=host)
    return listen(host, port)


def admin_token() -> str:
    """What whoever reads /metrics must show as a bearer; empty: nothing. Raises ``admin-token-short``."""
    token = os.environ.get("MOFANG_ADMIN_TOKEN", "")
    if token and len(token) < TOKEN_LEAST:
        raise MofangError("admin-token-short", least=TOKEN_LEAST)
    return token


def shows_token(header: bytes, token: str) -> bool:
    """Whether ``Authorization: Bearer …`` shows it; compared in constant time."""
    return not token or hmac.compare_digest(header.strip(), b"Bearer " + token.encode())


def reserve(host: str, port: int) -> socket.socket:
    """A port that several processes of this account may share, held while the socket is open; nothing is received on it.

    Raises ``address-taken`` where somebody listens there already.
    """
    listen(host, port).close()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound


def shown_address(bound: socket.socket, host: str, *, tls: bool = False) -> str:
    """How callers reach a bound socket: ``http://127.0.0.1:8080``."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{bound.getsockname()[1]}"
