"""Whom TLS trusts: the machine's own certificate authorities."""

import os
import ssl
from functools import lru_cache
from pathlib import Path

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class BundleMissing(RuntimeError):
    """There are no certificate authorities to judge servers by."""


@lru_cache(maxsize=1)
def authorities() -> str:
    """
    Return the file of certificate authorities that the machine trusts.

    Raises: BundleMissing.
    """
    usual = ssl.get_default_verify_paths().cafile
    for path in (os.environ.get("SSL_CERT_FILE"), usual, *_BUNDLES):
        if path and Path(path).is_file():
            return path
    raise BundleMissing(
        "No certificate authorities were found. Install the package "
        "ca-certificates, or name a PEM file in SSL_CERT_FILE."
    )
