"""The settings of the admin API: where it listens, and who may call it.

Owns their words and meanings. Which binds need tokens is in `relations`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from bgproxy import model
from bgproxy.config.listener import ListenerTls
from bgproxy.config.settings import Settings, one_of
from bgproxy.config.values import BindAddress, ExactHost, Integer, Name, SecretFromEnv, SecretFromFile, Size

TOKEN_CHARACTERS = 16

_ADMIN = model.Admin()


class AdminToken(Settings):
    model_config = one_of("token_env", "token_file")

    name: Name = Field(description="Who this is, in the history.")
    role: Annotated[model.Role, Field(strict=False)] = Field(
        description="What it may do: `viewer` reads, `operator` also moves traffic, `admin` does everything."
    )
    token_env: SecretFromEnv | None = Field(
        None, description=f"Environment variable with the token, of at least {TOKEN_CHARACTERS} characters."
    )
    token_file: SecretFromFile | None = Field(
        None, description="File with the token; a relative path starts at the configuration file."
    )

    @field_validator("token_env", "token_file")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < TOKEN_CHARACTERS:
            raise ValueError(
                f"leads to a token of less than {TOKEN_CHARACTERS} characters, which can be guessed: "
                "make one with `openssl rand -hex 32`"
            )
        return secret


class Admin(Settings):
    bind: BindAddress = Field(
        _ADMIN.bind, description="Where the admin API listens. Without tokens, loopback or `unix:/path` only."
    )
    tokens: list[AdminToken] = Field([], description="Who may call the admin API.")
    hosts: list[ExactHost] = Field(
        [], description="Names under which it may be called, besides loopback and the bound address."
    )
    tls: ListenerTls | None = Field(None, description="Speak TLS on the admin listener.")
    body: Size = Field(_ADMIN.body_bytes, description="Largest body of a call; 413.")
    requests_per_second: Integer = Field(
        int(_ADMIN.requests_per_s),
        ge=1,
        description="Most calls from one address, with a burst of twice as many; 429.",
    )
