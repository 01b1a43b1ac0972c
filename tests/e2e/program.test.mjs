// The program as such: its help, its settings, its end, and what it serves besides the API.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { concave, Server } from "./lib/server.mjs";
import { within } from "./lib/wait.mjs";

const folder = mkdtempSync(path.join(tmpdir(), "concave-static-"));
writeFileSync(path.join(folder, "index.html"), "<h1>front page</h1>");
writeFileSync(path.join(folder, "code.js"), "export {};");
const server = await Server.start({ args: ["--static", folder] });
const app = await App.deploy("workbench", server);

after(async () => {
  app.remove();
  await server.remove();
  rmSync(folder, { recursive: true });
});

test("help names every command and setting", async () => {
  const { code, stdout } = await concave(["--help"]);
  assert.equal(code, 0);
  for (const command of ["dev", "serve", "admin-key"]) assert.match(stdout, new RegExp(`^\\s+${command}\\b`, "m"));
  const serve = await concave(["serve", "--help"]);
  for (const setting of [
    "allow-host",
    "allow-admin-origin",
    "persistence",
    "listen",
    "site-listen",
    "instance-name",
    "instance-secret",
    "static",
    "redact",
  ]) {
    assert.match(serve.stdout, new RegExp(`--${setting}\\b`));
    assert.match(serve.stdout, new RegExp(`CONCAVE_${setting.replaceAll("-", "_").toUpperCase()}\\b`));
  }
});

test("settings that make no sense are refused", async () => {
  for (const args of [
    ["frobnicate"],
    ["serve", "--persistence", "oracle://somewhere"],
    ["serve", "--listen", "nowhere"],
    ["admin-key", "--instance-name", "x", "--instance-secret", "not hex"],
  ]) {
    const { code, stderr } = await concave(args);
    assert.notEqual(code, 0, args.join(" "));
    assert.match(stderr, /./);
  }
});

test("files are served beside the API, and none from outside their folder", async () => {
  const get = async (path) => {
    const response = await fetch(server.url + path);
    return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
  };
  const page = await get("/");
  assert.equal(page.text, "<h1>front page</h1>");
  assert.match(page.type, /^text\/html/);
  assert.match((await get("/code.js")).type, /javascript/);
  assert.equal((await get("/missing.js")).status, 404);
  assert.equal((await get("/..%2f..%2f..%2fetc/passwd")).status, 404);
  assert.equal((await get("/api/missing")).status, 404);
  assert.equal((await get("/version")).status, 200);
});

test("without HTTP actions the site address says so", async () => {
  const response = await fetch(`http://127.0.0.1:${server.sitePort}/hook`);
  assert.equal(response.status, 404);
});

test("a stop waits for what runs, and loses nothing", async () => {
  const client = new ConvexClient(server.url, { logger: false });
  await client.query(api.values.echo, { value: 1 });
  let done = 0;
  for (let n = 0; n < 100; n++) {
    client.mutation(api.ledger.record, { batch: "stop", n }).then(
      () => (done += 1),
      () => {},
    );
  }
  await sleep(20);
  await server.stop();
  await server.restart();
  const http = new ConvexHttpClient(server.url, { logger: false });
  const { entries, receipts } = await http.query(api.ledger.audit, { batch: "stop" });
  assert.ok(entries.length >= done);
  assert.deepEqual(receipts, entries);
  await within("the client's goodbye", 5_000, client.close());
});
