// The official npm client under loads that it makes by itself: what it sends is worked off, and nothing ends in a loop.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until, within } from "./lib/wait.mjs";
import { Socket } from "./lib/socket.mjs";

const LOAD_TIMEOUT_MS = 120_000;
const MIB = 1 << 20;

const server = await Server.start();
const app = await App.deploy("workbench", server);

after(async () => {
  app.remove();
  await server.remove();
});

/** The memory of the server's process now, bytes. */
function memory() {
  const status = readFileSync(`/proc/${server.process.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
}

const ascending = (count) => Array.from({ length: count }, (_, n) => n);

test("5,000 mutations at once are done, in order, once each, on one connection", async () => {
  const client = new ConvexClient(server.url, { logger: false });
  const batch = "many";
  const done = [];
  const all = ascending(5_000).map(async (n) => {
    await client.mutation(api.ledger.record, { batch, n });
    done.push(n);
  });
  await within("all mutations", LOAD_TIMEOUT_MS, Promise.all(all));
  assert.deepEqual(done, ascending(5_000));
  const { entries, receipts } = await client.query(api.ledger.audit, { batch });
  assert.deepEqual(entries, ascending(5_000));
  assert.deepEqual(receipts, ascending(5_000));
  assert.equal(client.client.connectionState().connectionCount, 1);
  await client.close();
});

test("a client with 3,000 live queries has all of them, also after a restart", async () => {
  const client = new ConvexClient(server.url, { logger: false });
  const seen = new Map();
  for (const n of ascending(3_000)) {
    client.onUpdate(api.messages.list, { room: `of many: ${n}` }, (texts) => seen.set(n, texts));
  }
  await until("all results are there", LOAD_TIMEOUT_MS, () => seen.size === 3_000);
  assert.equal(client.client.connectionState().connectionCount, 1);
  await server.stop();
  await server.restart();
  await client.mutation(api.messages.send, { room: "of many: 2999", text: "new" });
  await until("the last one has changed", LOAD_TIMEOUT_MS, () => seen.get(2_999)?.length === 1);
  assert.deepEqual(seen.get(0), []);
  assert.equal(client.client.connectionState().connectionCount, 2);
  await client.close();
});

test("a request that cannot be read fails, and the client lives", async () => {
  const client = new ConvexClient(server.url, { logger: false });
  let deep = [];
  for (let level = 0; level < 130; level++) deep = [deep];
  const args = { room: deep, text: "x" };
  await assert.rejects(client.mutation(api.messages.send, args), /Server Error/);
  await assert.rejects(client.query(api.messages.list, args), /Server Error/);
  await assert.rejects(client.action(api.messages.send, args), /Server Error/);
  const half = "👍".slice(0, 1);
  await client.mutation(api.messages.send, { room: "halves", text: half });
  assert.deepEqual(await client.query(api.messages.list, { room: "halves" }), ["\ufffd"]);
  assert.equal(client.client.connectionState().connectionCount, 1);
  await client.close();
});

test("a client that reads nothing costs little, and nothing once it has gone", async () => {
  const text = "x".repeat(MIB / 2);
  const client = new ConvexClient(server.url, { logger: false });
  for (const n of ascending(8)) await client.mutation(api.messages.send, { room: "large", text: `${n}${text}` });
  const before = memory();
  const sockets = [];
  for (const _ of ascending(20)) {
    const socket = await Socket.connect(server);
    socket.socket.pause();
    const modifications = ascending(20).map((queryId) => ({
      type: "Add",
      queryId,
      udfPath: "messages:list",
      args: [{ room: "large" }],
    }));
    socket.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications });
    sockets.push(socket);
  }
  for (const n of ascending(10)) await client.mutation(api.messages.send, { room: "large", text: String(n) });
  for (const socket of sockets) socket.socket.terminate();
  await client.close();
  await until("memory is given back", LOAD_TIMEOUT_MS, () => memory() < before + 200 * MIB);
});
