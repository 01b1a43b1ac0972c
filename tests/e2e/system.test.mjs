// System functions and the admin API, through the official clients as an admin, the CLI, and HTTP.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api, makeFunctionReference } from "convex/server";
import { App } from "./lib/app.mjs";
import { concave, Server } from "./lib/server.mjs";
import { until } from "./lib/wait.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexHttpClient(server.url, { logger: false });
const admin = new ConvexHttpClient(server.url, { logger: false });
admin.setAdminAuth(server.adminKey);

after(async () => {
  app.remove();
  await server.remove();
});

const system = (name) => makeFunctionReference(`_system/frontend/${name}`);

/** A request to the admin API: `{ status, body }`, the body parsed if it is JSON. */
async function request(path, body, key = server.adminKey) {
  const response = await fetch(`${server.url}/api/${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { "Content-Type": "application/json", ...(key && { Authorization: `Convex ${key}` }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? null : JSON.parse(text) };
}

test("graders add, scan and clear", async () => {
  const added = await admin.mutation(system("addDocument"), {
    table: "counters",
    documents: [
      { name: "a", count: 1 },
      { name: "b", count: 2 },
    ],
  });
  assert.deepEqual(added, { success: true });
  const scan = () => admin.query(system("listTableScan"), { table: "counters", limit: 10 });
  assert.deepEqual(
    (await scan()).map(({ name }) => name),
    ["b", "a"],
  );
  await assert.rejects(
    admin.mutation(system("addDocument"), { table: "counters", documents: [{ name: 1n }] }),
    (error) => /does not match the schema/.test(error.data),
  );
  const cleared = await admin.mutation(system("clearTablePage"), { tableName: "counters", cursor: null });
  assert.deepEqual([cleared.deleted, cleared.hasMore], [2, false]);
  assert.deepEqual(await scan(), []);
});

test("strangers do not learn that there are system functions", async () => {
  for (const call of [client.query(system("getSchemas"), {}), client.mutation(system("createTable"), { table: "x" })]) {
    await assert.rejects(
      call,
      /Could not find public function for '_system\/frontend\/\w+'\. Did you forget to run `npx convex dev` or `npx convex deploy`\?/,
    );
  }
  await assert.rejects(
    client.query(api.messages.nope, {}),
    /Could not find public function for 'messages:nope'\. Did you forget/,
  );
  await assert.rejects(
    admin.query(system("tableSize"), { tableName: 1 }),
    /ArgumentValidationError: .*Path: \.tableName/s,
  );
});

test("system queries are live, and mutations work over WebSocket", async () => {
  const live = new ConvexClient(server.url, { logger: false });
  live.client.setAdminAuth(server.adminKey);
  try {
    const sizes = [];
    live.onUpdate(system("tableSize"), { tableName: "lists" }, (size) => sizes.push(size));
    await until("the size is there", 10_000, () => sizes.length > 0);
    await live.mutation(system("addDocument"), { table: "lists", documents: [{ name: "l", elements: [] }] });
    await until("the size changes", 10_000, () => sizes.at(-1) === 1);
    assert.equal(sizes[0], 0);
  } finally {
    await live.close();
  }
});

test("a read-only key looks, and changes nothing", async () => {
  const { stdout } = await concave([
    ...["admin-key", "--instance-name", "tests", "--instance-secret", "5f".repeat(32), "--read-only"],
  ]);
  const key = stdout.trim();
  const reader = new ConvexHttpClient(server.url, { logger: false });
  reader.setAdminAuth(key);
  assert.ok((await reader.query(system("getSchemas"), {})).active.includes("counters"));
  await assert.rejects(reader.mutation(system("createTable"), { table: "x" }), /read-only/);
  assert.equal((await request("check_admin_key", undefined, key)).body.isReadOnly, true);
  assert.equal((await request("delete_tables", { tableNames: ["x"] }, key)).status, 403);
  assert.equal((await request("shapes2", undefined, key)).status, 200);
});

test("inline queries run once, beside the deployed modules", async () => {
  await client.mutation(api.messages.sendMany, { room: "inline", texts: ["one", "two"] });
  const run = async (code) => JSON.parse((await app.run("run", "--inline-query", code)).stdout);
  assert.equal(await run('(await ctx.db.query("messages").take(5)).length'), 2);
  const rooms = `
    const messages = ctx.db.query("messages").withIndex("by_room", (q) => q.eq("room", "inline"));
    const texts = [];
    for await (const message of messages.order("desc").filter((q) => q.neq(q.field("text"), "three"))) texts.push(message.text);
    const first = await ctx.db.query("messages").first();
    return { texts, same: (await ctx.db.get(first._id)).text, list: await ctx.runQuery("messages:list", { room: "inline" }) };`;
  assert.deepEqual(await run(rooms), { texts: ["two", "one"], same: "one", list: ["one", "two"] });
  const thrown = await app.try("run", "--inline-query", 'throw new Error("on purpose")');
  assert.equal(thrown.code, 1);
  assert.match(thrown.stdout + thrown.stderr, /on purpose/);
});

test("inline queries cannot write, and are for admins", async () => {
  const preamble = 'import { query, internalQuery } from "convex:/_system/repl/wrappers.js";\n';
  const post = (source, key, args = {}) =>
    request(
      "run_test_function",
      { adminKey: key, args, bundle: { path: "testQuery.js", source }, format: "json" },
      key,
    );
  const source = (code) => `${preamble}export default query({ handler: async (ctx, args) => { ${code} } });`;
  const run = async (code, args) => (await post(source(code), server.adminKey, args)).body;
  assert.deepEqual(await run("return { big: 3n, nan: NaN, ...args };", { a: 1 }), {
    status: "success",
    value: { a: 1, big: "3", nan: "NaN" },
  });
  const insert = 'await Convex.asyncSyscall("1.0/insert", JSON.stringify({ table: "messages", value: {} }));';
  assert.equal((await run(insert)).status, "error");
  assert.equal((await run("for (;;);")).status, "error");
  // Deployed modules can be imported.
  const imported = await post(
    `${preamble}import { list } from "./messages.js"; export default internalQuery(async () => typeof list.invokeQuery);`,
    server.adminKey,
  );
  assert.equal(imported.body.value, "function");
  for (const [bad, code] of [
    ["export default 1;", "UnsupportedTestQuery"],
    ["syntax error", "InvalidTestQuery"],
  ]) {
    const { status, body } = await post(bad, server.adminKey);
    assert.deepEqual([status, body.code], [400, code]);
  }
  assert.equal((await post(source("return 1;"), null)).status, 403);
  // Nothing of it is left.
  const modules = await admin.query(system("modules:list"), {});
  assert.ok(modules.length > 0 && modules.every(([path]) => path !== "testQuery.js"));
});

test("the admin API shows and deletes tables", async () => {
  const indexes = (await request("get_indexes")).body.indexes;
  assert.deepEqual(
    indexes.find(({ table }) => table === "messages"),
    { table: "messages", name: "by_room", fields: ["room"], backfill: { state: "done" }, staged: false },
  );
  await admin.mutation(system("addDocument"), { table: "scratch", documents: [{ a: 1 }, { a: "x" }] });
  const shape = (await request("shapes2")).body.scratch;
  assert.equal(shape.fields.find(({ fieldName }) => fieldName === "a").shape.type, "Union");
  assert.equal((await request("delete_tables", { tableNames: ["messages"], componentId: null })).status, 400);
  assert.equal((await request("delete_tables", { tableNames: ["scratch"], componentId: null })).status, 200);
  assert.equal((await request("shapes2")).body.scratch, undefined);
  assert.deepEqual((await request("v1/deployment_info")).body, { kind: "selfHosted" });
  for (const path of ["shapes2", "get_indexes", "v1/deployment_info"]) {
    assert.equal((await request(path, undefined, null)).status, 403, path);
  }
  assert.equal((await request("cancel_job", { id: "nonsense" })).body.code, "InvalidArgument");
  assert.equal((await request("cancel_all_jobs", {})).status, 200);
  assert.equal((await request("delete_scheduled_functions_table", { componentId: null })).status, 200);
});
