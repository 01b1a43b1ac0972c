// Apps with npm `convex` of the last two years, client and CLI: deployed, called, watched, deployed again.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { describe, test } from "node:test";
import { App } from "./lib/app.mjs";
import { VERSIONS } from "./lib/paths.mjs";
import { Server } from "./lib/server.mjs";
import { Watch } from "./lib/wait.mjs";

const versions = readdirSync(VERSIONS).flatMap((name) => /^convex-(.*)$/.exec(name)?.[1] ?? []);

/** The test of one version. */
async function works(version) {
  const server = await Server.start();
  const app = new App("tests/apps/versions", server, version);
  const { ConvexClient, ConvexHttpClient } = createRequire(path.join(app.directory, "app.js"))("convex/browser");
  const logger = { logVerbose() {}, log() {}, warn() {}, error() {} };
  const http = new ConvexHttpClient(server.url, { logger });
  const live = new ConvexClient(server.url, { logger });
  const [a, b] = [{ list: "a" }, { list: "b" }];
  try {
    const { stdout, stderr } = await app.deploy();
    assert.match(stdout + stderr, /Deployed Convex functions to/);
    const watch = Watch.on(live, "items:list", a);
    await watch.until("it is empty", (items) => items.length === 0);

    const id = await live.mutation("items:add", { ...a, text: "one" });
    assert.match(id, /^[0-9a-z]{31,37}$/);
    await watch.until("the first item is there", (items) => items.join() === "one");
    await http.mutation("items:add", { ...a, text: "two" });
    await watch.until("the second item is there", (items) => items.join() === "one,two");
    assert.deepEqual(await live.action("items:addTwice", { ...b, text: "x" }), ["x 1", "x 2"]);
    assert.deepEqual(await http.query("items:list", b), ["x 1", "x 2"]);
    const page = await live.query("items:page", { paginationOpts: { numItems: 3, cursor: null } });
    assert.deepEqual([page.page.length, page.isDone], [3, false]);
    const empty = (error) => error.data?.reason === "empty";
    await assert.rejects(http.mutation("items:add", { ...a, text: "" }), empty);
    await assert.rejects(live.mutation("items:add", { ...a, text: "" }), empty);
    await assert.rejects(http.query("items:list", { list: 5 }), /ArgumentValidationError/);

    const { stdout: cleared } = await app.run("run", "items:clear", JSON.stringify(a));
    assert.deepEqual(JSON.parse(cleared), ["one", "two"]);
    await watch.until("it is empty again", (items) => items.length === 0);
    await app.run("env", "set", "GREETING", "hello");
    assert.equal(await http.query("items:greeting", {}), "hello");
    assert.match((await app.run("data", "items")).stdout, /x 1/);

    // New code, and a schema that the documents do not match.
    const [code, schema] = ["convex/items.ts", "convex/schema.ts"].map((file) => app.read(file));
    app.write("convex/items.ts", code.replace("item.text)", "item.text.toUpperCase())"));
    await app.deploy();
    assert.deepEqual(await http.query("items:list", b), ["X 1", "X 2"]);
    app.write("convex/schema.ts", schema.replace("text: v.string()", "text: v.number()"));
    const refused = await app.try("deploy", "--typecheck", "disable");
    assert.notEqual(refused.code, 0);
    assert.match(refused.stdout + refused.stderr, /in table "items" does not match the schema/);
    assert.deepEqual(await http.query("items:list", b), ["X 1", "X 2"]);
    watch.stop();
  } finally {
    await live.close();
    app.remove();
    await server.remove();
  }
}

describe("an app works with npm convex", { concurrency: 2 }, () => {
  assert.ok(versions.length >= 9, `${versions}`);
  for (const version of versions) test(version, () => works(version));
});
