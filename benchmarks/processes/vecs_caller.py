"""A process with one caller that uses vecs as its users do. Runs in vecs' own environment: nothing of podroute here.

Commands: {} answers every query once with {ids}; {first, window} puts load on and answers {seconds}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import vecs
from sqlalchemy.engine import URL

from benchmarks.children import say
from benchmarks.closed_loop import Window

EF_SEARCH = 40


def main(queries_file: str, database_file: str) -> None:
    """Connects to the pod that the file describes (host, port, dbname, user …) and obeys until stdin ends."""
    # Lists of floats, as embedding services give them.
    queries = [query.tolist() for query in np.load(queries_file)]
    database = json.loads(Path(database_file).read_text(encoding="utf-8"))
    url = URL.create(
        "postgresql+psycopg2",
        username=database["user"],
        password=Path(database["password_file"]).read_text(encoding="utf-8").strip(),
        host=database["host"],
        port=int(database["port"]),
        database=database["dbname"],
    )
    client = vecs.create_client(url.render_as_string(hide_password=False))
    collection = client.get_or_create_collection(name=database["table"], dimension=len(queries[0]))

    def call(number: int) -> list[tuple[str, float]]:
        found: list[tuple[str, float]] = collection.query(
            data=queries[number % len(queries)],
            limit=database["limit"],
            measure="cosine_distance",
            include_value=True,
            ef_search=EF_SEARCH,
        )
        return found

    call(0)
    say({"ready": True})
    for line in sys.stdin:
        command = json.loads(line)
        if "window" in command:
            say({"seconds": Window(*command["window"]).timed(call, command["first"])})
        else:
            say({"ids": [[row[0] for row in call(number)] for number in range(len(queries))]})
    client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
