// Conflicts: many clients increment one counter at once. None of them may see an error or lose an increment.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { Watch } from "./lib/wait.mjs";

const CLIENTS = 64;
const INCREMENTS = 100;

const server = await Server.start();
const app = await App.deploy("workbench", server);

after(async () => {
  app.remove();
  await server.remove();
});

test("64 clients increment a counter 100 times each", { timeout: 300_000 }, async () => {
  const name = "sockets";
  const clients = Array.from({ length: CLIENTS }, () => new ConvexClient(server.url, { logger: false }));
  const watch = Watch.on(clients[0], api.counter.get, { name });
  const results = await Promise.all(
    clients.map(async (client) => {
      const mine = [];
      for (let n = 0; n < INCREMENTS; n++) mine.push(await client.mutation(api.counter.increment, { name }));
      return mine;
    }),
  );
  const all = results.flat().sort((a, b) => a - b);
  assert.deepEqual(
    all,
    Array.from({ length: CLIENTS * INCREMENTS }, (_, n) => n + 1),
    "each increment has a result of its own",
  );
  for (const mine of results) {
    assert.ok(
      mine.every((count, n) => n === 0 || count > mine[n - 1]),
      "a client's increments went back",
    );
  }
  await watch.until("the live query has the total", (count) => count === CLIENTS * INCREMENTS);
  assert.ok(
    watch.results.every((count, n) => n === 0 || count > watch.results[n - 1]),
    "the live query went back",
  );
  await Promise.all(clients.map((client) => client.close()));
});

test("two conflicting mutations over HTTP both succeed", async () => {
  const name = "http";
  const client = new ConvexHttpClient(server.url, { logger: false });
  for (let round = 0; round < 20; round++) {
    const increment = () => client.mutation(api.counter.increment, { name }, { skipQueue: true });
    const pair = await Promise.all([increment(), increment()]);
    assert.deepEqual(
      pair.sort((a, b) => a - b),
      [2 * round + 1, 2 * round + 2],
    );
  }
  assert.equal(await client.query(api.counter.get, { name }), 40);
});
