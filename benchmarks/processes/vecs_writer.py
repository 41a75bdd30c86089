"""A process that writes records with vecs as its users do. Runs in vecs' own environment: nothing of podroute here.

Commands: {rows} writes the first so many vectors into an empty collection and answers {seconds}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import vecs
from sqlalchemy.engine import URL

from benchmarks.children import say

COLLECTION = "written_by_vecs"


def main(vectors_file: str, database_file: str) -> None:
    """Connects to the pod that the file describes (host, port, dbname, user …) and obeys until stdin ends."""
    # Lists of floats, as embedding services give them.
    records = [(f"record-{i:08d}", vector.tolist(), {"number": i}) for i, vector in enumerate(np.load(vectors_file))]
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
    say({"ready": True})
    for line in sys.stdin:
        collection = client.get_or_create_collection(name=COLLECTION, dimension=len(records[0][1]))
        rows = records[: json.loads(line)["rows"]]
        began = time.perf_counter()
        collection.upsert(records=rows)
        seconds = time.perf_counter() - began
        client.delete_collection(COLLECTION)
        say({"seconds": seconds})
    client.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
