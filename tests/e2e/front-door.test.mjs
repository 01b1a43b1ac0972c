// What keeps strangers out: the secret, the names and pages that are answered, and what they see of errors.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { after, test } from "node:test";
import WebSocket from "ws";
import { App } from "./lib/app.mjs";
import { concave, Server } from "./lib/server.mjs";

/** Servers that were given no secret: on loopback, and where others can connect. */
const local = await Server.start({ instance: [] });
const exposed = await Server.start({ instance: [], host: "0.0.0.0" });
const apps = [await App.deploy("workbench", local), await App.deploy("workbench", exposed)];

after(async () => {
  for (const app of apps) app.remove();
  await local.remove();
  await exposed.remove();
});

/** Sends a request as a browser may: `{ status, text }`. */
async function send(server, { method = "GET", path = "/version", headers = {}, body, port = server.port } = {}) {
  const sent = request({ host: "127.0.0.1", port, method, path, headers, agent: false });
  sent.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = await once(sent, "response");
  let text = "";
  for await (const data of response) text += data;
  return { status: response.statusCode, text };
}

const call = (path, args = {}) => ({
  ...{ method: "POST", headers: { "content-type": "application/json" } },
  body: { path, args, format: "json" },
});

const checkKey = (server, key, headers = {}) =>
  send(server, { path: "/api/check_admin_key", headers: { authorization: `Convex ${key}`, ...headers } });

test("a server without a secret makes one, keeps it for its owner, and says where", async () => {
  for (const server of [local, exposed]) {
    const file = `${server.database}.instance.json`;
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(server.log.includes(file), server.log);
    const { name, secret } = JSON.parse(readFileSync(file, "utf8"));
    assert.match(secret, /^[0-9a-f]{64}$/);
    assert.ok(!server.log.includes(secret));
    assert.ok(server.adminKey.startsWith(`${name}|`));
    assert.equal((await checkKey(server, server.adminKey)).status, 200);
  }
  assert.equal((await checkKey(local, exposed.adminKey)).status, 401);
  const before = readFileSync(`${local.database}.instance.json`, "utf8");
  await local.stop();
  await local.restart();
  assert.equal(readFileSync(`${local.database}.instance.json`, "utf8"), before);
  assert.equal((await checkKey(local, local.adminKey)).status, 200);
  assert.equal((await checkKey(local, await local.newKey())).status, 200);
});

test("what earlier versions used without a secret opens nothing", async () => {
  const known = Buffer.from("concave: no secret, for dev only").toString("hex");
  const { name } = JSON.parse(readFileSync(`${local.database}.instance.json`, "utf8"));
  for (const instanceName of ["concave", name]) {
    const forged = await concave(["admin-key", "--instance-name", instanceName, "--instance-secret", known]);
    assert.equal((await checkKey(local, forged.stdout.trim())).status, 401);
  }
});

test("a key is not made for a deployment that is not there", async () => {
  const { code, stderr } = await concave(["admin-key", "--persistence", `sqlite://${local.directory}/other.sqlite3`]);
  assert.equal(code, 1);
  assert.match(stderr, /other\.sqlite3\.instance\.json does not exist/);
  assert.match(stderr, /--persistence/);
});

test("a damaged secret is told, and nothing is overwritten", async () => {
  const broken = await Server.start({ instance: [] });
  await broken.stop();
  const file = `${broken.database}.instance.json`;
  writeFileSync(file, "{");
  await assert.rejects(broken.restart(), /is damaged/);
  assert.equal(readFileSync(file, "utf8"), "{");
  broken.process = undefined;
  await broken.remove();
});

test("data is not served as static files", async () => {
  const { code, stderr } = await concave([
    ...["serve", "--persistence", `sqlite://${local.directory}/served.sqlite3`, "--static", local.directory],
    ...["--listen", "127.0.0.1:0", "--site-listen", "127.0.0.1:0"],
  ]);
  assert.equal(code, 1);
  assert.match(stderr, /folder of static files/);
});

test("on loopback only names of this machine are answered", async () => {
  for (const host of [`localhost:${local.port}`, "127.0.0.1", "[::1]:80"]) {
    assert.equal((await send(local, { headers: { host } })).status, 200, host);
  }
  const evil = { host: `evil.example:${local.port}` };
  for (const path of ["/version", "/api/query", "/api/check_admin_key", "/"]) {
    const { status, text } = await send(local, { path, headers: evil });
    assert.equal(status, 421, path);
    assert.match(text, /--allow-host evil\.example/);
  }
  assert.equal((await send(local, { port: local.sitePort, headers: evil })).status, 421);
  const socket = new WebSocket(`${local.url.replace("http", "ws")}/api/1.48.0/sync`, { headers: evil });
  const [error] = await once(socket, "error");
  assert.match(error.message, /421/);
  // Elsewhere a server cannot know what it is called.
  assert.equal((await send(exposed, { headers: evil })).status, 200);
});

test("operators allow names and origins", async () => {
  const args = [
    ...["--allow-host", "box.example", "--allow-admin-origin", "https://dashboard.example"],
    ...["--cloud-url", "https://api.example", "--site-url", "https://site.example"],
  ];
  const server = await Server.start({ args });
  try {
    for (const host of ["box.example", "api.example", "site.example:443", "localhost"]) {
      assert.equal((await send(server, { headers: { host } })).status, 200, host);
    }
    assert.equal((await send(server, { headers: { host: "other.example" } })).status, 421);
    for (const [origin, status] of [
      ["https://dashboard.example", 200],
      ["https://api.example", 200],
      ["https://evil.example", 403],
    ]) {
      assert.equal((await checkKey(server, server.adminKey, { origin })).status, status, origin);
    }
  } finally {
    await server.remove();
  }
});

test("pages of other origins call functions, but not as admins", async () => {
  for (const server of [local, exposed]) {
    for (const origin of ["https://evil.example", "null"]) {
      const { status, text } = await checkKey(server, server.adminKey, { origin });
      assert.equal(status, 403);
      assert.match(text, /AdminOriginNotAllowed/);
      const query = call("values:echo", { value: 1 });
      const anonymous = await send(server, { ...query, path: "/api/query", headers: { ...query.headers, origin } });
      assert.equal(JSON.parse(anonymous.text).value, 1);
    }
    for (const origin of ["http://localhost:6791", `http://127.0.0.1:${server.port}`]) {
      assert.equal((await checkKey(server, server.adminKey, { origin })).status, 200, origin);
    }
    const path = `/api/check_admin_key?adminKey=${encodeURIComponent(server.adminKey)}`;
    assert.equal((await send(server, { path })).status, 403);
  }
});

test("strangers see the texts of errors on this machine only, unless it is said", async () => {
  const text = async (server) => {
    const failing = { ...call("failures:throwError", { text: "inner detail" }), path: "/api/query" };
    return JSON.parse((await send(server, failing)).text).errorMessage;
  };
  assert.match(await text(local), /Uncaught Error: inner detail/);
  assert.match(local.log, /Errors .*shown to every client/);
  assert.match(await text(exposed), /^\[Request ID: \w+\] Server Error$/);
  assert.match(exposed.log, /Errors .*for admins only/);
  for (const [server, arg, pattern] of [
    [exposed, "--redact=false", /Uncaught Error: inner detail/],
    [local, "--redact", /Server Error$/],
  ]) {
    await server.stop();
    server.extraArgs = [arg];
    await server.restart();
    assert.match(await text(server), pattern);
  }
});
