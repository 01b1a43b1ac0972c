// kill -9 in the middle of many concurrent mutations: every acknowledged one is there afterwards, and no half of any.
// Sockets are driven by hand, to learn of an acknowledgement at the earliest instant.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { Socket } from "./lib/socket.mjs";
import { until } from "./lib/wait.mjs";

const SOCKETS = 50;
const MUTATIONS_PER_SOCKET = 20;
const TIMEOUT_MS = 60_000;

const server = await Server.start();
const app = await App.deploy("workbench", server);

after(async () => {
  app.remove();
  await server.remove();
});

for (const killAfter of [1, 250, 700]) {
  test(`a kill after ${killAfter} of 1,000 concurrent mutations`, async () => {
    const batch = `crash ${killAfter}`;
    const sockets = await Promise.all(Array.from({ length: SOCKETS }, () => Socket.connect(server)));
    let acknowledgements = 0;
    for (const { socket } of sockets) {
      socket.on("message", (text) => (acknowledgements += String(text).includes('"MutationResponse"')));
    }
    for (const [index, socket] of sockets.entries()) {
      for (let requestId = 0; requestId < MUTATIONS_PER_SOCKET; requestId++) {
        const n = index * MUTATIONS_PER_SOCKET + requestId;
        socket.send({ type: "Mutation", requestId, udfPath: "ledger:record", args: [{ batch, n }] });
      }
    }
    await until(`${killAfter} are acknowledged`, TIMEOUT_MS, () => acknowledgements >= killAfter);
    await server.kill();
    await Promise.all(sockets.map((socket) => socket.closed));

    const acknowledged = [];
    for (const [index, { messages }] of sockets.entries()) {
      for (const message of messages) {
        if (message.type !== "MutationResponse") continue;
        assert.equal(message.success, true, message.result);
        acknowledged.push(index * MUTATIONS_PER_SOCKET + message.requestId);
      }
    }
    assert.ok(acknowledged.length < SOCKETS * MUTATIONS_PER_SOCKET, "the kill came too late to mean anything");

    await server.restart();
    const client = new ConvexHttpClient(server.url, { logger: false });
    const { entries, receipts, entryIds, receiptEntryIds } = await client.query(api.ledger.audit, { batch });
    const present = new Set(entries);
    assert.equal(present.size, entries.length, "a mutation happened twice");
    assert.deepEqual(receipts, entries, "half of a mutation is there");
    assert.deepEqual(receiptEntryIds, entryIds, "half of a mutation is there");
    const lost = acknowledged.filter((n) => !present.has(n));
    assert.deepEqual(lost, [], "acknowledged mutations are lost");
  });
}
