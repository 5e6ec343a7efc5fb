from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from bgproxy.model import Certificate
from bgproxy.tls.pem import Unusable, explain, host_names, load_authorities, load_pair
from tests.support.certificates import Authority


def client() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def self_signed(
    directory: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *extensions: x509.ExtensionType
) -> Certificate:
    """What no authority would issue."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    pair = Certificate(str(directory / "self.pem"), str(directory / "self.key"))
    certificate = builder.sign(key, hashes.SHA256())
    Path(pair.cert).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    write_key(pair.key, key, serialization.NoEncryption())
    return pair


def write_key(
    path: str,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    encryption: serialization.KeySerializationEncryption,
) -> None:
    kind = serialization.PrivateFormat.PKCS8
    Path(path).write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, encryption))


def test_the_host_names_of_a_certificate_are_known_whatever_else_is_in_it(authority: Authority) -> None:
    pair = authority.issues("App.Example", "*.wild.example", "10.0.0.1", "::1")
    assert host_names(pair) == ("app.example", "*.wild.example")


def test_an_expired_certificate_has_names_too(authority: Authority) -> None:
    """Whoever serves it is told so by every client; not to start would be worse."""
    assert host_names(authority.issues("app.example", expired=True)) == ("app.example",)


def test_a_certificate_that_signs_itself_needs_no_names(tmp_path: Path) -> None:
    assert host_names(self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))) == ()


def test_both_may_be_in_one_file(authority: Authority) -> None:
    pair = authority.issues("app.example")
    both = Path(pair.cert)
    both.write_text(Path(pair.key).read_text() + both.read_text())
    assert host_names(Certificate(pair.cert, pair.cert)) == ("app.example",)


def test_what_is_wrong_with_a_file_is_said_of_that_file(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.issues("good.example"), authority.issues("other.example")
    gone, empty, half = (str(tmp_path / name) for name in ("gone", "empty", "half"))
    Path(empty).touch()
    Path(half).write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN PRIVATE KEY-----\nAAAA\n")
    for pair, path, said in (
        (Certificate(gone, good.key), gone, "cannot be read: No such file or directory"),
        (Certificate(empty, good.key), empty, "has no certificate: it needs a block that starts with"),
        (Certificate(good.key, good.key), good.key, "has no certificate: it needs a block"),
        (Certificate(half, good.key), half, "has a certificate that cannot be read"),
        (Certificate(good.cert, gone), gone, "cannot be read: No such file or directory"),
        (Certificate(good.cert, good.cert), good.cert, "has no key: it needs a block that starts with"),
        (Certificate(good.cert, half), half, "has a key that cannot be read"),
        (Certificate(good.cert, other.key), other.key, "does not belong to the certificate in"),
    ):
        with pytest.raises(Unusable, match=said) as caught:
            load_pair(client(), pair)
        assert caught.value.path == path
        assert str(caught.value) == f"{path} {caught.value.reason}"


def test_a_key_of_another_kind_does_not_belong_either(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issues("app.example")
    write_key(pair.key, rsa.generate_private_key(65537, 2048), serialization.NoEncryption())
    with pytest.raises(Unusable, match="does not belong"):
        load_pair(client(), pair)


def test_an_encrypted_key_is_refused_without_asking_a_terminal(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pair = self_signed(tmp_path, key)
    write_key(pair.key, key, serialization.BestAvailableEncryption(b"secret"))
    with pytest.raises(Unusable, match=r"self\.key has an encrypted key: decrypt it") as caught:
        load_pair(client(), pair)
    assert caught.value.path == pair.key


def test_a_weak_key_is_the_certificates_fault(tmp_path: Path) -> None:
    pair = self_signed(tmp_path, rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the point
    with pytest.raises(Unusable, match=r"self.pem has a certificate that is too weak \(ee key too small\)"):
        load_pair(client(), pair)


def test_a_certificate_that_is_not_for_servers_is_not_served(tmp_path: Path) -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    pair = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), usage)
    with pytest.raises(
        Unusable, match=r"no client would accept \((unsuitable|unsupported) certificate purpose"
    ):
        host_names(pair)


def test_authorities_have_to_be_in_the_file(authority: Authority, tmp_path: Path) -> None:
    context = client()
    load_authorities(context, authority.path)
    assert context.cert_store_stats()["x509_ca"] == 1
    (tmp_path / "notes.txt").write_text("the CA is on the other machine")
    with pytest.raises(Unusable, match="has no certificate"):
        load_authorities(context, str(tmp_path / "notes.txt"))


def test_what_openssl_says_is_told_without_its_line_numbers(authority: Authority) -> None:
    pair = authority.issues("app.example")
    with pytest.raises(ssl.SSLError) as caught:
        client().load_cert_chain(pair.cert, authority.issues("other.example").key)
    assert explain(caught.value) == "key values mismatch"
    assert explain(ssl.SSLError(1, "one of Python's own")) == "one of Python's own"
