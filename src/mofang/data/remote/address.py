"""Which machines a source may be fetched from: names are resolved first, and only public addresses are connected to.

Python's own ``is_global`` passes multicast, NAT64 and 6to4 addresses behind which a private one may hide, and the system
reads ``2130706433``, ``0x7f.1`` and full-width dots as loopback. So what counts is the number that a name resolves to,
held against a list of our own (IANA special-purpose registries, RFC 6890), and the connection goes to that very number.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mofang.core.errors import MofangError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
PORTS = (80, 443)
DOTS = str.maketrans(dict.fromkeys("。．｡", "."))

# Beyond what ``is_global`` refuses by itself.
DENIED = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32",
    "168.63.129.16/32",
    "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
    "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)))
# Where clouds tell their machines who they are and with which keys: never a source, whatever is allowed.
NEVER = tuple(map(ipaddress.ip_network, (
    "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fe80::/10", "fd00:ec2::254/128",
    "64:ff9b::a9fe:0/112", "::ffff:169.254.0.0/112", "2002:a9fe::/32",
)))
UNICAST = ipaddress.ip_network("2000::/3")  # every public IPv6 address is here


def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that this system finds for a name, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(text: str) -> bool:
    """True if this numeric address belongs to the public internet and to nothing that stands for a private one."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and ("%" in text or address not in UNICAST):
        return False
    return address.is_global and not any(address in one for one in DENIED if one.version == address.version)


def _is_number(text: str) -> bool:
    """True for an address in its usual form, which needs no name server."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_never(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return any(address in one for one in NEVER if one.version == address.version)


def plain_host(host: str) -> str:
    """A host name as everybody means it: full-width signs made plain, no blanks, no final dot. ``host-unreadable``."""
    plain = unicodedata.normalize("NFKC", host.translate(DOTS)).strip().rstrip(".").lower().strip("[]")
    if not plain or re.search(r"[\s/\\@#?%\x00-\x20]", plain.partition("%")[0]):
        raise MofangError("host-unreadable", host=host)
    return plain


@dataclass(frozen=True)
class Allowed:
    """Which addresses may be reached: all public ones on ports 80 and 443, and what a person named as HOST:PORT.

    ``private`` holds the named ones; they are written down with the source. ``resolve`` is the system's own unless a test
    brings another.
    """

    private: frozenset[str] = frozenset()
    resolve: Resolve = system_resolve
    ports: tuple[int, ...] = PORTS

    @classmethod
    def of(cls, named: Iterable[str], ports: Iterable[int] = ()) -> Allowed:
        """From ``HOST:PORT`` as people write them. Raises ``private-unreadable``."""
        return cls(frozenset(read_private(one) for one in named), ports=(*PORTS, *ports))

    def pinned(self, host: str, port: int) -> list[str]:
        """The addresses that may be connected to for this host and port, already resolved: connect to no other.

        Raises ``host-unreadable``, ``host-unknown``, ``address-never``, ``address-refused``, ``port-refused``.
        """
        plain = plain_host(host)
        named = f"{plain}:{port}" in self.private
        if not named and port not in self.ports:
            raise MofangError("port-refused", host=plain, port=port)
        try:
            found = [plain] if _is_number(plain) else self.resolve(plain, port)
        except (OSError, UnicodeError):
            raise MofangError("host-unknown", host=plain) from None
        for one in found:
            if _is_never(one):
                raise MofangError("address-never", host=plain, address=one)
        if named:
            return found
        public = [one for one in found if is_public(one)]
        if not public:
            raise MofangError("address-refused", host=plain, port=port, address=found[0] if found else "-")
        return public


def read_private(text: str) -> str:
    """``HOST:PORT`` in one form. Raises ``private-unreadable``."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise MofangError("private-unreadable", text=text)
    return f"{plain_host(host)}:{int(port)}"
