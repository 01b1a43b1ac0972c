// What queries and mutations mean, through the official package: own writes under way, limits, what is undone, commit
// timestamps, and every system call that the package makes.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { App } from "./lib/app.mjs";
import { NODE_MODULES } from "./lib/paths.mjs";
import { Server } from "./lib/server.mjs";

const api = anyApi.docs;
const server = await Server.start();
const app = await App.deploy("transactions", server);
const http = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

/** Leaves just these documents in the table. */
const fill = (docs) => http.mutation(api.fill, { docs });
const all = async () => (await http.query(api.all, {})).map((doc) => doc.a);

test("a loop is one pass over what was there, whatever it writes", async () => {
  await fill([{ a: 1 }]);
  await http.mutation(api.double, {});
  await http.mutation(api.double, {});
  assert.deepEqual(await all(), [1, 1, 1, 1]);
  for (const [order, by] of [
    ["asc", 10],
    ["desc", -10],
  ]) {
    await fill([{ a: 1 }, { a: 2 }, { a: 11 }]);
    const seen = await http.mutation(api.move, { order, by });
    assert.deepEqual(seen, order === "asc" ? [1, 2, 11] : [11, 2, 1]);
    assert.deepEqual(await all(), [1 + by, 2 + by, 11 + by]);
  }
  await fill([{ a: 3 }, { a: 1 }, { a: 2 }]);
  assert.deepEqual(await http.mutation(api.deleteOthers, {}), [1, 2, 3]);
  assert.deepEqual(await all(), [1]);
});

test("paginator and stream of convex-helpers go through every index in both orders", async () => {
  const docs = Array.from({ length: 30 }, (_, n) => ({ a: n % 4, b: [undefined, "x", "y"][n % 3] }));
  await fill(docs);
  const rows = await http.query(api.all, {});
  const pages = async (query, args) => {
    const found = [];
    let cursor = null;
    for (;;) {
      const page = await http.query(query, { ...args, opts: { numItems: 7, cursor } });
      found.push(...page.page);
      if (page.isDone) return found;
      cursor = page.continueCursor;
      assert.ok(found.length <= rows.length, "there is no end");
    }
  };
  const key = {
    by_a: (doc) => [doc.a, doc._creationTime],
    by_b_a: (doc) => [doc.b ?? "", doc.a, doc._creationTime],
    by_creation_time: (doc) => [doc._creationTime],
    by_id: (doc) => [doc._id],
  };
  const sorted = (by, order) => {
    const less = (a, b) => {
      const at = key[by](a).findIndex((part, n) => part !== key[by](b)[n]);
      return at >= 0 && key[by](a)[at] < key[by](b)[at] ? -1 : 1;
    };
    const ascending = rows.toSorted(less).map((doc) => doc._id);
    return order === "asc" ? ascending : ascending.reverse();
  };
  for (const order of ["asc", "desc"]) {
    for (const index of Object.keys(key)) {
      const found = await pages(api.paginated, { index, order });
      assert.deepEqual(
        found.map((doc) => doc._id),
        sorted(index, order),
        `${index} ${order}`,
      );
    }
    const found = await pages(api.streamed, { order });
    assert.deepEqual(found.map((doc) => doc._id).sort(), rows.map((doc) => doc._id).sort());
    const as = found.map((doc) => doc.a);
    assert.deepEqual(
      as,
      as.toSorted((a, b) => (order === "asc" ? a - b : b - a)),
    );
  }
});

test("what a failed nested mutation wrote and scheduled does not count", async () => {
  await fill([]);
  const metrics = await http.mutation(api.catchUndone, { times: 5, count: 4000 });
  assert.equal(metrics.documentsWritten.used, 0);
  assert.equal(metrics.bytesWritten.used, 0);
  assert.equal(metrics.functionsScheduled.used, 0);
  assert.deepEqual(await all(), []);
});

test("a nested call keeps to its limits, and fails aloud at limits that do not exist", async () => {
  await fill([]);
  const limited = (count, limits) => http.mutation(api.limited, { count, limits });
  const refused = await limited(3, { documentsWritten: 2 });
  assert.match(refused.result, /Too many documents written in a single function execution \(limit: 2\)/);
  assert.equal(refused.left, 0);
  const done = await limited(2, { documentsWritten: 2, bytesRead: Infinity });
  assert.deepEqual(done.result.documentsWritten, { used: 2, remaining: 0 });
  assert.equal(done.left, 2);
  assert.match((await limited(1, { documents: 2 })).result, /there is no limit `documents`/);
});

test("a query on a stale snapshot sees nothing of its caller's writes", async () => {
  assert.deepEqual(await http.mutation(api.stale, {}), { stale: 0, own: 1 });
});

test("a query reads one page, its nested queries included", async () => {
  await assert.rejects(http.query(api.twoPages, {}), /Only a single paginated query \(`\.paginate\(\)`\) is allowed/);
});

test("documents are counted", async () => {
  await fill([{ a: 1 }, { a: 2 }]);
  assert.equal(await http.query(api.count, {}), 2);
});

test("a commit's timestamp is in what it wrote and returned, in the order of commits", async () => {
  const first = await http.mutation(api.note, { note: "first" });
  const second = await http.mutation(api.note, { note: "second" });
  for (const noted of [first, second]) {
    assert.equal(typeof noted.ts, "bigint");
    assert.deepEqual([noted.isSame, noted.isLast], [true, true]);
    assert.ok(noted.ts > noted.isAbove);
  }
  assert.ok(second.ts > first.ts);
  const events = await http.query(api.events, {});
  assert.deepEqual(
    events.map(({ ts, note }) => [ts, note]),
    [first, first, second, second].map(({ ts }, n) => [ts, n < 2 ? "first" : "second"]),
  );
  // The record by which a mutation is known again has it, too.
  const client = new ConvexClient(server.url, { logger: false });
  const live = await client.mutation(api.note, { note: "live" });
  await client.close();
  assert.ok(live.ts > second.ts);
  await assert.rejects(http.mutation(api.scheduleAt, {}), /cannot take an unresolved placeholder value/);
  const echo = { path: "docs:echo", args: [{ value: { $commitTs: null } }], format: "json" };
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${server.url}/api/query`, { method: "POST", headers, body: JSON.stringify(echo) });
  assert.match(await response.text(), /starts with '\$', which is reserved/);
});

test("a mutation and an action know whose request they answer", async () => {
  const agent = { "user-agent": "an agent/1.0", "content-type": "application/json" };
  const call = async (kind, name) => {
    const body = JSON.stringify({ path: `docs:${name}`, args: [{}], format: "json" });
    const response = await fetch(`${server.url}/api/${kind}`, { method: "POST", headers: agent, body });
    return (await response.json()).value;
  };
  const seen = await call("mutation", "request");
  assert.equal(seen.ip, "127.0.0.1");
  assert.equal(seen.userAgent, "an agent/1.0");
  assert.equal(seen.authToken, null);
  assert.equal(seen.scheduledFunctionId, null);
  const [action, nested] = await call("action", "requestOfAction");
  assert.equal(action.userAgent, "an agent/1.0");
  assert.deepEqual(nested, action);
  const client = new ConvexClient(server.url, { logger: false });
  const live = await client.mutation(api.request, {});
  await client.close();
  assert.equal(live.ip, "127.0.0.1");
});

/** Where a query, a mutation and an action have an operation of the package. */
const AVAILABLE = {
  query:
    /^1\.0\/(get|query\w*|count|db\/normalizeId|runUdf|create\w+Handle|get(User|Function|Deploy|Trans|Snap|Req)\w+)$/,
  mutation:
    /^1\.0\/(get|query\w*|count|db\/\w+|runUdf|create\w+Handle|get(User|Function|Deploy|Trans|Snap|Req)\w+|insert|shallowMerge|replace|remove|schedule|cancel_job|storage\w+|signJwt|auditLog)$/,
  action:
    /^1\.0\/(actions\/\w+|create\w+|get(User|Function|Deployment|Req|Service)\w+|storage(Get(Url|Metadata)|Delete|Generate)\w*|auditLog)$/,
};

test("every system call of the package is known: it works, or says what is missing", async () => {
  const folder = path.join(NODE_MODULES, "convex", "dist", "esm", "server");
  const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith(".js"));
  const calls = new Map();
  for (const file of files) {
    const source = readFileSync(path.join(folder, file), "utf8");
    for (const [, kind, op] of source.matchAll(/perform(Async)?Syscall\(\s*"(1\.0\/[\w/]+)"/g)) {
      calls.set(op, kind === undefined);
    }
  }
  assert.ok(calls.size > 25, `${calls.size} calls were found`);
  for (const [op, sync] of calls) {
    const places = Object.keys(AVAILABLE).filter((place) => AVAILABLE[place].test(op));
    assert.ok(places.length > 0, `${op} is nowhere`);
    for (const place of places) {
      const name = `callIn${place[0].toUpperCase()}${place.slice(1)}`;
      const text = await http[place](api[name], { op, sync });
      assert.doesNotMatch(text ?? "", /Unknown (async )?operation/, `${op} in a ${place}`);
      assert.doesNotMatch(text ?? "", /Server Error/, `${op} in a ${place}`);
    }
  }
});
