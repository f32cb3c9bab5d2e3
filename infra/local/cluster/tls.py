"""Who the server is: a CA of its own, a certificate for loopback, and a token. Kept in the home's folder."""

from __future__ import annotations

import ipaddress
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 365
_RENEWED_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    authority: Path  #: PEM of the CA
    certificate: Path  #: PEM of the server's certificate
    key: Path  #: ... and its key
    token: str


def identity(folder: Path, now: datetime | None = None) -> Identity:
    """The one in the folder; made where there is none, or where it ends soon."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, certificate, key, token = (folder / name for name in ("ca.crt", "server.crt", "server.key", "token"))
    whole = authority.exists() and certificate.exists() and key.exists()
    if not whole or _ends_soon(certificate, now or datetime.now(UTC)):
        _make(authority, certificate, key, now or datetime.now(UTC))
    if not token.exists():
        write_private(token, secrets.token_urlsafe(32).encode())
    return Identity(authority, certificate, key, token.read_text())


def write_private(path: Path, content: bytes) -> None:
    """For its owner alone; whole or not at all."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    fresh.replace(path)


def _ends_soon(certificate: Path, now: datetime) -> bool:
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        return True
    return known.not_valid_after_utc - _RENEWED_BEFORE < now


def _make(authority: Path, certificate: Path, key: Path, now: datetime) -> None:
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "millrace local cluster")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def begin(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=_DAYS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
        )

    root = (
        begin(issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    leaf = (
        begin(subject, server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for path, content in ((authority, root.public_bytes(pem)), (key, plain), (certificate, leaf.public_bytes(pem))):
        write_private(path, content)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
