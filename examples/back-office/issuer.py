#!/usr/bin/env python3
"""Stands in for the identity provider: makes its key once, then signs tokens by it.

    issuer.py TENANT ROLE...          prints a token of TENANT with these roles, for an hour
    issuer.py --lifetime 60 TENANT    one that ends after a minute

Needs `pip install "PyJWT[crypto]"`. The broker knows the public key only, issuer.pem.
"""

import argparse
import pathlib
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tenant", help="becomes the claim `sub`")
    parser.add_argument("roles", nargs="*", help="become the claim `mqttScope`")
    parser.add_argument("--lifetime", type=float, default=3600, help="seconds until it ends")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE, help="where the keys are")
    arguments = parser.parse_args()
    print(token(key(arguments.folder), arguments.tenant, arguments.roles, arguments.lifetime))


def key(folder):
    """The private key in `folder`; made with its public one if it is not there."""
    path = folder / "issuer.key"
    if not path.exists():
        private = ec.generate_private_key(ec.SECP256R1())
        path.touch(mode=0o600)
        path.write_bytes(
            private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / "issuer.pem").write_bytes(public)
    return serialization.load_pem_private_key(path.read_bytes(), password=None)


def token(private, tenant, roles, lifetime=3600, **claims):
    now = time.time()
    content = {"iss": "https://issuer.example", "aud": "mqtt", "sub": tenant, "mqttScope": roles, "iat": int(now), "exp": now + lifetime}
    return jwt.encode({**content, **claims}, private, "ES256")


if __name__ == "__main__":
    main()
