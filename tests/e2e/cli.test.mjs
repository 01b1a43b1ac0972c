// The official CLI's commands on a running deployment.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App, end, untilWritten } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until } from "./lib/wait.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

test("run calls queries, mutations, actions and internal functions", async () => {
  const run = async (path, args) => JSON.parse((await app.run("run", path, JSON.stringify(args))).stdout);
  assert.match(await run("messages:send", { room: "cli", text: "one" }), /^[0-9a-z]{31,37}$/);
  assert.deepEqual(await run("messages:list", { room: "cli" }), ["one"]);
  assert.deepEqual(await run("actions:relay", { room: "cli", text: "two" }), ["one", "two"]);
  await client.mutation(api.counter.increment, { name: "cli" });
  const { stderr } = await app.run("run", "counter:reset", '{"name": "cli"}');
  assert.match(stderr, /reset cli/);
  assert.equal(await client.query(api.counter.get, { name: "cli" }), 0);
});

test("run reports what a function throws", async () => {
  const { code, stderr } = await app.try("run", "failures:throwError", '{"text": "out of luck"}');
  assert.equal(code, 1);
  assert.match(stderr, /Uncaught Error: out of luck/);
  assert.match(stderr, /convex\/failures\.ts:\d+:\d+/);
});

test("run of a function that is not there lists those that are", async () => {
  const { code, stderr } = await app.try("run", "messages:nope", "{}");
  assert.equal(code, 1);
  assert.match(stderr, /messages:send/);
});

test("environment variables are set, listed, read by functions and removed", async () => {
  assert.equal(await client.query(api.settings.greeting, {}), null);
  await app.run("env", "set", "GREETING", "hello");
  assert.equal((await app.run("env", "get", "GREETING")).stdout.trim(), "hello");
  assert.match((await app.run("env", "list", "--include-values")).stdout, /^GREETING=hello$/m);
  assert.equal(await client.query(api.settings.greeting, {}), "hello");
  await app.run("env", "remove", "GREETING");
  assert.doesNotMatch((await app.run("env", "list", "--include-values")).stdout, /GREETING/);
  assert.equal(await client.query(api.settings.greeting, {}), null);
  const { code } = await app.try("env", "set", "CONVEX_CLOUD_URL", "http://elsewhere");
  assert.notEqual(code, 0);
});

test("data lists tables and shows documents", async () => {
  await client.mutation(api.messages.sendMany, { room: "data", texts: ["first", "second"] });
  const tables = (await app.run("data")).stdout;
  for (const table of ["counters", "entries", "messages", "receipts", "values"]) {
    assert.match(tables, new RegExp(`^${table}$`, "m"));
  }
  const { stdout } = await app.run("data", "messages", "--limit", "2", "--order", "asc");
  assert.match(stdout, /"one"/);
  const newest = (await app.run("data", "messages", "--limit", "1")).stdout;
  assert.match(newest, /"second"/);
  assert.doesNotMatch(newest, /"first"/);
});

test("logs show what functions wrote and how they failed", async () => {
  const logs = app.start("logs");
  try {
    await untilWritten(logs, /Watching logs/);
    // The CLI takes the first answer of the server for history and does not show it. When that came is not told.
    let calls = 0;
    await until("the CLI shows a call", 60_000, async () => {
      await client.query(api.failures.throwError, { text: `for the log, ${++calls}` }).catch(() => {});
      return /Q\(failures:throwError\)/.test(logs.output.stdout + logs.output.stderr);
    });
    await untilWritten(logs, /about to throw/);
    await untilWritten(logs, /Uncaught Error: for the log/);
  } finally {
    await end(logs);
  }
});

test("function-spec describes the functions", async () => {
  const { stdout } = await app.run("function-spec");
  const spec = JSON.parse(stdout);
  assert.equal(spec.url, server.url);
  const get = spec.functions.find((entry) => entry.identifier === "counter.js:get");
  assert.equal(get.functionType, "Query");
  assert.deepEqual(get.visibility, { kind: "public" });
  assert.deepEqual(get.args, { type: "object", value: { name: { fieldType: { type: "string" }, optional: false } } });
  const reset = spec.functions.find((entry) => entry.identifier === "counter.js:reset");
  assert.deepEqual(reset.visibility, { kind: "internal" });
});
