#!/usr/bin/env python3
"""Writes tokens.json: keys of every kind with tokens that PyJWT signed by them, and forged tokens with what is wrong.

    pip install "PyJWT[crypto]" && ./make_tokens.py > tokens.json

The private keys are thrown away; the tokens are valid until 2100.
"""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

CLAIMS = {
    "iss": "https://issuer.example",
    "sub": "testTenant",
    "aud": ["mqtt", "other"],
    "iat": 1_700_000_000,
    "nbf": 1_700_000_000,
    "exp": 4_102_444_800,
    "mqttScope": ["BUBBLE_UP_READ_CONSUMER", "OTHER"],
}
OTHER = {**CLAIMS, "sub": "otherTenant"}


def main():
    rsa_key = rsa.generate_private_key(65_537, 2_048)
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    private = {name: rsa_key for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")}
    private |= {name: ec.generate_private_key(curve) for name, curve in curves.items()}
    private["EdDSA"] = ed25519.Ed25519PrivateKey.generate()
    secret = base64.b64encode(hashlib.sha512(b"a secret for tests only").digest()).decode()

    keys, tokens = {}, []
    for algorithm in ("HS256", "HS384", "HS512"):
        tokens.append({"algorithm": algorithm, "key": "secret", "token": jwt.encode(CLAIMS, secret, algorithm)})
    keys["secret"] = {"secret": secret}
    for algorithm, key in private.items():
        name = "rsa" if key is rsa_key else algorithm
        keys[name] = public(key, algorithm)
        for headers in (None, {"kid": name}):
            token = jwt.encode(CLAIMS, key, algorithm, headers=headers)
            tokens.append({"algorithm": algorithm, "key": name, "token": token})
    small = rsa.generate_private_key(65_537, 1_024)
    print(json.dumps({"keys": keys, "tokens": tokens, "forged": forged(private, keys), "small": public(small, "RS256")}, indent=1))


def public(key, algorithm):
    jwk = json.loads(get_default_algorithms()[algorithm].to_jwk(key.public_key()))
    jwk.pop("key_ops", None)
    return {"pem": pem(key), "jwk": jwk}


def pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def forged(private, keys):
    """Each with the reason for which it must be refused."""
    made = []

    def forge(name, reason, token):
        made.append({"name": name, "reason": reason, "token": token})

    for none in ("none", "None", "NONE", "nOnE", ""):
        forge(f"algorithm {none!r}", "algorithm_unknown", f"{part({'alg': none})}.{part(CLAIMS)}.")
    for name in ("rsa", "ES256", "EdDSA"):
        for shape, secret in (("PEM", keys[name]["pem"]), ("PEM without its last line end", keys[name]["pem"].rstrip("\n"))):
            forge(f"HS256 by the {shape} of {name}", "algorithm_not_of_key", by_hmac({"alg": "HS256", "kid": name}, secret.encode()))
    x = base64.urlsafe_b64decode(keys["EdDSA"]["jwk"]["x"] + "==")
    forge("HS256 by the bytes of a public key", "algorithm_not_of_key", by_hmac({"alg": "HS256", "kid": "EdDSA"}, x))

    good = jwt.encode(CLAIMS, private["RS256"], "RS256", headers={"kid": "rsa"})
    head, claims, signature = good.split(".")
    forge("other claims", "signature", f"{head}.{part(OTHER)}.{signature}")
    forge("other algorithm of the same key", "signature", f"{part({'alg': 'PS256', 'kid': 'rsa'})}.{claims}.{signature}")
    forge("no signature", "signature", f"{head}.{claims}.")
    raw = base64.urlsafe_b64decode(signature + "==")
    forge("signature cut", "signature", f"{head}.{claims}.{encoded(raw[:-1])}")
    forge("signature cut between bytes", "malformed", f"{head}.{claims}.{signature[:-1]}")
    forge("signature of another token", "signature", f"{head}.{claims}.{jwt.encode(OTHER, private['RS256'], 'RS256').split('.')[2]}")
    forge("kid of a key of another kind", "algorithm_not_of_key", jwt.encode(CLAIMS, private["RS256"], "RS256", headers={"kid": "ES256"}))
    forge("kid that nobody has", "key_unknown", jwt.encode(CLAIMS, private["RS256"], "RS256", headers={"kid": "../../etc/passwd"}))

    es = jwt.encode(CLAIMS, private["ES256"], "ES256", headers={"kid": "ES256"}).split(".")
    forge("a signature of zeros", "signature", f"{es[0]}.{es[1]}.{encoded(bytes(64))}")
    raw = base64.urlsafe_b64decode(es[2] + "==")
    der = ec_der(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    forge("an ECDSA signature in DER", "signature", f"{es[0]}.{es[1]}.{encoded(der)}")
    forge("ES384 by a P-256 key", "algorithm_not_of_key", f"{part({'alg': 'ES384', 'kid': 'ES256'})}.{es[1]}.{es[2]}")

    attacker = rsa.generate_private_key(65_537, 2_048)
    jwk = public(attacker, "RS256")["jwk"]
    forge("somebody else's key of the same kind", "signature", jwt.encode(CLAIMS, attacker, "RS256", headers={"kid": "rsa"}))
    forge("a key in the header", "signature", jwt.encode(CLAIMS, attacker, "RS256", headers={"kid": "rsa", "jwk": jwk}))
    forge("an address of keys in the header", "signature", jwt.encode(CLAIMS, attacker, "RS256", headers={"kid": "rsa", "jku": "https://attacker.example/keys"}))
    forge("an extension that must be understood", "critical_extension", jwt.encode(CLAIMS, private["RS256"], "RS256", headers={"kid": "rsa", "crit": ["exp"], "exp": 1}))
    return made


def by_hmac(header, secret):
    signed = f"{part(header)}.{part(CLAIMS)}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), 'sha256'))}"


def ec_der(r, s):
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(r, s)


def part(value):
    return encoded(json.dumps(value).encode())


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


if __name__ == "__main__":
    main()
