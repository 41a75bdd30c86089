"""What can go wrong with embedded servers, told to the person who started them.

EmbeddedError
├── BinariesMissing     no usable PostgreSQL programs
├── StateFolderInUse    another process runs servers from this folder
└── ServerFailed        a server did not start or stop as asked
"""


class EmbeddedError(Exception):
    """An embedded server cannot do what was asked; the message says what to do."""


class BinariesMissing(EmbeddedError):
    """No usable PostgreSQL programs."""


class StateFolderInUse(EmbeddedError):
    """Another process runs servers from this folder."""


class ServerFailed(EmbeddedError):
    """A server did not start or stop as asked; the message ends with the tail of its log."""
