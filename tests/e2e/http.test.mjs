// The official npm client over HTTP, and the public API spoken by hand.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { ConvexError } from "convex/values";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

test("a mutation's writes are read by the next query", async () => {
  const id = await client.mutation(api.messages.send, { room: "http", text: "hello" });
  assert.match(id, /^[0-9a-z]{31,37}$/);
  assert.deepEqual(await client.query(api.messages.list, { room: "http" }), ["hello"]);
});

test("an action runs mutations and queries", async () => {
  assert.deepEqual(await client.action(api.actions.relay, { room: "relay", text: "through" }), ["through"]);
});

test("a ConvexError arrives with its data", async () => {
  const failure = client.mutation(api.messages.send, { room: "http", text: "" });
  await assert.rejects(failure, (error) => {
    assert.ok(error instanceof ConvexError);
    assert.deepEqual(error.data, { code: "EmptyMessage", room: "http", length: 0n });
    return true;
  });
});

test("another error arrives with its message and the place in the author's source", async () => {
  const failure = client.query(api.failures.throwError, { text: "out of luck" });
  await assert.rejects(failure, (error) => {
    assert.ok(!(error instanceof ConvexError));
    assert.match(error.message, /^\[Request ID: [0-9a-f]{16}\] Server Error\n/);
    assert.match(error.message, /Uncaught Error: out of luck/);
    assert.match(error.message, /\(\.\.\/convex\/failures\.ts:\d+:\d+\)/);
    return true;
  });
});

test("log lines come with the answer", async () => {
  const { status, body } = await post("/api/query", { path: "failures:throwError", args: { text: "x" } });
  assert.equal(status, 200);
  assert.equal(body.status, "error");
  assert.deepEqual(body.logLines, ["[WARN] 'about to throw' {\n  text: 'x'\n}"]);
});

test("a failed mutation leaves nothing", async () => {
  await assert.rejects(client.mutation(api.failures.writeAndThrow, { room: "nothing" }), /after writing/);
  assert.deepEqual(await client.query(api.messages.list, { room: "nothing" }), []);
});

test("a batch of queries is answered at one timestamp", async () => {
  await client.mutation(api.messages.send, { room: "batch", text: "one" });
  const query = { path: "messages:list", args: { room: "batch" }, format: "json" };
  const { body } = await post("/api/query_batch", { queries: [query, { ...query, path: "messages:nope" }, query] });
  assert.deepEqual(body.results[0], { status: "success", value: ["one"] });
  assert.equal(body.results[1].status, "error");
  assert.deepEqual(body.results[2], body.results[0]);
});

test("a query at an earlier timestamp does not see what came after it", async () => {
  const { body } = await post("/api/query_ts", undefined);
  await client.mutation(api.messages.send, { room: "past", text: "too late" });
  const query = { path: "messages:list", args: { room: "past" }, format: "json" };
  assert.deepEqual((await post("/api/query_at_ts", { ...query, ts: body.ts })).body.value, []);
  assert.deepEqual((await post("/api/query", query)).body.value, ["too late"]);
});

test("functions have an address of their own", async () => {
  const { status, body } = await post("/api/run/messages/send", { args: { room: "run", text: "posted" } });
  assert.equal(status, 200);
  assert.equal(body.status, "success");
  assert.deepEqual((await post("/api/run/messages/list", { args: { room: "run" } })).body.value, ["posted"]);
});

test("any function runs with an admin key, and only with it", async () => {
  const call = { path: "counter:reset", args: { name: "x" } };
  assert.equal((await post("/api/function", call)).status, 403);
  const asUser = await post("/api/mutation", call);
  assert.match(asUser.body.errorMessage, /Could not find public function for 'counter:reset'/);
  const { body } = await post("/api/function", call, { Authorization: `Convex ${server.adminKey}` });
  assert.equal(body.status, "success");
  const wrongKey = { Authorization: `Convex ${server.adminKey.replace(/.$/, (last) => (last === "0" ? "1" : "0"))}` };
  assert.equal((await post("/api/function", call, wrongKey)).status, 401);
});

test("the instance tells its name and version", async () => {
  const text = async (path) => (await fetch(server.url + path)).text();
  assert.equal(await text("/instance_name"), "tests");
  assert.match(await text("/version"), /./);
  assert.equal(await text("/instance_version"), await text("/version"));
});

test("browsers of other origins may call", async () => {
  const origin = "https://app.example";
  const preflight = await fetch(`${server.url}/api/query`, {
    method: "OPTIONS",
    headers: {
      Origin: origin,
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "content-type,convex-client",
    },
  });
  assert.equal(preflight.status, 200);
  assert.equal(preflight.headers.get("access-control-allow-origin"), origin);
  assert.equal(preflight.headers.get("access-control-allow-headers"), "content-type,convex-client");
  const { headers } = await post("/api/query", { path: "values:echo", args: { value: 1 } }, { Origin: origin });
  assert.equal(headers.get("access-control-allow-origin"), origin);
});

async function post(path, body, headers = {}) {
  const response = await fetch(server.url + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: await response.json().catch(() => undefined) };
}
