"""Every setting of the server, once: as a flag, an environment variable and a key of a TOML file.

A value is taken from the first of: command-line flag, `WIDEDEEP_<NAME>`, the TOML file named by `--config` (or
`WIDEDEEP_CONFIG`), the default. Lists of pairs are written `MEMBER=PROVIDER,PROVIDER;MEMBER=...` in flags and
variables and as a table in TOML. Empty variables count as not set; variables that name no setting are ignored, since
container platforms add some of their own, but an unknown key in the file is refused.
"""

import argparse
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from .contract.errors import ConfigurationError

CONFIG_VARIABLE = "WIDEDEEP_CONFIG"
_MIB = 1 << 20
_INT32_MAX = (1 << 31) - 1
"""gRPC options and the protocol's `max_batch_size` are 32 bits wide."""
_HOUR_S = 3600
"""Longer waits are mistakes; clocks overflow at some of them."""


def _pairs(value: object) -> object:
    """Read `MEMBER=A,B;MEMBER=C`; a part without `=` is for every member. In a table, "A,B" stands for ["A", "B"]."""
    if isinstance(value, str):
        parts = (part.rpartition("=") for part in value.split(";") if part)
        value = {member.strip(): providers for member, _, providers in parts}
    if isinstance(value, Mapping):
        return {member: _names(names) if isinstance(names, str) else names for member, names in value.items()}
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def default_cache_dir() -> str:
    """Return `$XDG_CACHE_HOME/widedeep`, else `~/.cache/widedeep`; empty for a user without a home.

    Source: XDG Base Directory Specification, which has relative values ignored.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return str((base if base.is_absolute() else Path.home() / ".cache") / "widedeep")
    except RuntimeError:
        return ""


class _Environment(EnvSettingsSource):
    """Variables, without the `WIDEDEEP_PORT=tcp://...` that Kubernetes sets beside a service named `widedeep`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, key, is_complex = super().get_field_value(field, field_name)
        is_link = isinstance(value, str) and value.startswith("tcp://")
        return None if is_link else value, key, is_complex


class ServeSettings(BaseSettings):
    """Settings of `widedeep serve`; field names are the flags, with dashes."""

    model_config = SettingsConfigDict(env_prefix="WIDEDEEP_", env_ignore_empty=True, extra="forbid", frozen=True)

    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104 - a server in a container must
    port: int = Field(8001, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$",
        description="name to serve one bundle under (default: the model folder or bundle.json)",
    )
    max_batch_rows: int = Field(256, ge=1, description="rows executed together at most; longer requests are split")
    max_queue_delay_us: int = Field(
        0, ge=0, le=_HOUR_S * 1_000_000, description="microseconds that a batch waits for more rows"
    )
    max_queue_rows: int = Field(65536, ge=1, description="rows that may wait for a model before calls are refused")
    max_queue_calls: int = Field(1024, ge=0, description="calls that may wait for a handler before calls are refused")
    max_request_rows: int = Field(1 << 20, ge=1, le=_INT32_MAX, description="rows of one request at most")
    max_message_bytes: int = Field(
        64 * _MIB, ge=1024, le=_INT32_MAX, description="size of one message at most, either way"
    )
    front_end: Literal["auto", "grpcio", "native"] = Field(
        "auto",
        description="what speaks HTTP/2: `native` (needs widedeep[native]), `grpcio`, or the first that is there",
    )
    handler_threads: int = Field(
        0, ge=0, description="inference calls that grpcio handles at once; 0 means four a core, and at least 16"
    )
    versions: int = Field(1, ge=1, description="newest versions of each model that are served")
    max_streams: int = Field(64, ge=1, description="ModelStreamInfer calls open at once")
    workers: int = Field(
        1,
        ge=1,
        le=512,
        description="processes that share the port, the cores and the limits and look like one server",
    )
    cores: int = Field(0, ge=0, description="cores used for inference; 0 means all that the process may use")
    providers: Annotated[dict[str, tuple[str, ...]], NoDecode, BeforeValidator(_pairs)] = Field(
        default={},
        description="onnxruntime execution providers: `CUDAExecutionProvider` for all members or "
        "`MEMBER=CUDAExecutionProvider;OTHER=CPUExecutionProvider`",
    )
    provider_fallback: bool = Field(default=False, description="use CPU, with a warning, where a provider is missing")
    allow_model_control: bool = Field(default=False, description="allow RepositoryModelLoad and RepositoryModelUnload")
    drain_wait_s: float = Field(
        1.0,
        ge=0,
        le=_HOUR_S,
        allow_inf_nan=False,
        description="seconds between turning not ready and refusing new calls",
    )
    grace_s: float = Field(
        30.0, ge=0, le=_HOUR_S, allow_inf_nan=False, description="seconds that calls in flight may take when stopping"
    )
    cache_dir: str = Field(
        default_factory=default_cache_dir,
        description="folder of this user alone that keeps measured plans and optimised graphs between starts; "
        "empty to keep nothing",
    )
    tls_cert: str = Field("", description="PEM file of the server's certificate and its chain; re-read when it changes")
    tls_key: str = Field("", description="PEM file of the certificate's private key")
    tls_client_ca: str = Field(
        "", description="PEM file of the authorities of client certificates; with it, every client must have one"
    )
    tokens: str = Field(
        "", description="file of the SHA-256 digests of bearer tokens that calls must carry; re-read when it changes"
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        le=24 * _HOUR_S,
        allow_inf_nan=False,
        description="seconds after which connections are renewed, so that clients find new servers; 0 keeps them",
    )
    metrics: bool = Field(default=True, description="serve metrics, HTTP health and the status page")
    metrics_host: str = Field("", description="address to serve those on (default: the value of host)")
    metrics_port: int = Field(8002, ge=0, le=65535, description="port to serve those on; 0 picks a free one")
    poll_interval_s: float = Field(
        0.0,
        ge=0,
        le=_HOUR_S,
        allow_inf_nan=False,
        description="seconds between looks for new versions and models in the repository; 0 looks only at the start",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe log line shown")
    log_format: Literal["text", "json"] = Field("text", description="a line for people, or one JSON object a line")
    log_calls: bool = Field(default=False, description="log every inference call, not only those that fail")
    tracing: bool = Field(
        default=False, description="send OpenTelemetry traces, as OTEL_* variables say (needs widedeep[tracing])"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, TOML file."""
        toml = TomlConfigSettingsSource(settings_cls, cls.model_config.get("toml_file"))
        return init_settings, _Environment(settings_cls), toml

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser, only: Collection[str] = ()) -> None:
        """Add one flag a setting, or for some of them; flags left out do not appear in the parsed namespace."""
        for name, field in cls.model_fields.items():
            if only and name not in only:
                continue
            flag = "--" + name.replace("_", "-")
            if field.annotation is bool:
                parser.add_argument(
                    flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=field.description
                )
            else:
                value = field.get_default(call_default_factory=True)
                default = f" (default: {value})" if value not in ("", {}) else ""
                parser.add_argument(
                    flag, metavar=_metavar(name), default=argparse.SUPPRESS, help=f"{field.description}{default}"
                )

    @classmethod
    def load(cls, flags: Mapping[str, Any], config: Path | None = None) -> Self:
        """Merge flags, environment and TOML file.

        Raises:
            ConfigurationError: a value is out of range, a setting unknown or the file no TOML; names it.
        """
        if config is not None and not config.is_file():
            raise ConfigurationError(f"configuration file {config} does not exist")
        source = type(cls.__name__, (cls,), {"model_config": SettingsConfigDict(toml_file=config)})
        try:
            return source(**flags)  # type: ignore[no-any-return]  # a subclass made above
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"configuration file {config} cannot be read: {error}") from error
        except ValidationError as error:
            raise ConfigurationError(_problems(error.errors())) from error


def _metavar(name: str) -> str:
    return name.rsplit("_", maxsplit=1)[-1].upper()


def _problems(errors: Sequence[Any]) -> str:
    return "; ".join(f"setting {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in errors)
