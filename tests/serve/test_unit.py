"""The unit that ``mofang up`` writes, and the certificates that it takes."""

from __future__ import annotations

import configparser
import datetime
import shlex
from pathlib import Path

import pytest

from mofang.core.errors import MofangError
from mofang.serve.unit import Service, check_certificate, checked_domain, has_systemd, quoted, verify


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_a_unit_starts_again_ends_gently_and_may_write_only_the_shop(tmp_path: Path) -> None:
    shop = Path("/srv/our shop/100%")
    service = Service(shop, "api.example.com", "127.0.0.1", 8080, 3, user="seller")
    found = unit(service.text())
    assert found["Service"]["Restart"] == "always" and found["Unit"]["StartLimitIntervalSec"] == "0"
    assert found["Service"]["User"] == "seller" and found["Install"]["WantedBy"] == "multi-user.target"
    assert int(found["Service"]["TimeoutStopSec"]) > 30 and found["Service"]["KillMode"] == "mixed"
    words = [one.replace("%%", "%") for one in shlex.split(found["Service"]["ExecStart"])]
    assert words == service.command() and words[words.index("--shop") + 1] == str(shop)
    assert found["Service"]["ReadWritePaths"] == '"/srv/our shop/100%%"'
    said = verify(service, tmp_path)
    assert said in (None, "") or not has_systemd(), said


def test_a_unit_of_ones_own_needs_no_root_and_a_low_port_one_capability() -> None:
    own = Service(Path("/home/x/shop"), "a.example.com", "0.0.0.0", 8443, own=True)
    found = unit(own.text())
    assert found["Install"]["WantedBy"] == "default.target" and "User" not in found["Service"]
    assert all("--user" in step for step in own.steps()[:3]) and "AmbientCapabilities" not in found["Service"]
    low = unit(Service(Path("/srv/shop"), "a.example.com", "0.0.0.0", 443, user="x").text())
    assert low["Service"]["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"


@pytest.mark.parametrize("domain", ["", "a b", "-a.com", "a..b", "exa\nmple.com", "x" * 64 + ".com", "a.com/x", "例子.com"])
def test_what_is_no_domain_is_refused(domain: str) -> None:
    with pytest.raises(MofangError) as refused:
        checked_domain(domain)
    assert refused.value.code == "domain-invalid"


def test_words_of_a_unit_are_quoted() -> None:
    assert quoted("a/b-c") == "a/b-c" and quoted('a "b" \\ %h') == '"a \\"b\\" \\\\ %%h"'


def test_a_certificate_must_cover_the_domain_and_fit_its_key(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, another = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.datetime.now(datetime.UTC)

    def write(days: int) -> Path:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example.com")])
        names = x509.SubjectAlternativeName([x509.DNSName("api.example.com"), x509.DNSName("*.shop.example.com")])
        made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(1).not_valid_before(now - datetime.timedelta(days=9))
                .not_valid_after(now + datetime.timedelta(days=days)).add_extension(names, critical=False)
                .sign(key, hashes.SHA256()))
        path = tmp_path / f"{days}.pem"
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path

    keys = []
    for number, one in enumerate((key, another)):
        path = tmp_path / f"key{number}.pem"
        path.write_bytes(one.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
        keys.append(path)
    good = write(30)
    assert check_certificate(good, keys[0], "api.example.com") > now
    check_certificate(good, keys[0], "x.shop.example.com")
    refusals = {"tls-other-domain": (good, keys[0], "y.x.shop.example.com"), "tls-other-key": (good, keys[1], "api.example.com"),
                "tls-over": (write(-1), keys[0], "api.example.com"), "tls-unreadable": (keys[0], keys[0], "api.example.com")}
    for code, given in refusals.items():
        with pytest.raises(MofangError) as refused:
            check_certificate(*given)
        assert refused.value.code == code
