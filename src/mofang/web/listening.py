"""The address that a server listens on; imports next to nothing, so that a supervisor stays small."""

from __future__ import annotations

import socket

from mofang.core.errors import MofangError


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
