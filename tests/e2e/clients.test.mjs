// The official Rust and Python clients.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { ConvexError } from "convex/values";
import { App } from "./lib/app.mjs";
import { ForeignClient } from "./lib/client.mjs";
import { Server } from "./lib/server.mjs";
import { VALUES } from "./lib/values.mjs";
import { within } from "./lib/wait.mjs";

const RECONNECT_TIMEOUT_MS = 60_000;

const server = await Server.start();
const app = await App.deploy("workbench", server);
const other = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

for (const language of ["rust", "python"]) {
  describe(`the ${language} client`, () => {
    let client;
    before(() => (client = ForeignClient[language](server)));
    after(() => client.close());
    const room = (name) => `${language} ${name}`;

    test("runs mutations, queries and actions", async () => {
      const args = { room: room("calls"), text: "hello" };
      assert.match(await client.mutation("messages:send", args), /^[0-9a-z]{31,37}$/);
      assert.deepEqual(await client.query("messages:list", { room: args.room }), ["hello"]);
      assert.deepEqual(await client.action("actions:relay", { ...args, text: "relayed" }), ["hello", "relayed"]);
    });

    test("follows a live query", async () => {
      const args = { room: room("live") };
      const watch = client.watch("messages:list", args);
      await watch.until("the room is empty", (texts) => texts.length === 0);
      await other.mutation("messages:send", { ...args, text: "one" });
      await watch.until("the message comes", (texts) => texts.includes("one"));
      await watch.stop();
      await other.mutation("messages:send", { ...args, text: "unheard" });
      assert.deepEqual(watch.latest, ["one"]);
    });

    test("gets a ConvexError with its data from each kind of function", async () => {
      const value = { code: "Full", seats: 3n };
      const empty = { room: room("errors"), text: "" };
      for (const [kind, path, args, data] of [
        ["query", "values:fail", { value }, value],
        ["mutation", "messages:send", empty, { code: "EmptyMessage", room: empty.room, length: 0n }],
        ["action", "actions:fail", { value }, value],
      ]) {
        const failure = assert.rejects(client[kind](path, args), (error) => {
          assert.ok(error instanceof ConvexError, error.message);
          assert.deepStrictEqual(error.data, data);
          return true;
        });
        await within(`the failed ${kind}`, 10_000, failure);
      }
    });

    test("gets other errors as text", async () => {
      await assert.rejects(client.query("failures:throwError", { text: "out of luck" }), (error) => {
        assert.ok(!(error instanceof ConvexError));
        assert.match(error.message, /out of luck/);
        return true;
      });
      await assert.rejects(client.mutation("nowhere:nothing", {}), /Could not find public function/);
    });

    test("sends and gets values of every type", async () => {
      for (const [value, type, description] of VALUES) {
        assert.equal(await client.query("values:describe", { value }), description);
        for (const [op, path] of [
          ["query", "values:echo"],
          ["mutation", "values:echoInMutation"],
          ["action", "values:echoInAction"],
        ]) {
          assert.deepStrictEqual(await client.call(op, path, { value }), { value, type }, `${op} of ${description}`);
        }
        const id = await client.mutation("values:store", { value });
        assert.deepStrictEqual(await client.query("values:load", { id }), value);
      }
    });

    test("gets a large result", async () => {
      const parts = await within("the result", 30_000, client.query("values:large", { parts: 12 }));
      assert.equal(parts.length, 12);
      assert.ok(parts.every((part) => part.length === 1 << 20));
    });

    test("goes on after the server was killed", async () => {
      const batch = room("restart");
      const watch = client.watch("ledger:entries", { batch });
      await watch.until("the batch is empty", (entries) => entries.length === 0);
      for (let n = 0; n < 10; n++) await client.mutation("ledger:record", { batch, n });
      await server.kill();
      await server.restart();
      // Only once it is connected again: these clients may fail a call, though they make it later, when their
      // connection breaks while they send it, or cannot be made.
      await other.mutation("ledger:record", { batch, n: 10 });
      await watch.until("the live query goes on", (entries) => entries.includes(10), RECONNECT_TIMEOUT_MS);
      await client.mutation("ledger:record", { batch, n: 11 });
      await watch.until("the live query has caught up", (entries) => entries.includes(11));
      const everything = Array.from({ length: 12 }, (_, n) => n);
      assert.deepEqual(watch.latest, everything);
      assert.deepEqual(await client.query("ledger:receipts", { batch }), everything);
    });
  });
}

test("the python client over HTTP", async () => {
  const client = ForeignClient.python(server);
  const room = "python http";
  await client.call("httpMutation", "messages:send", { room, text: "hello" });
  assert.deepEqual((await client.call("httpQuery", "messages:list", { room })).value, ["hello"]);
  assert.equal((await client.call("httpAction", "actions:relay", { room, text: "more" })).value.length, 2);
  for (const [value, type] of VALUES) {
    assert.deepStrictEqual(await client.call("httpQuery", "values:echo", { value }), { value, type });
  }
  await assert.rejects(client.call("httpQuery", "values:fail", { value: { seats: [3.5] } }), (error) => {
    assert.ok(error instanceof ConvexError, error.message);
    assert.deepStrictEqual(error.data, { seats: [3.5] });
    return true;
  });
  await client.close();
});
