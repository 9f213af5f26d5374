"""Ed25519 signatures over an adapter's manifest, through the `cryptography` package. Knows no hub.

What is signed is the manifest's canonical JSON (sorted keys, no spaces), which names every weight by hash.
`signature.json` lies beside manifest.json. Keys are PEM files, as `openssl genpkey -algorithm ed25519` makes them.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptx import atomic, manifest
from adaptx.errors import AdaptxError
from adaptx.hub import tensors
from adaptx.recipe import canonical

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FILE = "signature.json"
PREFIX = b"adaptx manifest v1\n"
MAX_BYTES = 1 << 16
MAKE = "Make one with: openssl genpkey -algorithm ed25519 -out KEY.pem"
PUBLISH = "The signer makes it with: openssl pkey -in KEY.pem -pubout -out KEY.pub.pem"


@dataclass(frozen=True)
class Trust:
    """Which signers are believed: PEM files with public keys; `required`: unsigned adapters are refused.

    Raises AX082 where a signature is required and no key is given: anyone can sign.
    """

    keys: tuple[Path, ...] = ()
    required: bool = False

    def __post_init__(self) -> None:
        if self.required and not self.keys:
            raise AdaptxError(
                "AX082", "--require-signature", "no trusted key was given: anyone can sign.", "Add --trust KEY."
            )


BELIEVE = Trust()


def sign(folder: Path, key: Path) -> str:
    """Write the folder's signature with the private key in `key`; the key's id. Raises AX011, AX033, AX082."""
    _package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = serialization.load_pem_private_key(_read(key), None)
    except (ValueError, TypeError):
        raise AdaptxError("AX082", key, "not a PEM file with an unencrypted private key.", MAKE) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise AdaptxError("AX082", key, "not an Ed25519 key.", MAKE)
    public = private.public_key().public_bytes_raw()
    value = {
        "schema_version": 1,
        "algorithm": "ed25519",
        "key_id": key_id(public),
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(private.sign(_message(folder))).decode(),
    }
    if not (folder / FILE).is_file() or json.loads((folder / FILE).read_text("utf-8")) != value:
        atomic.write_json(folder / FILE, value)
    return key_id(public)


def check(folder: Path, trust: Trust, shown: str) -> str:
    """Who signed the adapter: the key's id, empty where nobody did and nobody had to.

    A signature that is there must be right; where keys are given it must be by one of them. Raises AX082.
    """
    if not (folder / FILE).is_file():
        if trust.required:
            raise AdaptxError("AX082", shown, "it is not signed.", "Pull it without --require-signature.")
        return ""
    _package()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = tensors.loads((folder / FILE).read_bytes()[:MAX_BYTES], FILE)
    try:
        public = base64.b64decode(raw["public_key"], validate=True)
        signature = base64.b64decode(raw["signature"], validate=True)
        if raw["algorithm"] != "ed25519" or raw["key_id"] != key_id(public):
            raise ValueError("another algorithm or key id")
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _message(folder))
    except InvalidSignature:
        raise AdaptxError("AX082", shown, "its signature is not that of its manifest.", "Do not use it.") from None
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise AdaptxError("AX082", shown, f"its {FILE} holds no signature ({error}).", "Do not use it.") from None
    if trust.keys and public not in [public_key(k).public_bytes_raw() for k in trust.keys]:
        why = f"it is signed with the key {raw['key_id']}, which is not among the trusted ones."
        raise AdaptxError("AX082", shown, why, "Give the signer's public key with --trust, if you trust the signer.")
    return key_id(public)


def public_key(path: Path) -> "Ed25519PublicKey":
    """The public key in a PEM file. Raises AX011, AX082."""
    _package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(_read(path))
    except ValueError:
        raise AdaptxError("AX082", path, "not a PEM file with a public key.", PUBLISH) from None
    if not isinstance(key, Ed25519PublicKey):
        raise AdaptxError("AX082", path, "not an Ed25519 key.", PUBLISH)
    return key


def key_id(public: bytes) -> str:
    """The first 16 hex digits of the public key's sha256."""
    return hashlib.sha256(public).hexdigest()[:16]


def _message(folder: Path) -> bytes:
    raw: Any = tensors.loads((folder / manifest.FILE).read_bytes(), manifest.FILE)
    return PREFIX + canonical(raw).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AdaptxError("AX011", path, f"the key cannot be read ({error.strerror}).") from None


def _package() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        raise AdaptxError("AX033", "cryptography", "signatures need it.", "Install it with: pip install 'adaptx[sign]'")
