// Values of every type through the official npm client, over every way in and out.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { VALUES } from "./lib/values.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const clients = {
  HTTP: new ConvexHttpClient(server.url, { logger: false }),
  WebSocket: new ConvexClient(server.url, { logger: false }),
};

after(async () => {
  await clients.WebSocket.close();
  app.remove();
  await server.remove();
});

for (const [name, client] of Object.entries(clients)) {
  const everyValue = (what, check) =>
    test(`${what}, over ${name}`, async () => {
      for (const [value, , description] of VALUES) await check(value, description);
    });

  everyValue("functions see what was sent", async (value, description) => {
    assert.equal(await client.query(api.values.describe, { value }), description);
  });

  everyValue("queries return what they got", async (value) => {
    assert.deepStrictEqual(await client.query(api.values.echo, { value }), value);
  });

  everyValue("mutations return what they got", async (value) => {
    assert.deepStrictEqual(await client.mutation(api.values.echoInMutation, { value }), value);
  });

  everyValue("actions return what they got", async (value) => {
    assert.deepStrictEqual(await client.action(api.values.echoInAction, { value }), value);
  });

  everyValue("documents keep what was stored", async (value) => {
    const id = await client.mutation(api.values.store, { value });
    assert.deepStrictEqual(await client.query(api.values.load, { id }), value);
  });

  everyValue("a ConvexError carries what was thrown", async (value) => {
    const failures = [() => client.query(api.values.fail, { value }), () => client.action(api.actions.fail, { value })];
    for (const failure of failures) {
      await assert.rejects(failure, (error) => {
        assert.ok(error instanceof ConvexError);
        assert.deepStrictEqual(error.data, value);
        return true;
      });
    }
  });
}

test("a large result arrives whole", async () => {
  for (const client of Object.values(clients)) {
    const parts = await client.query(api.values.large, { parts: 12 });
    assert.deepEqual(
      parts.map((part) => part.length),
      new Array(12).fill(1 << 20),
    );
  }
});

test("documents keep every value over a restart", async () => {
  const client = clients.HTTP;
  const ids = [];
  for (const [value] of VALUES) ids.push(await client.mutation(api.values.store, { value }));
  await server.kill();
  await server.restart();
  for (const [index, id] of ids.entries()) {
    assert.deepStrictEqual(await client.query(api.values.load, { id }), VALUES[index][0]);
  }
});

test("the lossy format turns 64-bit integers, special floats and bytes into strings", async () => {
  const call = async (value) => {
    const response = await fetch(`${server.url}/api/query`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ path: "values:echo", args: { value }, format: "json" }),
    });
    return (await response.json()).value;
  };
  assert.equal(await call({ $integer: "KgAAAAAAAAA=" }), "42");
  assert.equal(await call({ $float: "AAAAAAAA+H8=" }), "NaN");
  assert.equal(await call({ $float: "AAAAAAAA8P8=" }), "-Infinity");
  assert.equal(await call({ $bytes: "AQI=" }), "AQI=");
});
