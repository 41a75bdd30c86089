"""A folder for a cluster, and one server that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from collation import dictionary_locale
from podroute_router.embedded import (
    Server,
    find_installation,
)
from podroute_router.embedded.account import server_account

from .harness import open_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server, of a collation that is not C; every test leaves it running."""
    account = server_account()
    with open_folder() as folder, dictionary_locale() as locale:
        shared = Server(
            "shared",
            folder,
            installation=find_installation(account=account),
            account=account,
            password="quite a secret",
            database="it's here",
            locale=locale.name,
            environment=locale.environment,
            settings={"shared_buffers": "16MB", "application_name": r"it's a \ test"},
            fsync=False,
        )
        shared.start()
        try:
            yield shared
        finally:
            shared.stop()
