"""Certificates for a day: an authority and a server that it vouches for."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID = datetime.timedelta(days=1)


def make(folder: Path, name: str, host: str) -> tuple[Path, Path]:
    """(the authority's certificate, the server's certificate with its key), PEM files called after ``name``."""
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    ca_file, server_file = folder / f"{name}-ca.pem", folder / f"{name}.pem"
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    ca_file.write_bytes(_signed(authority, authority, keys[0], keys[0], is_authority))
    plain = serialization.NoEncryption()
    key = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    server_file.write_bytes(_signed(server, authority, keys[1], keys[0], names) + key)
    return ca_file, server_file


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - VALID).not_valid_after(now + VALID).add_extension(extension, critical=True)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
