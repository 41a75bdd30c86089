"""The configuration: one TOML file, overridden by environment variables. Every default is written here, once.

`PODROUTE_ROUTER__LISTEN` overrides `listen` in `[router]`, `PODROUTE_PODS__DOCS__PASSWORD` gives pod `docs` its
password. Secrets come from files (`password_file`) or the environment (`…__PASSWORD`, `…__DSN`), never from the TOML.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from podroute_router.errors import InvalidArgument
from podroute_router.names import check_pod_name

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]

_PASSWORD_IN_DSN = re.compile(
    r"(?:^|[\s?&])(?:(?:ssl)?password|oauth_client_secret)\s*=|^postgres(?:ql)?://[^/@]*:[^/@]*@", re.IGNORECASE
)


class ConfigError(Exception):
    """The configuration cannot be used; the message names every key at fault."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Login(_Section):
    """Where a password is."""

    password: SecretStr | None = None
    """From the environment only."""
    password_file: Path | None = None
    """File whose first line is the password. While it is changed a second line has the other one."""

    def secret(self) -> str | None:
        """The password, read anew from its file at each call; None where the DSN needs none."""
        return next(iter(self.secrets()), None)

    def secrets(self) -> tuple[str, ...]:
        """The passwords that the database may ask for, in the order in which they are to be tried."""
        if self.password is not None:
            return (self.password.get_secret_value(),)
        if self.password_file is None:
            return ()
        try:
            first, *others = self.password_file.read_text(encoding="utf-8").rstrip("\r\n").splitlines() or [""]
            return (first, *filter(None, others))
        except OSError as error:
            raise ConfigError(f"password_file {self.password_file}: {error.strerror}") from error
        except UnicodeError as error:
            raise ConfigError(f"password_file {self.password_file}: is no UTF-8 text") from error


class Database(_Login):
    """How to reach a PostgreSQL database as an ordinary role."""

    dsn: str = Field(default="", repr=False)
    """Any libpq connection string; several hosts with `target_session_attrs` make an HA cluster one database."""


class Exposures(_Login):
    """How the primary logs in on pods for SQL users."""

    user: Annotated[str, Field(min_length=1)]
    """A login of every pod, a member of podroute_reader."""


class Pod(Database):
    """A pod's addresses, as the router and as the primary reach it, and what an index build may use there."""

    primary_dsn: str = Field(default="", repr=False)
    """How the primary reaches the pod, where that differs from `dsn`. It names no user and no password."""
    on_primary: bool = False
    """True where the pod is the primary database itself; it then has no address of its own."""
    index_memory_mb: Annotated[int, Field(ge=1, le=2_097_151)] | None = None
    """Memory of one index build (`maintenance_work_mem`), in MiB. None leaves the pod's own setting."""
    index_workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Further processes of one index build (`max_parallel_maintenance_workers`). None leaves the pod's own setting."""

    @model_validator(mode="after")
    def _check_address(self) -> Self:
        if self.on_primary and (self.dsn or self.primary_dsn or self.password or self.password_file):
            raise ValueError("a pod on the primary takes the primary's address; give it no dsn and no password")
        if not self.on_primary and not self.dsn:
            raise ValueError("dsn is missing (or set on_primary = true)")
        return self


class Router(_Section):
    """The router process."""

    listen: str = "127.0.0.1:50051"
    """Address and port; port 0 takes a free one."""
    workers: Positive = 1
    """Processes that share the port and the limits per pod; several need Linux. For `podroute serve` alone."""
    admin_listen: str = ""
    """Address and port of `/metrics` and `/healthz`, over HTTP and open to whoever reaches it; empty: none."""
    reflection: bool = True
    """Serve gRPC server reflection, for tools such as grpcurl."""
    state_dir: Path | None = None
    """Folder for the saved shard map. Without it a router needs the catalog at start."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, JSON elsewhere."""
    direct_backend: str = "pgvector"
    """Name of the backend that serves DIRECT."""
    fdw_backend: str = "fdw"
    """Name of the backend that serves FDW."""


class Limits(_Section):
    """Bounds on what one call may ask, and on how much goes on at a time."""

    max_limit: Positive = 1000
    """Largest `limit` of a query."""
    max_records: Positive = 10_000
    """Most records in an upsert, and most ids in a delete or an update of metadata."""
    max_fetch_ids: Positive = 1000
    max_batch_queries: Positive = 100
    """Most queries in a batch."""
    max_message_bytes: Annotated[int, Field(ge=64 * 1024)] = 64 * 1024 * 1024
    """Largest message, in and out."""
    held_bytes: Annotated[int, Field(ge=16 * 1024 * 1024)] = 1024 * 1024 * 1024
    """What the calls in flight of one process may hold: half of it in large requests and answers, half in streams."""
    calls_per_pod: Positive = 256
    """Calls in flight per pod, over both access paths together; one more is refused with RESOURCE_EXHAUSTED."""
    connections_per_pod: Positive = 8
    """Direct connections to each pod."""
    fdw_connections_per_pod: Positive = 4
    """Connections to the primary for each pod; each keeps at most one connection to its pod."""


class Timeouts(_Section):
    """How long things may take."""

    default_s: Seconds = 10.0
    """Deadline of a call whose caller set none."""
    index_s: Seconds = 3600.0
    """The same for building or dropping an index, and for exposing or unexposing a collection."""
    stream_s: Seconds = 3600.0
    """The same for a stream of upserts, each of whose requests has `default_s`, and for a scan, each of whose pages has
    `statement_s`."""
    connect_s: Seconds = 2.0
    """Opening one connection to a database."""
    exact_pass_s: Seconds = 2.0
    """The exact pass of a query whose index stopped short of `limit`."""
    statement_s: Seconds = 60.0
    """A statement whose caller has gone ends on the server after this, should nothing else end it before."""
    queue_s: Seconds = 0.25
    """A call is refused where those that wait for the router before it would take longer than this, and are many."""
    drain_s: Annotated[float, Field(ge=0)] = 0.0
    """After SIGTERM calls are taken for this long yet, while health says NOT_SERVING."""
    shutdown_s: Seconds = 20.0
    """Calls in flight may take this long after SIGTERM."""
    probe_interval_s: Seconds = 1.0
    """Between two probes of a pod that answers."""
    poll_interval_s: Seconds = 10.0
    """Between two looks at the catalog, should a notification be missed."""


class Config(BaseSettings):
    """The whole configuration, immutable."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="PODROUTE_", env_nested_delimiter="__", case_sensitive=False
    )

    router: Router = Router()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    primary: Database | None = None
    catalog: Database | None = None
    exposures: Exposures | None = None
    """None: SQL users come to pods by the router's login."""
    pods: dict[str, Pod] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _check_databases(self) -> Self:
        for name, pod in self.pods.items():
            try:
                check_pod_name(name, f"pods.{name}")
            except InvalidArgument as error:
                raise ValueError(error.message) from error
            if pod.on_primary and self.primary is None:
                raise ValueError(f"pods.{name} is on the primary, and there is no [primary]")
        for section in ("primary", "catalog"):
            database = getattr(self, section)
            if database is not None and not database.dsn:
                raise ValueError(f"{section}.dsn is missing")
        if self.primary is None and self.catalog is None:
            raise ValueError("the catalog needs a database: give [primary] or [catalog] a dsn")
        return self

    @property
    def catalog_database(self) -> Database:
        """The database that holds the catalog: the primary unless configured."""
        database = self.catalog or self.primary
        if database is None:
            raise ConfigError("the catalog needs a database: give [primary] or [catalog] a dsn")
        return database

    def pod_database(self, name: str) -> Database | None:
        """The router's own address of a pod; None where it has none."""
        pod = self.pods.get(name)
        return self.primary if pod is not None and pod.on_primary else pod

    def is_on_primary(self, name: str) -> bool:
        """True where the pod is the primary database itself."""
        pod = self.pods.get(name)
        return pod is not None and pod.on_primary


def load_config(path: Path | None) -> Config:
    """Reads the TOML file, where one is given, and the environment.

    Raises:
        ConfigError: the file cannot be read, holds a secret, or a key is unknown or out of bounds.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
        _refuse_secrets(values, ())
        _anchor_files(values, path.parent)
    return make_config(values, source=str(path or os.environ.get("PODROUTE_CONFIG", "environment")))


def make_config(values: dict[str, Any], *, source: str = "configuration") -> Config:
    """The configuration of these values (the shape of the TOML file) and the environment; raises ConfigError."""
    try:
        return Config(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'configuration'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigError(f"{source}: {problems}") from None


def _refuse_secrets(value: object, where: tuple[str, ...]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "password":
                raise ConfigError(
                    f"{'.'.join((*where, key))}: a secret does not belong in the file; use password_file, or the "
                    f"variable PODROUTE_{'__'.join((*where, key)).upper()}"
                )
            _refuse_secrets(inner, (*where, key))
    elif isinstance(value, str) and where[-1] in ("dsn", "primary_dsn") and _PASSWORD_IN_DSN.search(value):
        raise ConfigError(f"{'.'.join(where)}: holds a password; move it to password_file or the environment")


def _anchor_files(values: dict[str, Any], folder: Path) -> None:
    """Makes relative file names relative to the configuration file."""
    sections = [values.get("primary"), values.get("catalog"), values.get("router"), values.get("exposures")]
    pods = values.get("pods")
    sections += pods.values() if isinstance(pods, dict) else []
    for section in sections:
        if isinstance(section, dict):
            for key in ("password_file", "state_dir"):
                if isinstance(section.get(key), str):
                    section[key] = str(folder / section[key])
