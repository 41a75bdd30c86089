"""What the promises are about: a sentence for each subject, and the tests that ask whether it is so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A few promises that belong together.

    Args:
        name: a heading.
        promise: all of them in a sentence or two, with the bounds that they have.
        modules: of the tests that measure them.
    """

    name: str
    promise: str
    modules: tuple[str, ...]


SUBJECTS: Final = (
    Subject(
        name="Deadlines and cancels",
        promise="A call ends within 100 ms of its deadline, whatever hangs. One that is cancelled ends its statement "
        "within a second, leaves nothing behind, and hurts no neighbour.",
        modules=("test_deadlines", "test_pods_in_trouble", "test_cancels"),
    ),
    Subject(
        name="Bulkheads",
        promise="A frozen pod takes nothing from the others: no error, p99 at most 1.2 times what it was. Calls and "
        "connections of a pod keep to one budget over both paths.",
        modules=("test_bulkheads",),
    ),
    Subject(
        name="Breaker and recovery",
        promise="A dead pod fails calls within 50 ms once that is known, is probed at a bounded rate, and serves "
        "within 2 s of being back.",
        modules=("test_breaker", "test_refused"),
    ),
    Subject(
        name="Failover to FDW",
        promise="AUTO goes by FDW where the direct way is cut, and back: 99.9 % served at least. What was sent is not "
        "sent again.",
        modules=("test_failover",),
    ),
    Subject(
        name="Durability",
        promise="Whatever is killed, no acknowledged write is lost, nothing is read that nobody wrote, and what may "
        "have been written is said to be of unknown outcome.",
        modules=("test_durability", "test_late_writes"),
    ),
    Subject(
        name="Catalog and shard map",
        promise="Reads and writes go on while the catalog is down, and a router starts from the map it saved. No call "
        "reaches a wrong pod or table while the map changes.",
        modules=("test_catalog_down", "test_map_changes"),
    ),
    Subject(
        name="Restarts",
        promise="Routers restarted one by one fail no call. A killed worker fails its own clients' calls, and no "
        "other's.",
        modules=("test_rolling_restart",),
    ),
    Subject(
        name="Overload",
        promise="At three times what a router can serve it serves 90 % of its peak, refuses the rest within 20 ms, "
        "and its memory stays bounded.",
        modules=("test_overload", "test_pod_overload", "test_slow_readers"),
    ),
    Subject(
        name="Network faults",
        promise="Of the 25 calls after a fault of any line fewer than 3 fail, and deadlines are kept meanwhile.",
        modules=("test_network",),
    ),
    Subject(
        name="Conflicts",
        promise="Writers on the same records all succeed, within 10 s.",
        modules=("test_conflicts",),
    ),
    Subject(
        name="Soak",
        promise="Memory, descriptors, sessions, prepared statements and tasks do not grow.",
        modules=("test_soak",),
    ),
    Subject(
        name="Bad input",
        promise="Nothing that is sent crashes a router, ends UNKNOWN or INTERNAL, or brings SQL or an address to "
        "light; both paths answer it alike.",
        modules=("test_bad_input_at_volume",),
    ),
    Subject(
        name="Secrets",
        promise="No output, log, error or table holds a password, and a password is changed without a failed call.",
        modules=("test_secrets", "test_password_rotation"),
    ),
)


def subject_of(module: str) -> str:
    """The name of the subject that a module's promises belong to; raises LookupError where it has none yet."""
    for subject in SUBJECTS:
        if module in subject.modules:
            return subject.name
    raise LookupError(f"tests/chaos/subjects.py has no subject for {module}")
