"""Lets a test in another language use the official Python client: `client.py URL`.

Reads one command per line from standard input and writes one or more answers per line to standard output, in JSON:

| command | answers |
|---|---|
| `{"id", "op": "query", "path", "args"}`, the same for `mutation` and `action`, `httpQuery`, ... | one |
| `{"id", "op": "subscribe", "path", "args"}` | one per update |
| `{"id", "op": "unsubscribe", "of"}` | one, the last for the subscription of that id |

An answer has the command's `id` and one of: `value` with its `type`; `convexError` with its `message` and `data`;
`error`, a text. Arguments, values and error data are in Convex's encoded JSON, translated by the client's own code.
Commands run side by side, each in a thread of its own.
"""

import json
import sys
import threading

from convex import ConvexClient, ConvexError, ConvexInt64, convex_to_json, json_to_convex
from convex.http_client import ConvexHttpClient

output = threading.Lock()


def answer(id, content):
    with output:
        print(json.dumps({"id": id, **content}), flush=True)


def report(id, call):
    """Answers with the result of `call`; says whether it had one."""
    try:
        value = call()
    except ConvexError as error:
        answer(id, {"convexError": {"message": str(error), "data": convex_to_json(error.data)}})
    except StopIteration:
        return False
    except Exception as error:
        answer(id, {"error": str(error)})
    else:
        answer(id, {"value": convex_to_json(value), "type": type_name(value)})
    return True


def type_name(value):
    names = {
        type(None): "Null",
        ConvexInt64: "Int64",
        float: "Float64",
        bool: "Boolean",
        str: "String",
        bytes: "Bytes",
        list: "Array",
        dict: "Object",
    }
    return names.get(type(value), type(value).__name__)


def watch(id, subscription):
    while report(id, subscription.__next__):
        pass


def main():
    url = sys.argv[1]
    client = ConvexClient(url)
    http = ConvexHttpClient(url)
    calls = {
        "query": client.query,
        "mutation": client.mutation,
        "action": client.action,
        "httpQuery": http.query,
        "httpMutation": http.mutation,
        "httpAction": http.action,
    }
    subscriptions = {}
    for line in sys.stdin:
        command = json.loads(line)
        id, op = command["id"], command["op"]
        if op == "unsubscribe":
            subscriptions.pop(command["of"]).unsubscribe()
            answer(id, {"value": None, "type": "Null"})
            continue
        path, args = command["path"], json_to_convex(command["args"])
        if op == "subscribe":
            subscriptions[id] = client.subscribe(path, args)
            work = threading.Thread(target=watch, args=(id, subscriptions[id]), daemon=True)
        else:
            call = calls[op]
            work = threading.Thread(
                target=report, args=(id, lambda call=call, path=path, args=args: call(path, args)), daemon=True
            )
        work.start()


main()
