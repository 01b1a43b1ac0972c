"""Lets a test in another language use the official Python client: `client.py URL`.

Reads one command per line from standard input and writes one or more answers per line to standard output, in JSON:

| command | answers |
|---|---|
| `{"id", "op": "query", "path", "args"}`, the same for `mutation` and `action`, `httpQuery`, ... | one |
| `{"id", "op": "subscribe", "path", "args"}` | one per update |
| `{"id", "op": "unsubscribe", "of"}` | one, the last for the subscription of that id |

An answer has the command's `id` and one of: `value` with its `type`; `convexError` with its `message` and `data`;
`error`, a text. Arguments, values and error data are in Convex's encoded JSON, translated by the client's own code.

Calls run one after another: while the client waits for an answer it lets no other Python code run. Subscriptions are
followed asynchronously, which does not have that effect.
"""

import asyncio
import json
import os
import sys

from convex import ConvexClient, ConvexError, ConvexInt64, convex_to_json, json_to_convex
from convex.http_client import ConvexHttpClient

TYPES = {
    type(None): "Null",
    ConvexInt64: "Int64",
    float: "Float64",
    bool: "Boolean",
    str: "String",
    bytes: "Bytes",
    list: "Array",
    dict: "Object",
}

# The client prints log lines of functions on standard output: let them go where errors go.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(id, content):
    print(json.dumps({"id": id, **content}), file=answers, flush=True)


def answer_value(id, value):
    answer(id, {"value": convex_to_json(value), "type": TYPES.get(type(value), type(value).__name__)})


def answer_error(id, error):
    if isinstance(error, ConvexError):
        answer(id, {"convexError": {"message": str(error), "data": convex_to_json(error.data)}})
    else:
        answer(id, {"error": str(error)})


def call(id, function, path, args):
    try:
        value = function(path, args)
    except Exception as error:
        answer_error(id, error)
    else:
        answer_value(id, value)


async def watch(id, subscription):
    while True:
        try:
            value = await subscription.__anext__()
        except StopAsyncIteration:
            return
        except Exception as error:
            answer_error(id, error)
        else:
            answer_value(id, value)


async def main():
    url = sys.argv[1]
    client = ConvexClient(url)
    http = ConvexHttpClient(url)
    functions = {
        "query": client.query,
        "mutation": client.mutation,
        "action": client.action,
        "httpQuery": http.query,
        "httpMutation": http.mutation,
        "httpAction": http.action,
    }
    watches = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        # The client takes JSON numbers with a fraction only.
        command = json.loads(line, parse_int=float)
        id, op = command["id"], command["op"]
        if op == "unsubscribe":
            subscription, task = watches.pop(command["of"])
            task.cancel()
            subscription.unsubscribe()
            answer_value(id, None)
            continue
        path, args = command["path"], json_to_convex(command["args"])
        if op == "subscribe":
            subscription = client.subscribe(path, args)
            watches[id] = subscription, asyncio.create_task(watch(id, subscription))
        else:
            call(id, functions[op], path, args)


asyncio.run(main())
