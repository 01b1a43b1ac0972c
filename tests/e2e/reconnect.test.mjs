// The official npm client over kills and restarts of the server: nothing lost, nothing doubled.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until, Watch, within } from "./lib/wait.mjs";

const RECONNECT_TIMEOUT_MS = 60_000;

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexClient(server.url, { logger: false });

after(async () => {
  await client.close();
  app.remove();
  await server.remove();
});

const ascending = (count) => Array.from({ length: count }, (_, n) => n);

test("a live query goes on after a restart", async () => {
  const room = "restart";
  const watch = Watch.on(client, api.messages.list, { room });
  await client.mutation(api.messages.send, { room, text: "before" });
  await server.stop();
  const sent = client.mutation(api.messages.send, { room, text: "while down" });
  await sleep(300);
  await server.restart();
  await within("the mutation sent while the server was down", RECONNECT_TIMEOUT_MS, sent);
  await client.mutation(api.messages.send, { room, text: "after" });
  await watch.until("all messages are there", (texts) => texts.length === 3);
  assert.deepEqual(watch.latest, ["before", "while down", "after"]);
});

for (const killAfter of [1, 40, 120]) {
  test(`mutations in flight when the server is killed happen once (${killAfter} done)`, async () => {
    const batch = `killed after ${killAfter}`;
    const count = 200;
    const watch = Watch.on(client, api.ledger.entries, { batch });
    await watch.until("the connection is up", (entries) => entries.length === 0, RECONNECT_TIMEOUT_MS);
    let done = 0;
    const all = Promise.all(
      ascending(count).map((n) => client.mutation(api.ledger.record, { batch, n }).then(() => (done += 1))),
    );
    await until("some are done", RECONNECT_TIMEOUT_MS, () => done >= killAfter);
    await server.kill();
    assert.ok(done < count, "all were done before the kill");
    await server.restart();
    await within("all mutations", RECONNECT_TIMEOUT_MS, all);
    const { entries, receipts } = await client.query(api.ledger.audit, { batch });
    assert.deepEqual(entries, ascending(count));
    assert.deepEqual(receipts, ascending(count));
    await watch.until("the live query has caught up", (entries) => entries.length === count);
    for (const entries of watch.results) assert.deepEqual(entries, ascending(entries.length), "a result has a gap");
  });
}

test("an action in flight when the server is killed fails, and the client goes on", async () => {
  const silent = createServer(() => {}); // Takes requests, never answers.
  await new Promise((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const asked = new Promise((resolve) => silent.once("request", resolve));
  const url = `http://127.0.0.1:${silent.address().port}/`;
  const failure = assert.rejects(client.action(api.actions.download, { url }), /Connection lost while action/);
  await within("the action's request", RECONNECT_TIMEOUT_MS, asked);
  await server.kill();
  await server.restart();
  await within("the action's failure", RECONNECT_TIMEOUT_MS, failure);
  silent.closeAllConnections();
  silent.close();
  assert.equal(await client.query(api.values.echo, { value: "still here" }), "still here");
});
