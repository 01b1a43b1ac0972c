// Live queries of the official npm client over the WebSocket.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { Socket } from "./lib/socket.mjs";
import { Watch } from "./lib/wait.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const alice = new ConvexClient(server.url, { logger: false });
const bob = new ConvexClient(server.url, { logger: false });

after(async () => {
  await alice.close();
  await bob.close();
  app.remove();
  await server.remove();
});

test("what one client sends appears at the other", async () => {
  const room = "live";
  const watch = Watch.on(bob, api.messages.list, { room });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  await alice.mutation(api.messages.send, { room, text: "one" });
  await watch.until("the message comes", (texts) => texts.includes("one"));
  await alice.mutation(api.messages.remove, { room, text: "one" });
  await watch.until("the message goes", (texts) => texts.length === 0);
  assert.deepEqual(watch.results, [[], ["one"], []]);
});

test("a query is sent again only when its result changes", async () => {
  const watch = Watch.on(bob, api.messages.list, { room: "quiet" });
  const other = Watch.on(bob, api.messages.list, { room: "loud" });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  for (const text of ["1", "2", "3"]) await alice.mutation(api.messages.send, { room: "loud", text });
  await other.until("the other room is full", (texts) => texts.length === 3);
  assert.deepEqual(watch.results, [[]]);
});

test("a stopped subscription hears no more", async () => {
  const room = "stopped";
  const watch = Watch.on(bob, api.messages.list, { room });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  watch.stop();
  await bob.mutation(api.messages.send, { room, text: "unheard" });
  assert.deepEqual(watch.results, [[]]);
});

test("a client sees its own mutation before that is reported done", async () => {
  const room = "own";
  const watch = Watch.on(alice, api.messages.list, { room });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  for (let n = 1; n <= 20; n++) {
    await alice.mutation(api.messages.send, { room, text: `${n}` });
    assert.equal(watch.latest.length, n);
  }
});

test("mutations of a client run in the order in which they were sent", async () => {
  const room = "order";
  const texts = Array.from({ length: 100 }, (_, n) => `${n}`);
  await Promise.all(texts.map((text) => alice.mutation(api.messages.send, { room, text })));
  assert.deepEqual(await alice.query(api.messages.list, { room }), texts);
});

test("an optimistic update shows at once and gives way to the real result", async () => {
  const room = "optimism";
  const watch = Watch.on(alice, api.messages.list, { room });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  const done = alice.mutation(
    api.messages.send,
    { room, text: "real" },
    {
      optimisticUpdate: (store, args) => {
        const texts = store.getQuery(api.messages.list, { room });
        store.setQuery(api.messages.list, { room }, [...texts, `${args.text}, hopefully`]);
      },
    },
  );
  await sleep(0);
  assert.deepEqual(watch.results, [[], ["real, hopefully"]]);
  await done;
  assert.deepEqual(watch.results, [[], ["real, hopefully"], ["real"]]);
});

test("an optimistic update is taken back when the mutation fails", async () => {
  const room = "pessimism";
  const watch = Watch.on(alice, api.messages.list, { room });
  await watch.until("the room is empty", (texts) => texts.length === 0);
  const done = alice.mutation(
    api.messages.send,
    { room, text: "" },
    { optimisticUpdate: (store) => store.setQuery(api.messages.list, { room }, ["hope"]) },
  );
  await assert.rejects(done, ConvexError);
  assert.deepEqual(watch.results, [[], ["hope"], []]);
});

test("actions run beside mutations and their writes are seen", async () => {
  const room = "action";
  const watch = Watch.on(bob, api.messages.list, { room });
  assert.deepEqual(await alice.action(api.actions.relay, { room, text: "relayed" }), ["relayed"]);
  await watch.until("the message comes", (texts) => texts.includes("relayed"));
});

test("errors of a live query come with their data, and go when the query works again", async () => {
  const watch = Watch.on(bob, api.values.load, { id: "not an id" });
  await watch.until("the argument is refused", ({ error }) => /ArgumentValidationError/.test(error.message));
  const failing = Watch.on(bob, api.values.fail, { value: { reason: "never", since: 7n } });
  await failing.until("the error comes", ({ error }) => error instanceof ConvexError);
  assert.deepEqual(failing.latest.error.data, { reason: "never", since: 7n });
});

test("all queries of a client are at one timestamp", async () => {
  const batch = "consistent";
  const count = 50;
  const socket = await Socket.connect(server);
  await socket.next("Transition");
  const add = (queryId, udfPath) => ({ type: "Add", queryId, udfPath, args: [{ batch }] });
  const modifications = [add(0, "ledger:entries"), add(1, "ledger:receipts")];
  socket.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications });
  await Promise.all(
    Array.from({ length: count }, (_, n) => (n % 2 ? alice : bob).mutation(api.ledger.record, { batch, n })),
  );
  const results = [];
  let steps = 0;
  await socket.next(function everythingSeen({ type, modifications }) {
    if (type !== "Transition" || modifications.length === 0) return false;
    for (const { queryId, value } of modifications) results[queryId] = value;
    assert.deepEqual(results[0], results[1]);
    steps += 1;
    return results[0].length === count;
  });
  assert.ok(steps > 1, "the results came in one step only");
  await socket.close();
});

test("every transition follows the one before it, and timestamps never decrease", async () => {
  const room = "versions";
  const socket = await Socket.connect(server);
  await socket.next("Transition");
  socket.send({
    type: "ModifyQuerySet",
    baseVersion: 1,
    newVersion: 2,
    modifications: [{ type: "Add", queryId: 0, udfPath: "messages:list", args: [{ room }] }],
  });
  for (let requestId = 0; requestId < 10; requestId++) {
    socket.send({ type: "Mutation", requestId, udfPath: "messages:send", args: [{ room, text: `${requestId}` }] });
  }
  const response = await socket.next((message) => message.type === "MutationResponse" && message.requestId === 9);
  const timestamp = (ts) => Buffer.from(ts, "base64").readBigUInt64LE();
  await socket.next(
    (message) => message.type === "Transition" && timestamp(message.endVersion.ts) >= timestamp(response.ts),
  );
  await socket.close();

  let version = { querySet: 0, identity: 0, ts: "AAAAAAAAAAA=" };
  let reached = 0n;
  for (const [index, message] of socket.messages.entries()) {
    if (message.type === "Transition") {
      assert.deepEqual(message.startVersion, version);
      version = message.endVersion;
      assert.ok(timestamp(version.ts) >= reached, "time went back");
      reached = timestamp(version.ts);
    } else if (message.type === "MutationResponse") {
      assert.equal(message.success, true);
      const earlier = socket.messages.slice(0, index).filter((other) => other.type === "MutationResponse");
      assert.equal(message.requestId, earlier.length, "mutations are answered in order");
      assert.ok(timestamp(message.ts) > reached, "a response comes before the transition that shows its writes");
    }
  }
});
