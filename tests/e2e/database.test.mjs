// The database file in trouble: shared, cut short, or not a database at all.

import assert from "node:assert/strict";
import { copyFileSync, existsSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { concave, freePort, Server } from "./lib/server.mjs";

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexHttpClient(server.url, { logger: false });
const texts = Array.from({ length: 2000 }, (_, n) => `${n} ${"x".repeat(1000)}`);
await client.mutation(api.messages.sendMany, { room: "kept", texts });

after(async () => {
  app.remove();
  await server.remove();
});

/** Runs a second server on the same database, at addresses of its own. */
async function secondServer() {
  const args = server.arguments;
  for (const option of ["--listen", "--site-listen"]) args[args.indexOf(option) + 1] = `127.0.0.1:${await freePort()}`;
  return await concave(args);
}

async function checkData() {
  assert.deepEqual(await client.query(api.messages.list, { room: "kept" }), texts);
}

test("a second server on the same database refuses to start, the first serves on", async () => {
  const { code, stderr } = await secondServer();
  assert.notEqual(code, 0);
  assert.match(stderr, /in use by another server/);
  await checkData();
  await client.mutation(api.counter.increment, { name: "still writing" });
});

test("a server whose address is taken says so and ends", async () => {
  const args = server.arguments;
  args[args.indexOf("--persistence") + 1] = `sqlite://${server.database}.other`;
  const { code, stderr } = await concave(args);
  assert.notEqual(code, 0);
  assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${server.port}`));
});

for (const [what, keep] of [
  ["half of", (size) => Math.floor(size / 2)],
  ["all but the last page of", (size) => size - 4096],
  ["the first bytes of", () => 1000],
]) {
  test(`with only ${what} its database the server refuses to start, names it, and leaves it alone`, async () => {
    await server.stop();
    const { database } = server;
    assert.ok(!existsSync(`${database}-wal`), "a good stop leaves no log behind");
    copyFileSync(database, `${database}.backup`);
    truncateSync(database, keep(statSync(database).size));
    const { size } = statSync(database);
    const { code, stderr } = await concave(server.arguments);
    assert.notEqual(code, 0);
    assert.match(stderr, /damaged/);
    assert.ok(stderr.includes(database), stderr);
    assert.equal(statSync(database).size, size);
    copyFileSync(`${database}.backup`, database);
    await server.restart();
    await checkData();
  });
}

test("a file that is no database is refused", async () => {
  await server.stop();
  const { database } = server;
  copyFileSync(database, `${database}.backup`);
  writeFileSync(database, "Dear diary, ".repeat(10_000));
  const { code, stderr } = await concave(server.arguments);
  assert.notEqual(code, 0);
  assert.match(stderr, /damaged/);
  copyFileSync(`${database}.backup`, database);
  await server.restart();
  await checkData();
});
