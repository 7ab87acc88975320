"""An identity provider as a process of its own: `python -m tests.oidc_provider PORT`.

It is Authlib's authorization server with OpenID Connect, and stricter than it has to be: one client
with one redirect URI, PKCE with S256, a nonce, each code once. Its sign-in page is a form, on which
a person also says what is to be wrong with the ID token.
"""

import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import AuthorizationCodeMixin
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.identity_provider import CALLBACK, CLIENT_ID, CLIENT_SECRET, FLAWS


@dataclass
class User:
    """A person, and what is to be wrong with their ID token."""

    subject: str
    name: str
    flaw: str


class Client(ClientMixin):  # type: ignore[misc]
    """The only client."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):  # type: ignore[misc]
    """A code that was given out."""

    user: User
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    code: str = ""
    at: int = field(default_factory=lambda: int(time.time()))

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.at


#: Codes that were given out and not used, and every nonce.
CODES: Final[dict[str, Code]] = {}
NONCES: Final[set[str]] = set()
#: How often a token was asked for.
ASKED: Final = {"token": 0}


class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    """The authorization code grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]  # noqa: RUF012

    def save_authorization_code(self, code: str, given: Any) -> None:
        data = given.payload.data
        nonce = data["nonce"]
        NONCES.add(nonce)
        CODES[code] = Code(
            given.user,
            given.payload.redirect_uri,
            given.payload.scope,
            nonce,
            data["code_challenge"],
            data["code_challenge_method"],
            code,
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        CODES.pop(authorization_code.code, None)

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.user


class IdTokens(OpenIDCode):  # type: ignore[misc]
    """ID tokens, good and bad."""

    def __init__(self, issuer: str) -> None:
        super().__init__(require_nonce=True)
        self.issuer = issuer
        self.key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(4)})

    def exists_nonce(self, nonce: str, given: Any) -> bool:
        return nonce in NONCES

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": str(self.key.kid)}

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return self.key

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        return {"iss": self.issuer, "aud": CLIENT_ID, "exp": int(time.time()) + 300}

    def generate_user_info(self, user: User, scope: str) -> dict[str, str]:
        return {"sub": user.subject, "name": user.name}

    def encode_id_token(self, token: dict[str, Any], given: Any) -> str:
        good = str(super().encode_id_token(token, given))
        flaw = given.user.flaw
        if not flaw:
            return good
        header = self.get_encode_header(given.client)
        claims = jwt.decode(good, self.key).claims | FLAWS[flaw]
        claims = {name: value for name, value in claims.items() if value is not None}
        match flaw:
            case "key":
                return str(jwt.encode(header, claims, RSAKey.generate_key(2048)))
            case "algorithm":  # the public key, which everybody knows, as a secret
                secret = OctKey.import_key(self.key.as_pem(private=False))
                return str(jwt.encode(header | {"alg": "HS256"}, claims, secret, ["HS256"]))
            case "unsigned":
                return ".".join([*jwt.encode(header, claims, self.key).split(".")[:2], ""])
        return str(jwt.encode(header, claims, self.key))


def make_app(issuer: str, redirect_uri: str) -> Flask:
    """The provider at an address."""
    app = Flask(__name__)
    client = Client(redirect_uri)
    tokens = IdTokens(issuer)
    server = AuthorizationServer(
        app,
        query_client=lambda name: client if name == CLIENT_ID else None,
        save_token=lambda token, given: None,
    )
    server.register_grant(CodeGrant, [tokens, CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def metadata() -> Response:
        return jsonify(
            issuer=issuer,
            authorization_endpoint=f"{issuer}/authorize",
            token_endpoint=f"{issuer}/token",
            jwks_uri=f"{issuer}/keys",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
            code_challenge_methods_supported=["S256"],
        )

    @app.get("/keys")
    def keys() -> Response:
        public = tokens.key.as_dict(private=False) | {"use": "sig", "alg": "RS256"}
        return jsonify(keys=[public])

    @app.get("/asked")
    def asked() -> Response:
        return jsonify(ASKED)

    @app.get("/authorize")
    def form() -> str:
        """The sign-in page; it sends itself to the same address."""
        return (
            '<!doctype html><title>Provider</title><form method="post"><label>Subject'
            ' <input name="subject"></label><label>Name <input name="name"></label>'
            "<button>Continue</button></form>"
        )

    @app.post("/authorize")
    def authorize() -> Any:
        given = request.form
        if "subject" not in given:  # the person denies it
            user = None
        else:
            user = User(given["subject"], given.get("name", ""), given.get("flaw", ""))
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant=grant, grant_user=user)

    @app.post("/token")
    def token() -> Any:
        ASKED["token"] += 1
        given = CODES.get(request.form.get("code", ""))
        answer = server.create_token_response()
        match given.user.flaw if given and answer.status_code == 200 else "":
            case "no token":
                return jsonify(access_token="x", token_type="Bearer")
            case "huge":
                return jsonify(access_token="x" * 1_000_000, token_type="Bearer")
            case "html":
                return "<h1>Later</h1>"
        return answer

    return app


def main() -> None:
    """Serve until the process is ended."""
    port, client = int(sys.argv[1]), sys.argv[2]
    app = make_app(f"http://127.0.0.1:{port}", client + CALLBACK)
    app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    main()
