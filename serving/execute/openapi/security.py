"""What an operation's security asks for, filled with the secrets that the operator gives to the document's schemes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grammars.errors import ConfigurationError
from serving.execute.guarded_transport import Credentials
from serving.execute.openapi.document import Document
from serving.execute.openapi.operations import Operation
from serving.execute.secret import Secret


def credentials_of(document: Document, operation: Operation, secrets: Mapping[str, Secret]) -> Credentials:
    """The credentials for an operation: of its alternatives the first for which all secrets are given.

    Raises `ConfigurationError`, naming the schemes, if there is none.
    """
    if not operation.security:
        return Credentials()
    for alternative in operation.security:
        if all(name in secrets for name in alternative):
            headers: dict[str, Secret] = {}
            query: dict[str, Secret] = {}
            cookies: dict[str, Secret] = {}
            places = {"header": headers, "query": query, "cookie": cookies}
            for name in alternative:
                place, key, secret = placed(scheme_named(document, name), secrets[name])
                places[place][key] = secret
            return Credentials(headers=headers, query=query, cookies=cookies)
    wanted = " or ".join(" and ".join(map(repr, alternative)) for alternative in operation.security)
    raise ConfigurationError(f"{document.name}: the operation {operation.name!r} needs a secret for {wanted}")


def scheme_named(document: Document, name: str) -> Mapping[str, Any]:
    schemes = document.root.get("components", {}).get("securitySchemes", {})
    if name not in schemes:
        raise ConfigurationError(f"{document.name}: there is no security scheme {name!r}")
    scheme: Mapping[str, Any] = document.resolved(schemes[name])
    return scheme


def placed(scheme: Mapping[str, Any], secret: Secret) -> tuple[str, str, Secret]:
    """Where the secret of a scheme stands in a request, under which name, and in which form.

    `basic` wants the secret `user:password`; OAuth and OpenID Connect want an access token, which is not renewed here.
    """
    kind = scheme["type"]
    if kind == "apiKey":
        return scheme["in"], scheme["name"], secret
    if kind == "http" and scheme["scheme"].lower() == "basic":
        return "header", "Authorization", secret.sent_as("Basic ", base64=True)
    if kind in ("oauth2", "openIdConnect") or (kind == "http" and scheme["scheme"].lower() == "bearer"):
        return "header", "Authorization", secret.sent_as("Bearer ")
    raise ConfigurationError(f"security schemes of type {kind!r} are not known here")
