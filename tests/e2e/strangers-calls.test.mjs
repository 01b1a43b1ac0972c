// What strangers can do with the functions of an app to a server with 1 GB of memory: sleep, fetch, loop, eat, and have
// much kept. `lib/strangers.mjs` asserts for all of them that memory is bounded and an innocent client is served in time.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Socket } from "./lib/socket.mjs";
import { begin, endure } from "./lib/strangers.mjs";
import { until, within } from "./lib/wait.mjs";

const MIB = 1 << 20;
const ANSWER_MS = 60_000;
/** How long anybody waits for a call of their own, whatever others do. */
const PATIENCE_MS = 3_000;

const count = (n) => Array.from({ length: n }, (_, i) => i);

/** Calls a function over HTTP: `{ status, body }`. */
async function call(server, kind, name, args) {
  const response = await fetch(`${server.url}/api/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ path: `targets:${name}`, args }),
  });
  return { status: response.status, body: await response.json() };
}

async function othersCanAct(server) {
  const { status, body } = await within("an action", PATIENCE_MS, call(server, "action", "sleep", { milliseconds: 1 }));
  assert.deepEqual([status, body.status], [200, "success"], JSON.stringify(body));
}

function send(socket, type, requestId, name, args) {
  socket.send({ type, requestId, udfPath: `targets:${name}`, args: [args] });
}

const answers = ({ messages }) => messages.filter(({ type }) => type.endsWith("Response"));

test("a thousand sleeping actions of one client, and 1.5 GB of arguments behind them", async () => {
  await endure(async (server) => {
    const socket = await Socket.connect(server);
    for (const n of count(1_000)) send(socket, "Action", n, "sleep", { milliseconds: 120_000 });
    await othersCanAct(server);
    const padding = "x".repeat(15 * MIB);
    for (const n of count(100)) {
      send(socket, "Action", 1_000 + n, "sleep", { milliseconds: 120_000, padding });
      if (n % 20 === 0) await othersCanAct(server);
    }
    assert.equal(answers(socket).length, 0);
    socket.socket.terminate();
    // Nothing is left of them.
    const again = await Socket.connect(server);
    for (const n of count(20)) send(again, "Action", n, "sleep", { milliseconds: 1 });
    await until("all actions are done", PATIENCE_MS, () => answers(again).length === 20);
    await again.close();
  });
});

test("actions that fetch 300 large files at once", async () => {
  const file = Buffer.alloc(8 * MIB, "x");
  let underWay = 0;
  let most = 0;
  const files = createServer((_request, response) => {
    most = Math.max(most, ++underWay);
    response.on("close", () => underWay--);
    response.end(file);
  });
  files.listen(0, "127.0.0.1");
  await once(files, "listening");
  const url = `http://127.0.0.1:${files.address().port}/`;
  try {
    await endure(async (server) => {
      const fetches = [300, 20, 20, 20];
      const actions = fetches.map((count) => call(server, "action", "fetchMany", { url, count }));
      await othersCanAct(server);
      for (const [n, { body }] of (await within("all actions", 2 * ANSWER_MS, Promise.all(actions))).entries()) {
        // Either it was too much for the memory of the function, or all came.
        if (body.status === "success") assert.equal(body.value, fetches[n] * file.length);
        else assert.match(JSON.stringify(body), /memory/i);
      }
      await othersCanAct(server);
      assert.ok(most <= 4 * 8, `${most} fetches were under way`);
    });
  } finally {
    files.closeAllConnections();
    files.close();
  }
});

test("paths and journals of megabytes", async () => {
  await endure(async (server) => {
    const socket = await Socket.connect(server);
    for (const n of count(100)) {
      const modifications = [
        { type: "Add", queryId: 2 * n, udfPath: `${"m".repeat(MIB)}${n}:x`, args: [{}] },
        {
          type: "Add",
          queryId: 2 * n + 1,
          udfPath: "targets:echo",
          args: [{ value: n }],
          journal: "j".repeat(2 * MIB),
        },
      ];
      if (n > 0) modifications.unshift(...[2 * n - 2, 2 * n - 1].map((queryId) => ({ type: "Remove", queryId })));
      socket.send({ type: "ModifyQuerySet", baseVersion: n + 1, newVersion: n + 2, modifications });
    }
    await until("the last one is told", ANSWER_MS, () =>
      socket.messages.some(({ endVersion }) => endVersion?.querySet === 101),
    );
    await socket.close();
  });
});

test("20,000 mutations at once, of one client", async () => {
  await endure(async (server) => {
    const socket = await Socket.connect(server);
    for (const n of count(20_000)) send(socket, "Mutation", n, "keep", { key: `${n}` });
    await until("all are done", 2 * ANSWER_MS, () => answers(socket).length === 20_000);
    assert.ok(answers(socket).every(({ success }) => success));
    await socket.close();
  });
});

test("mutations with index keys of 900 KB", async () => {
  const key = "k".repeat(900_000);
  await endure(async (server) => {
    for (const n of count(77)) {
      const stored = await Promise.all(
        count(4).map((i) => call(server, "mutation", "keep", { key: `${n} ${i} ${key}` })),
      );
      for (const { status, body } of stored) assert.equal(status, 200, JSON.stringify(body));
    }
  });
});

/** Asks over HTTP for a result of 15 MiB, and reads nothing of it. */
function askAndTurnAway(server, n) {
  const body = JSON.stringify({ path: "targets:echo", args: { value: `${n} ${"x".repeat(15 * MIB)}` } });
  const connection = begin(server, "/api/query", body);
  connection.pause();
  return connection;
}

test("results of 15 MiB that nobody reads", async () => {
  await endure(async (server) => {
    const connections = [];
    for (const n of count(90)) {
      connections.push(askAndTurnAway(server, n));
      await sleep(100);
    }
    await sleep(2_000);
    for (const connection of connections) connection.destroy();
  });
});

test("live queries with arguments and results of 15 MiB, of clients that read nothing", async () => {
  await endure(async (server) => {
    const sockets = [];
    for (const n of count(60)) {
      const socket = await Socket.connect(server);
      socket.socket.pause();
      const args = [{ value: `${n} ${"x".repeat(15 * MIB)}` }];
      const modifications = [{ type: "Add", queryId: 0, udfPath: "targets:echo", args }];
      socket.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications });
      sockets.push(socket);
      await sleep(150);
    }
    await sleep(2_000);
    for (const { socket } of sockets) socket.terminate();
  });
});

test("queries that never end and queries that eat memory", async () => {
  await endure(async (server) => {
    const calls = count(24).map((n) => call(server, "query", n % 2 === 0 ? "loop" : "eat", { n }));
    await othersCanAct(server);
    const ended = await within("an end of each", 2 * ANSWER_MS, Promise.all(calls));
    for (const [n, { status, body }] of ended.entries()) {
      assert.ok(status === 503 || body.status === "error", `${n}: ${status} ${JSON.stringify(body)}`);
    }
  });
});
