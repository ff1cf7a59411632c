#!/usr/bin/env python3
"""Writes service_account_tokens.json: tokens as a Kubernetes API server issues them, and broken ones.

OpenSSL makes the keys and PyJWT (2.15) the tokens, so nothing here comes from the gateway. The private keys are thrown
away: each run writes another file. `result` is the reason by which a token is refused at `now`, `ok` for none.
"""

import base64
import hashlib
import hmac
import json
import subprocess
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "pai-image-gateway"
SUBJECT = "system:serviceaccount:training:scheduler"
NOW = 1795424977  # 2026-11-23T09:09:37Z
FAR = 4102444800  # 2100-01-01


def openssl(*arguments):
    """Runs openssl and returns its output."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


class Key:
    """A private key, its algorithm, and its kid: the SHA-256 of the public key, as the API server names it."""

    def __init__(self, algorithm, *options):
        self.algorithm = algorithm
        self.private = openssl("genpkey", *options)
        loaded = serialization.load_pem_private_key(self.private, None).public_key()
        der = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public_pem = loaded.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.kid = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        kind = RSAAlgorithm if algorithm.startswith("RS") else ECAlgorithm
        public = kind.to_jwk(loaded, as_dict=True)
        public.pop("key_ops", None)
        self.jwk = {"use": "sig", **public, "kid": self.kid, "alg": algorithm}

    def sign(self, claims, **header):
        """Returns the token of these claims."""
        kid = header.pop("kid", self.kid)
        headers = {**header, **({"kid": kid} if kid else {})}
        return jwt.encode(claims, self.private, header.get("alg", self.algorithm), headers)


def part(value):
    """Returns a value as a part of a token: base64 of its JSON."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def rsa():
    """Makes a key of the kind that nearly every cluster has."""
    return Key("RS256", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


def curve(algorithm, name):
    """Makes a key on a curve."""
    return Key(algorithm, "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{name}")


first, second, stranger = rsa(), rsa(), rsa()
p256, p384 = curve("ES256", "P-256"), curve("ES384", "P-384")
tokens = []


def claims(**changes):
    """Returns the claims of a projected token; None removes one."""
    usual = {
        "aud": [AUDIENCE],
        "exp": FAR,
        "iat": NOW - 600,
        "iss": ISSUER,
        "jti": "6f1c7f3c-0b2e-4c3d-9d4b-0f1a2b3c4d5e",
        "kubernetes.io": {
            "namespace": "training",
            "pod": {"name": "scheduler-0", "uid": "0b9f2f0e-8a53-4b56-9f0a-1f4f6a1a2b3c"},
            "serviceaccount": {"name": "scheduler", "uid": "5f0b8c1e-6c3e-4a53-8d53-0c9f8a7b6c5d"},
        },
        "nbf": NOW - 600,
        "sub": SUBJECT,
    }
    changed = {**usual, **changes}
    return {name: value for name, value in changed.items() if value is not None}


def add(name, result, token):
    """Adds a token to the file."""
    tokens.append({"name": name, "result": result, "token": token})


good = first.sign(claims())
head, body, signature = good.split(".")
add("good", "ok", good)
add("another token of the same account", "ok", first.sign(claims(jti="another")))
add("second key", "ok", second.sign(claims()))
add("P-256", "ok", p256.sign(claims()))
add("P-384", "ok", p384.sign(claims()))
add("audience as text", "ok", first.sign(claims(aud=AUDIENCE)))
add("one of two audiences", "ok", first.sign(claims(aud=["https://kubernetes.default.svc", AUDIENCE])))
add("expired within the leeway", "ok", first.sign(claims(exp=NOW - 59)))
add("valid in a moment", "ok", first.sign(claims(nbf=NOW + 59)))
add("without nbf", "ok", first.sign(claims(nbf=None)))
add("expires soon", "ok", first.sign(claims(exp=NOW + 600)))

add("expired", "token_expired", first.sign(claims(exp=NOW - 61)))
add("not valid yet", "token_not_yet_valid", first.sign(claims(nbf=FAR - 1)))
add("another audience", "token_audience", first.sign(claims(aud="another")))
add("other audiences", "token_audience", first.sign(claims(aud=["a", "b"])))
add("no audience", "token_audience", first.sign(claims(aud=None)))
add("another issuer", "token_issuer", first.sign(claims(iss="https://issuer.example")))
add("no issuer", "token_issuer", first.sign(claims(iss=None)))
add("no expiry", "token_malformed", first.sign(claims(exp=None)))
add("expiry as text", "token_malformed", first.sign(claims(exp="never")))
add("no subject", "token_malformed", first.sign(claims(sub=None)))
add("another account", "token_unknown_subject", first.sign(claims(sub="system:serviceaccount:training:other")))
add("another namespace", "token_unknown_subject", first.sign(claims(sub="system:serviceaccount:other:scheduler")))
add("a longer name", "token_unknown_subject", first.sign(claims(sub=SUBJECT + ":x")))
add("a user", "token_unknown_subject", first.sign(claims(sub="training:scheduler")))
add("a node", "token_unknown_subject", first.sign(claims(sub="system:node:worker-1")))

unsigned = part({"alg": "none", "kid": first.kid, "typ": "JWT"})
add("algorithm none", "token_algorithm", f"{unsigned}.{body}.")
add("algorithm none with a signature", "token_algorithm", f"{unsigned}.{body}.{signature}")
hs_head = part({"alg": "HS256", "kid": first.kid, "typ": "JWT"})
for name, secret in [("PEM", first.public_pem), ("modulus", first.jwk["n"].encode())]:
    mac = hmac.new(secret, f"{hs_head}.{body}".encode(), "sha256").digest()
    add(f"HMAC with the public key's {name}", "token_algorithm", f"{hs_head}.{body}.{part(mac)}")
add("another algorithm of the same key", "token_algorithm", first.sign(claims(), alg="RS512"))
add("PSS by the same key", "token_algorithm", first.sign(claims(), alg="PS256"))
add("a key of another kind", "token_algorithm", p256.sign(claims(), kid=first.kid))
add("a stranger's key by a known kid", "token_signature", stranger.sign(claims(), kid=first.kid))
add("a stranger's key", "token_unknown_key", stranger.sign(claims()))
add("no kid", "token_unknown_key", first.sign(claims(), kid=None))
add("changed claims", "token_signature", f"{head}.{part(claims(jti='forged'))}.{signature}")
add("cut signature", "token_signature", good[:-2])
add("no signature", "token_signature", f"{head}.{body}.")
add("critical extension", "token_malformed", first.sign(claims(), crit=["b64"], b64=True))
add("no header", "token_malformed", f".{body}.{signature}")
add("header without JSON", "token_malformed", f"{part(b'no JSON')}.{body}.{signature}")
add("padding", "token_malformed", f"{head}==.{body}.{signature}")
add("too long", "token_malformed", first.sign(claims(jti="x" * 8192)))

weak = {"kty": "oct", "k": part(b"secret"), "kid": "symmetric", "alg": "HS256"}
p521 = curve("ES512", "P-521")
file = {
    "issuer": ISSUER,
    "audience": AUDIENCE,
    "now": "2026-11-23T09:09:37Z",
    "key_sets": {
        "first": {"keys": [first.jwk]},
        "second": {"keys": [second.jwk]},
        "all": {"keys": [weak, p521.jwk, first.jwk, second.jwk, p256.jwk, p384.jwk, {"kty": "new", "kid": "x"}]},
    },
    "tokens": tokens,
}
path = Path(__file__).with_suffix(".json")
path.write_text(json.dumps(file, indent=1) + "\n")
