"""A service that survives reboot: the systemd unit of a serving shop, as text, and the files that speak TLS for it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mofang.core.errors import MofangError

DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
STOP_S = 40  # longer than workers may take to finish what has begun

TEMPLATE = """# Written by mofang up; written anew by the next one.
[Unit]
Description=Mofang serves {domain}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=simple
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec={stop_s}
LimitNOFILE=65536
UMask=0077
{user}Environment=PYTHONUNBUFFERED=1
WorkingDirectory={folder}
NoNewPrivileges=yes
{tmp}ProtectSystem=full
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
ReadWritePaths={folder}
{port}
[Install]
WantedBy={target}
"""


@dataclass(frozen=True)
class Service:
    """One serving shop: where it lies, how it is reached, and as whom it runs (empty: who starts it)."""

    shop: Path
    domain: str
    host: str
    port: int
    workers: int = 2
    certificate: Path | None = None
    private_key: Path | None = None
    user: str = ""
    own: bool = False  # a unit of one user's own, not of the system
    admin_port: int | None = None

    @property
    def name(self) -> str:
        """The unit's name."""
        return f"mofang-{self.domain}.service"

    @property
    def place(self) -> Path:
        """Where systemd looks for it."""
        return (Path.home() / ".config/systemd/user" if self.own else Path("/etc/systemd/system")) / self.name

    def command(self) -> list[str]:
        """What the unit starts."""
        tls = ["--tls-cert", str(self.certificate), "--tls-key", str(self.private_key)] if self.certificate else []
        admin = ["--admin-port", str(self.admin_port)] if self.admin_port is not None else []
        return [sys.executable, "-m", "mofang", "--shop", str(self.shop), "serve", "--host", self.host, "--port", str(self.port),
                "--workers", str(self.workers), *tls, *admin]

    def text(self) -> str:
        """The unit file."""
        port = "" if self.own or self.port >= 1024 else ("AmbientCapabilities=CAP_NET_BIND_SERVICE\n"
                                                         "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n")
        start = " ".join(quoted(one) for one in self.command())
        return TEMPLATE.format(domain=self.domain, start=start, stop_s=STOP_S, port=port,
                               tmp="" if self.shop.is_relative_to("/tmp") else "PrivateTmp=yes\n",
                               folder=quoted(str(self.shop)), user=f"User={self.user}\n" if self.user and not self.own else "",
                               target="default.target" if self.own else "multi-user.target")

    def steps(self) -> list[list[str]]:
        """What is typed after the unit is written."""
        control = ["systemctl", "--user"] if self.own else ["systemctl"]
        linger = [["loginctl", "enable-linger"]] if self.own else []
        return [[*control, "daemon-reload"], [*control, "enable", "--now", self.name], [*control, "reload", self.name], *linger]


def quoted(word: str) -> str:
    """A word of a unit file: systemd's own quoting, and no specifiers."""
    plain = word.replace("%", "%%")
    return plain if re.fullmatch(r"[\w@%+=:,./-]+", plain) else '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def checked_domain(domain: str) -> str:
    """The name in lower case, or ``domain-invalid``."""
    name = domain.strip().lower().rstrip(".")
    if not DOMAIN.fullmatch(name):
        raise MofangError("domain-invalid", domain=domain)
    return name


def check_certificate(certificate: Path, private_key: Path, domain: str) -> datetime:
    """When a certificate ends; refuses one that is over, is for other names, or belongs to another key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        read = x509.load_pem_x509_certificate(certificate.read_bytes())
        key = load_pem_private_key(private_key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise MofangError("tls-unreadable", path=str(certificate), reason=str(error)[:200]) from None
    written = [one.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in (read.public_key(), key.public_key())]
    if written[0] != written[1]:
        raise MofangError("tls-other-key", path=str(private_key))
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    if not any(_covers(name.lower(), domain) for name in names):
        raise MofangError("tls-other-domain", domain=domain, names=", ".join(names) or "-")
    ends = read.not_valid_after_utc
    if ends <= datetime.now(UTC):
        raise MofangError("tls-over", domain=domain, ended=ends.date().isoformat())
    return ends


def _covers(name: str, domain: str) -> bool:
    return name == domain or (name.startswith("*.") and domain.partition(".")[2] == name[2:])


def has_systemd() -> bool:
    """Whether this machine was started by systemd."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def verify(service: Service, folder: Path) -> str | None:
    """What ``systemd-analyze verify`` says against a unit ("" if nothing); None where there is no such program."""
    if shutil.which("systemd-analyze") is None:
        return None
    path = folder / service.name
    path.write_text(service.text(), encoding="utf-8")
    found = subprocess.run(["systemd-analyze", "verify", *(["--user"] if service.own else []), str(path)], capture_output=True,
                           text=True, timeout=30, check=False)
    return found.stderr.strip() if found.returncode else ""


def install(service: Service) -> None:
    """Write the unit and start it. Raises ``unit-not-written``, ``unit-not-started``."""
    try:
        service.place.parent.mkdir(parents=True, exist_ok=True)
        service.place.write_text(service.text(), encoding="utf-8")
    except OSError as error:
        raise MofangError("unit-not-written", path=str(service.place), reason=error.strerror or str(error)) from None
    for step in service.steps():
        done = subprocess.run(step, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise MofangError("unit-not-started", command=shlex.join(step), reason=done.stderr.strip()[:300])
