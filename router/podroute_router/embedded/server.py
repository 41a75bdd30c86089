"""One real PostgreSQL server on 127.0.0.1, a child of this process."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from podroute_router.embedded import launch, processes
from podroute_router.embedded.account import Account, credentials
from podroute_router.embedded.binaries import Installation
from podroute_router.embedded.errors import ServerFailed, StateFolderInUse
from podroute_router.embedded.ports import LOOPBACK, free_port, is_free
from podroute_router.embedded.settings import configuration_file

ADMINISTRATOR = "postgres"

_INITDB_TIMEOUT_S = 120.0
_LEFTOVER_TIMEOUT_S = 10.0
_QUIT_TIMEOUT_S = 5.0
_PORT_ATTEMPTS = 3
_LOG_TAIL_LINES = 20
_LOG_BYTES = 16 * 1024 * 1024
_INHERITED = ("PATH", "TZ", "TZDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Server:
    """A server with its data, log and port below one folder.

    On Linux it shuts down by itself when the *thread* that called `launch` (or `start`) ends, however it ends: call
    them from the main thread, or from another one that outlives the server.

    Args:
        name: what messages call it.
        folder: existing folder, which the account can enter; the data goes into `data` there.
        installation: the programs.
        account: runs the server; None is our own account.
        password: of the superuser `postgres`; set when the data is made.
        database: made where it is missing.
        locale: a libc locale for the whole server; None takes one that sorts by code point.
        environment: variables for the server's processes, such as LOCPATH; little is inherited.
        settings: of postgresql.conf.
        fsync: False trades the data's safety in a power failure for speed.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        installation: Installation,
        account: Account | None = None,
        password: str,
        database: str = "postgres",
        locale: str | None = None,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        fsync: bool = True,
    ) -> None:
        self.name = name
        self.folder = folder.resolve()
        self.data_dir = self.folder / "data"
        self.log_file = self.folder / "server.log"
        self.database = database
        self._installation = installation
        self._account = account
        self._password = password
        self._locale = locale
        self._environment = dict(environment or {})
        self._settings = dict(settings or {})
        self._fsync = fsync
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __repr__(self) -> str:
        return f"Server(name={self.name!r}, folder={str(self.folder)!r}, port={self._port}, running={self.is_running})"

    @property
    def port(self) -> int:
        """The TCP port, the same at every start unless another program took it."""
        if self._port is None:
            raise ServerFailed(f"server {self.name} was never started")
        return self._port

    @property
    def pid(self) -> int:
        """The id of the server's first process, the postmaster."""
        if self._process is None or self._process.poll() is not None:
            raise ServerFailed(f"server {self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True while the postmaster runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def conninfo(self, user: str, dbname: str | None = None) -> str:
        """A libpq connection string without a password; dbname defaults to the server's database."""
        return make_conninfo(host=LOOPBACK, port=self.port, user=user, dbname=dbname or self.database)

    def admin_conninfo(self, dbname: str = "postgres") -> str:
        """A libpq connection string of the superuser, password included."""
        return make_conninfo(self.conninfo(ADMINISTRATOR, dbname), password=self._password)

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines that the server logged since its last start."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(self._log_start)
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def start(self, timeout_s: float = 30.0) -> None:
        """Makes the data where there is none, starts the server and waits until it serves.

        Raises:
            ServerFailed: it did not, in time or at all.
            StateFolderInUse: a server already runs on this data.
        """
        self.initialize()
        self.launch()
        self.wait_ready(timeout_s)

    def initialize(self) -> None:
        """Makes the data, whole or not at all, where there is none. May be called from any thread."""
        if (self.data_dir / "PG_VERSION").exists():
            return
        fresh = self.folder / "data.new"
        password_file = self.folder / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        fresh.mkdir(mode=0o700)
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self._password + "\n")
            if self._account is not None:
                for path in (fresh, password_file):
                    os.chown(path, self._account.uid, self._account.gid)
            self._initdb(fresh, password_file)
        finally:
            password_file.unlink()
        fresh.rename(self.data_dir)

    def launch(self) -> None:
        """Starts the postmaster and returns at once; `wait_ready` follows."""
        if self.is_running:
            raise ServerFailed(f"server {self.name} is already running")
        self._clear_leftovers()
        self._choose_port()
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "cluster_name": self.name,
            "lc_messages": "C",
            "logging_collector": "off",
            "log_destination": "stderr",
            # Commits stay synchronous: what was acknowledged survives `kill` either way.
            **({} if self._fsync else {"fsync": "off", "full_page_writes": "off"}),
            **self._settings,
        }
        configuration = self.folder / "postgresql.conf"
        configuration.write_text(configuration_file(self.data_dir / "postgresql.conf", settings), encoding="utf-8")
        configuration.chmod(0o644)
        account = self._account
        command = [
            *(sys.executable, "-I", "-S", launch.__file__, str(os.getpid())),
            *((str(account.uid), str(account.gid)) if account else ("-1", "-1")),
            *(str(self._installation.bin_dir / "postgres"), "-D", str(self.data_dir)),
            *("-c", f"config_file={configuration}"),
        ]
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > _LOG_BYTES:
                self.log_file.replace(self.log_file.with_suffix(".log.old"))
        # In a session of its own, so that Ctrl-C in a terminal is for us alone.
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            self._log_start = os.fstat(descriptor).st_size
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._child_environment(),
                start_new_session=True,
            )

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Waits until the superuser can log in, and makes the database where it is missing.

        Raises:
            ServerFailed: the server ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        attempts = 1
        while True:
            if not self.is_running:
                if "could not create any TCP/IP sockets" not in self.log_tail() or attempts == _PORT_ATTEMPTS:
                    raise ServerFailed(f"server {self.name} did not start; its log ends:\n{self.log_tail()}")
                attempts += 1
                self.launch()
            try:
                with psycopg.connect(self.admin_conninfo(), autocommit=True, connect_timeout=2) as connection:
                    if self._is_ours(connection):
                        self._create_database(connection)
                        return
            except psycopg.OperationalError as error:
                problem = str(error).strip()
            else:
                problem = f"another server answers on port {self.port}"
            refused = "password authentication failed" in problem
            # Refused by another server on our port? Then ours ends at once.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._postmaster().wait(1.0 if refused else 0.02)
            if refused and self.is_running:
                raise ServerFailed(f"server {self.name}: the data in {self.data_dir} has another password than we know")
            if time.monotonic() >= deadline:
                raise ServerFailed(
                    f"server {self.name} did not serve within {timeout_s:g} s: {problem}; "
                    f"its log ends:\n{self.log_tail()}"
                )

    def begin_stop(self) -> None:
        """Asks for a fast shutdown (sessions are ended, nothing is lost) and returns at once."""
        if self._process is not None and self._process.poll() is None:
            self._thaw(self._process.pid)
            self._process.send_signal(signal.SIGINT)

    def stop(self, timeout_s: float = 20.0) -> None:
        """Stops the server, by force where it does not within the time. A stopped server is left as it is."""
        self.begin_stop()
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(_QUIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends all of the server's processes at once (SIGKILL), and waits until they and the port are gone."""
        postmaster = self._postmaster()
        pid = self.pid
        # Stopped first: it must not fork while its children are counted, nor see them die.
        self._freeze_one(pid)
        backends = processes.children(pid)
        for process in (pid, *backends):
            self._signal(process, signal.SIGKILL)
        postmaster.wait()
        left = processes.wait_gone(backends, _QUIT_TIMEOUT_S)
        if left or not is_free(self.port):
            raise ServerFailed(f"server {self.name} was killed, but processes {left} or port {self.port} are left")

    def freeze(self) -> None:
        """Stops every process of the server where it is (SIGSTOP): connections stay open, and nothing answers."""
        self._freeze_one(self.pid)
        for backend in processes.children(self.pid):
            self._freeze_one(backend)

    def thaw(self) -> None:
        """Lets a frozen server go on."""
        self._thaw(self.pid)

    def _thaw(self, pid: int) -> None:
        for process in (*processes.children(pid), pid):
            self._signal(process, signal.SIGCONT)

    def _postmaster(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerFailed(f"server {self.name} is not running")
        return self._process

    def _initdb(self, data_dir: Path, password_file: Path) -> None:
        if self._locale is not None:
            locale = ["--locale-provider=libc", f"--locale={self._locale}"]
        elif self._installation.major >= 17:
            locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale"]
        else:
            locale = ["--no-locale"]
        outcome = subprocess.run(
            [
                self._installation.bin_dir / "initdb",
                *("-D", data_dir, "-U", ADMINISTRATOR, f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", *locale, "--no-instructions"),
                *(() if self._fsync else ("--no-sync",)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=self._child_environment(),
            timeout=_INITDB_TIMEOUT_S,
            check=False,
            **credentials(self._account),
        )
        if outcome.returncode != 0:
            said = outcome.stdout.decode(errors="replace").strip()
            raise ServerFailed(f"initdb of server {self.name} failed:\n{said}")

    def _child_environment(self) -> dict[str, str]:
        # Neither our secrets nor PG* variables of the user's are for the server.
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | self._environment

    def _clear_leftovers(self) -> None:
        """Waits for a server of a process that has just died, refuses a live one, and forgets a dead one."""
        pid_file = self.data_dir / "postmaster.pid"
        deadline = time.monotonic() + _LEFTOVER_TIMEOUT_S
        while (pid := _recorded_pid(pid_file)) is not None and str(self.data_dir) in processes.command_line(pid):
            if time.monotonic() >= deadline:
                raise StateFolderInUse(f"{self.data_dir} is in use: process {pid} is a server on it")
            time.sleep(0.02)
        # PostgreSQL would take any process that got the dead one's id since (in a container: soon) for that server.
        pid_file.unlink(missing_ok=True)

    def _choose_port(self) -> None:
        memory = self.folder / "port"
        if self._port is None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                self._port = int(memory.read_text(encoding="ascii"))
        if self._port is None or not is_free(self._port):
            self._port = free_port()
            memory.write_text(f"{self._port}\n", encoding="ascii")

    def _is_ours(self, connection: psycopg.Connection) -> bool:
        row = connection.execute("select current_setting('data_directory')").fetchone()
        return row is not None and Path(row[0]) == self.data_dir

    def _create_database(self, connection: psycopg.Connection) -> None:
        if connection.execute("select from pg_database where datname = %s", [self.database]).fetchone() is None:
            connection.execute(
                sql.SQL("create database {} template template0 encoding 'UTF8'").format(sql.Identifier(self.database))
            )

    def _freeze_one(self, pid: int) -> None:
        self._signal(pid, signal.SIGSTOP)
        deadline = time.monotonic() + _QUIT_TIMEOUT_S
        while (process := processes.running().get(pid)) is not None and process.state != "T":
            if time.monotonic() >= deadline:
                raise ServerFailed(f"process {pid} of server {self.name} does not stop")
            time.sleep(0.001)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def new_password() -> str:
    """A password that nobody guesses, of letters that need no quoting."""
    return secrets.token_urlsafe(24)


def _recorded_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text(encoding="utf-8").splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
