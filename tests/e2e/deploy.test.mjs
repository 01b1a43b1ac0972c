// Deploying with the official CLI: first, again, with changes, and refused.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App, end, untilWritten } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until, Watch } from "./lib/wait.mjs";

const server = await Server.start();
const app = new App("tests/apps/notes", server);
const client = new ConvexHttpClient(server.url, { logger: false });
const live = new ConvexClient(server.url, { logger: false });

after(async () => {
  await live.close();
  app.remove();
  await server.remove();
});

// The tests build on one another: they are the history of one deployment.

test("before the first deployment there are no functions", async () => {
  await assert.rejects(client.query(api.notes.titles, {}), /Could not find public function for 'notes:titles'/);
});

test("codegen writes types and makes nothing live", async () => {
  await app.run("codegen");
  assert.match(app.read("convex/_generated/api.d.ts"), /notes: typeof notes/);
  await assert.rejects(client.query(api.notes.titles, {}), /Could not find public function/);
});

test("deploy makes the functions live, types checked", async () => {
  const watch = Watch.on(live, api.notes.titles, {});
  await watch.until("the function is missing", ({ error }) => /Could not find public function/.test(error.message));
  const { stderr } = await app.run("deploy", "--typecheck", "enable");
  assert.match(stderr, /Deployed Convex functions to/);
  assert.deepEqual(await client.query(api.notes.titles, {}), []);
  await watch.until("the live query works now", (titles) => titles.length === 0);
  watch.stop();
});

test("deploying the same again changes nothing", async () => {
  await client.mutation(api.notes.add, { title: "milk" });
  await app.deploy();
  assert.deepEqual(await client.query(api.notes.titles, {}), ["milk"]);
});

test("new code takes over, also in live queries", async () => {
  const watch = Watch.on(live, api.notes.titles, {});
  await watch.until("the old code answers", (titles) => titles[0] === "milk");
  app.write("convex/notes.ts", app.read("convex/notes.ts").replace("note.title)", "note.title.toUpperCase())"));
  await app.deploy();
  await watch.until("the new code answers", (titles) => titles[0] === "MILK");
  watch.stop();
});

test("a schema that a document violates is refused, document and field named, and the old functions serve on", async () => {
  const schema = app.read("convex/schema.ts");
  const notes = app.read("convex/notes.ts");
  const id = (await client.mutation(api.notes.add, { title: "eggs" })) ?? assert.fail("no id");
  app.write("convex/schema.ts", schema.replace("v.optional(v.number())", "v.number()"));
  app.write("convex/notes.ts", notes.replace("toUpperCase", "toLowerCase"));
  const { code, stderr } = await app.try("deploy", "--typecheck", "disable");
  assert.notEqual(code, 0);
  assert.match(stderr, /Document with ID "[0-9a-z]{31,37}" in table "notes" does not match the schema/);
  assert.match(stderr, /stars/);
  assert.deepEqual(await client.query(api.notes.titles, {}), ["MILK", "EGGS"]);
  await client.mutation(api.notes.add, { title: "bread" });
  assert.deepEqual(await client.query(api.notes.titles, {}), ["MILK", "EGGS", "BREAD"]);
  assert.match(id, /^[0-9a-z]{31,37}$/);
  app.write("convex/schema.ts", schema);
  app.write("convex/notes.ts", notes);
  await app.deploy();
});

test("a new index over existing documents is complete when the deployment is live", async () => {
  const schema = app.read("convex/schema.ts");
  app.write("convex/schema.ts", schema.replace(/\}\),\n\}\);/, '}).index("by_title", ["title"]),\n});'));
  const byTitle = `
export const startingWith = query({
  args: { prefix: v.string() },
  handler: async (ctx, { prefix }) => {
    const notes = ctx.db.query("notes").withIndex("by_title", (q) => q.gte("title", prefix).lt("title", prefix + "~"));
    return (await notes.collect()).map((note) => note.title);
  },
});
`;
  app.write("convex/notes.ts", app.read("convex/notes.ts") + byTitle);
  const { stderr } = await app.run("deploy", "--typecheck", "enable");
  assert.match(stderr, /notes\.by_title/);
  assert.deepEqual(await client.query(api.notes.startingWith, { prefix: "" }), ["bread", "eggs", "milk"]);
  await client.mutation(api.notes.add, { title: "beer" });
  assert.deepEqual(await client.query(api.notes.startingWith, { prefix: "b" }), ["beer", "bread"]);
});

test("code that does not load is refused and the old code serves on", async () => {
  app.write("convex/broken.ts", 'throw new Error("cannot load");\nexport {};\n');
  const { code, stderr } = await app.try("deploy", "--typecheck", "disable");
  assert.notEqual(code, 0);
  assert.match(stderr, /cannot load/);
  assert.equal((await client.query(api.notes.titles, {})).length, 4);
  app.write("convex/broken.ts", "export {};\n");
});

test("a deployment survives a kill of the server", async () => {
  await app.deploy();
  await server.kill();
  await server.restart();
  assert.deepEqual(await client.query(api.notes.startingWith, { prefix: "m" }), ["milk"]);
});

test("a wrong admin key deploys nothing", async () => {
  const { adminKey } = server;
  server.adminKey = adminKey.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
  const { code } = await app.try("deploy", "--typecheck", "disable");
  server.adminKey = adminKey;
  assert.notEqual(code, 0);
});

test("dev --once deploys", async () => {
  app.write("convex/extra.ts", 'import { query } from "./_generated/server";\nexport default query(() => "once");\n');
  await app.run("dev", "--once", "--typecheck", "disable");
  assert.equal(await client.query("extra:default", {}), "once");
});

test("dev deploys what changes, again and again, and shows logs", async () => {
  const dev = app.start("dev", "--typecheck", "disable");
  try {
    await untilWritten(dev, /Convex functions ready/);
    app.write(
      "convex/extra.ts",
      'import { query } from "./_generated/server";\nexport default query(() => (console.log("seen in dev"), "changed"));\n',
    );
    await until("the change is live", 60_000, async () => (await client.query("extra:default", {})) === "changed");
    await until("its log lines are shown", 60_000, async () => {
      await client.query("extra:default", {});
      await sleep(500);
      return /seen in dev/.test(dev.output.stdout + dev.output.stderr);
    });
  } finally {
    await end(dev);
  }
});
