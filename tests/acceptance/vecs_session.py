"""Uses vecs as its users do. Runs in vecs' own environment, so nothing of podroute is here.

Reads JSON objects from stdin, a line each, {url, steps}, and answers each with a line: {results}, what came of each
step, or {error}. A step is {collection, dimension, call, …}: the name of a method of vecs and its arguments.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any

import vecs


def plain(value: Any) -> Any:
    """The value as JSON has it; vecs gives vectors as arrays and records as rows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)) or hasattr(value, "_fields"):
        return [plain(each) for each in value]
    return value


def run(client: vecs.Client, step: dict[str, Any]) -> Any:
    """Does one step."""
    call, name = step.pop("call"), step.pop("collection", None)
    if call == "list_collections":
        return sorted(each.name for each in client.list_collections())
    if call == "create_collection":
        client.create_collection(name, dimension=step["dimension"])
        return None
    collection = client.get_or_create_collection(name, dimension=step.pop("dimension"))
    if call in ("index", "dimension"):
        return getattr(collection, call)
    if call == "count":
        return len(collection)
    for key, kind in (("method", vecs.IndexMethod), ("measure", vecs.IndexMeasure)):
        if key in step:
            step[key] = kind[step[key]]
    if "index_arguments" in step:
        step["index_arguments"] = getattr(vecs, step["index_arguments"][0])(**step["index_arguments"][1])
    return plain(getattr(collection, call)(**step))


def results(asked: dict[str, Any]) -> list[Any]:
    """Connects once and does all steps."""
    client = vecs.create_client(asked["url"])
    try:
        return [run(client, step) for step in asked["steps"]]
    finally:
        client.disconnect()


def main() -> None:
    """Answers until there is no more to read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what vecs prints is no answer
    for line in sys.stdin:
        try:
            answer = {"results": results(json.loads(line))}
        except Exception:  # noqa: BLE001  (whoever asked says what failed)
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
