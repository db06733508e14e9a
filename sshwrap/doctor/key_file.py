"""Private key files and the agent's protocol, as far as they can be read without a secret.

Laws. Nothing of a private part is kept. What is damaged or of another kind is None, never an error.
Fingerprints are ssh's own: "SHA256:" and base64 of the hash of the public key, without padding.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

READ_BYTES = 65536  # more than any key file
AGENT_REQUEST = b"\0\0\0\1\x0b"  # SSH_AGENTC_REQUEST_IDENTITIES (RFC draft-miller-ssh-agent, 4.4)
AGENT_MOST_BYTES = 262144  # PROTOCOL.agent: an answer is no longer
_AGENT_IDENTITIES = 12
_KEYS_MOST = 256
_MAGIC = b"openssh-key-v1\0"


def fingerprint_of(blob: bytes) -> str:
    """Of a public key as it goes over the wire."""
    import hashlib

    digest = hashlib.sha256(blob).digest()
    return "SHA256:" + b64encode(digest).decode("ascii").rstrip("=")


def public_fingerprint(text: bytes) -> str | None:
    """Of a `.pub` file: "ssh-ed25519 AAAA… comment"."""
    words = text.split(b"\n", 1)[0].split()
    if len(words) < 2:
        return None
    blob = _base64(words[1])
    return fingerprint_of(blob) if blob and _text(blob, 0)[0] == words[0] else None


def read_key(content: bytes) -> tuple[bool | None, str | None]:
    """Of a private key file: whether it is encrypted (None: not to be told), its fingerprint."""
    if b"BEGIN OPENSSH PRIVATE KEY" in content:
        return _openssh_key(content)
    if b"BEGIN ENCRYPTED PRIVATE KEY" in content:  # PKCS #8
        return True, None
    if re.search(rb"BEGIN ([A-Z]+ )?PRIVATE KEY", content):
        return b"ENCRYPTED" in content[:400], None  # PEM: "Proc-Type: 4,ENCRYPTED"
    return None, None


def _openssh_key(content: bytes) -> tuple[bool | None, str | None]:
    """PROTOCOL.key: magic, cipher, kdf, kdf's options, count, then the public keys."""
    found = re.search(rb"KEY-----(.*?)-----END", content, re.S)
    body = _base64(b"".join(found[1].split())) if found is not None else None
    if body is None or not body.startswith(_MAGIC):
        return None, None
    cipher, at = _text(body, len(_MAGIC))
    for _ in range(2):
        _skipped, at = _text(body, at)
    public, _ = _text(body, at + 4)
    if cipher is None:
        return None, None
    return cipher != b"none", fingerprint_of(public) if public else None


def agent_fingerprints(answer: bytes) -> tuple[str, ...] | None:
    """Of the agent's whole answer to AGENT_REQUEST, its length included; None: it refused."""
    if len(answer) < 9 or answer[4] != _AGENT_IDENTITIES:
        return None
    count = min(int.from_bytes(answer[5:9], "big"), _KEYS_MOST)
    at, found = 9, []
    for _ in range(count):
        blob, at = _text(answer, at)
        _comment, at = _text(answer, at)
        if blob is None or _comment is None:
            return None
        found.append(fingerprint_of(blob))
    return tuple(found)


def _text(data: bytes, at: int) -> tuple[bytes | None, int]:
    """A string of the wire format and where the next one begins; None where it is cut off."""
    size = int.from_bytes(data[at : at + 4], "big")
    end = at + 4 + size
    if at + 4 > len(data) or end > len(data):
        return None, len(data)
    return data[at + 4 : end], end


def _base64(text: bytes) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
