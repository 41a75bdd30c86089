"""SCRAM-SHA-256 verifiers (RFC 5803), made here so that no server ever sees a password."""

from __future__ import annotations

import base64
import hashlib
import hmac

ITERATIONS = 4096
"""PostgreSQL's own default."""

_SALT_ITERATIONS = 600_000


def verifier(role: str, password: str) -> str:
    """The verifier that PostgreSQL stores for the role.

    It depends on role and password alone, because SCRAM pass-through of postgres_fdw needs the same verifier on both
    sides. The salt is therefore derived from the password, through far more rounds than a guess at the verifier costs.

    Raises:
        ValueError: the password has characters outside printable ASCII, where SASLprep would have to be applied.
    """
    if not password or not password.isascii() or not password.isprintable():
        raise ValueError("the router's password must be one or more printable ASCII characters")
    secret = password.encode()
    salt = hashlib.pbkdf2_hmac("sha256", secret, b"podroute/" + role.encode(), _SALT_ITERATIONS, dklen=16)
    salted = hashlib.pbkdf2_hmac("sha256", secret, salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"
