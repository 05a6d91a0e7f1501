"""What a file says of its origin is read where somebody can read it, and nothing is fetched for it."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from components.serving import provenance


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64), (9, 99, 9)).save(path)
    return path


@pytest.fixture
def c2pa() -> Any:
    return pytest.importorskip("c2pa", reason="needs the extra `provenance`")


def signed(c2pa: Any, picture: Path) -> Path:
    """The picture with a manifest that a camera of these tests signed."""
    ca, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = _certificate("camera", own, ca, is_ca=False) + _certificate("root", ca, ca, is_ca=True)
    key = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    action = {"action": "c2pa.created", "digitalSourceType": source}
    manifest = {
        "claim_generator_info": [{"name": "a camera", "version": "1"}],
        "format": "image/jpeg",
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    builder = c2pa.Builder.from_json(json.dumps(manifest), c2pa.Context.from_dict(provenance.OFFLINE))
    sink = io.BytesIO()
    with picture.open("rb") as source_file:
        builder.sign(signer, "image/jpeg", source_file, sink)
    path = picture.with_name("signed.jpg")
    path.write_bytes(sink.getvalue())
    return path


def _certificate(name: str, key: Any, ca: Any, *, is_ca: bool) -> bytes:
    def named(common: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")]
        )

    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False)
    built = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
    )
    if not is_ca:
        built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return built.sign(ca, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_manifest_is_found_and_told_with_its_state(c2pa: Any, picture: Path) -> None:
    said = provenance.read(signed(c2pa, picture))
    assert (said.looked_for, said.found, said.state, said.made_by) == (True, True, "Valid", "a camera 1")
    assert "signed for by Tests" in said.words


def test_a_picture_that_was_changed_since_is_told_as_invalid(c2pa: Any, picture: Path) -> None:
    path = signed(c2pa, picture)
    content = bytearray(path.read_bytes())
    content[-40] ^= 255
    path.write_bytes(bytes(content))
    assert provenance.read(path).state == "Invalid"


def test_most_files_have_none_and_neither_has_what_is_no_picture(c2pa: Any, picture: Path) -> None:
    text = picture.with_name("a.txt")
    text.write_text("no picture")
    for path in (picture, text):
        said = provenance.read(path)
        assert (said.looked_for, said.found) == (True, False)


def test_without_the_library_the_record_says_that_nobody_looked(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_library", lambda: None)
    said = provenance.read(picture)
    assert (said.looked_for, said.found) == (False, None) and "not installed" in said.words
