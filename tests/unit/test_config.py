"""One TOML file, overridden by the environment; secrets by file or environment only."""

from __future__ import annotations

from pathlib import Path

import pytest
from podroute_router.config import ConfigError, load_config, make_config

PRIMARY = 'dsn = "host=127.0.0.1 dbname=app user=podroute"'


def write(folder: Path, text: str) -> Path:
    path = folder / "podroute.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_pod_on_the_primary_takes_its_address(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, f"[primary]\n{PRIMARY}\n[pods.main]\non_primary = true"))
    assert config.pod_database("main") is config.primary
    assert config.is_on_primary("main")
    assert config.catalog_database is config.primary


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODROUTE_ROUTER__LISTEN", "127.0.0.1:1234")
    monkeypatch.setenv("PODROUTE_PODS__DOCS__PASSWORD", "s3cret")
    config = load_config(
        write(tmp_path, f'[router]\nlisten = "127.0.0.1:1"\n[primary]\n{PRIMARY}\n[pods.docs]\ndsn = "host=x"')
    )
    assert config.router.listen == "127.0.0.1:1234"
    assert config.pods["docs"].secret() == "s3cret"
    assert config.pods["docs"].dsn == "host=x"


def test_a_password_file_is_read_anew_and_found_beside_the_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one\n", encoding="utf-8")
    config = load_config(write(tmp_path, f'[primary]\n{PRIMARY}\npassword_file = "password"'))
    assert config.catalog_database.secret() == "one"
    secret.write_text("two", encoding="utf-8")
    assert config.catalog_database.secret() == "two"
    assert config.catalog_database.secrets() == ("two",)


def test_a_password_file_may_have_a_second_password_while_it_is_changed(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("one\r\ntwo\n\n", encoding="utf-8")
    database = load_config(write(tmp_path, f'[primary]\n{PRIMARY}\npassword_file = "password"')).catalog_database
    assert (database.secret(), database.secrets()) == ("one", ("one", "two"))
    secret.write_text("", encoding="utf-8")
    assert database.secret() == ""


def test_sql_users_may_have_a_login_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sql_password").write_text("of sql users\n", encoding="utf-8")
    text = f'[primary]\n{PRIMARY}\n[exposures]\nuser = "podroute_sql"\npassword_file = "sql_password"'
    exposures = load_config(write(tmp_path, text)).exposures
    assert exposures is not None
    assert (exposures.user, exposures.secret()) == ("podroute_sql", "of sql users")
    monkeypatch.setenv("PODROUTE_EXPOSURES__USER", "another")
    monkeypatch.setenv("PODROUTE_EXPOSURES__PASSWORD", "s3cret")
    exposures = load_config(write(tmp_path, text)).exposures
    assert exposures is not None
    assert (exposures.user, exposures.secret()) == ("another", "s3cret")


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODROUTE_PRIMARY__PASSWORD", "s3cret")
    monkeypatch.setenv("PODROUTE_PODS__DOCS__DSN", "host=x password=hunter2")
    config = make_config({"primary": {"dsn": "host=y"}})
    assert "s3cret" not in f"{config!r} {config}"
    assert "hunter2" not in f"{config!r} {config}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'[primary]\n{PRIMARY}\npassword = "x"', "primary.password: a secret does not belong in the file"),
        ('[primary]\ndsn = "host=x password=y"', "primary.dsn: holds a password"),
        ('[primary]\ndsn = "postgresql://u:p@x/y"', "primary.dsn: holds a password"),
        ('[primary]\ndsn = "host=x sslkey=k sslpassword=y"', "primary.dsn: holds a password"),
        ('[primary]\ndsn = "host=x oauth_client_secret = y"', "primary.dsn: holds a password"),
        (f'[primary]\n{PRIMARY}\n[pods.a]\nprimary_dsn = "postgresql://x/y?password=z"', "pods.a.primary_dsn: holds a"),
        (f"[primary]\n{PRIMARY}\n[pods.a]", "pods.a: dsn is missing"),
        (f'[primary]\n{PRIMARY}\n[pods.A-b]\ndsn = "host=x"', "pods.A-b: must be 1 to 32"),
        (f'[primary]\n{PRIMARY}\n[pods.a]\ndsn = "host=x"\non_primary = true', "pods.a: a pod on the primary takes"),
        ('[pods.a]\ndsn = "host=x"', "the catalog needs a database"),
        ('[catalog]\ndsn = "host=x"\n[pods.a]\non_primary = true', "pods.a is on the primary, and there is no"),
        (f"[primary]\n{PRIMARY}\n[limits]\nmax_limit = 0", "limits.max_limit: Input should be greater than"),
        (f"[primary]\n{PRIMARY}\n[limits]\nmax_limits = 5", "limits.max_limits: Extra inputs are not permitted"),
        (f"[primary]\n{PRIMARY}\n[timeouts]\ndefault_s = -1", "timeouts.default_s: Input should be greater than"),
        ("[primary", "podroute.toml: "),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml")
    config = make_config({"primary": {"dsn": "host=x", "password_file": str(tmp_path / "gone")}})
    with pytest.raises(ConfigError, match="gone"):
        config.catalog_database.secret()
