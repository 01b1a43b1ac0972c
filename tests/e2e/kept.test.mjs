// What a server keeps of what strangers and clients have sent: little, for a known time, and never a failure of the day.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { App } from "./lib/app.mjs";
import { load, memory, untilMemory } from "./lib/load.mjs";
import { Server } from "./lib/server.mjs";
import { Socket } from "./lib/socket.mjs";
import { until } from "./lib/wait.mjs";

const MIB = 1 << 20;

/** Runs `body(server)` with a server of its own, on which the app `workbench` is deployed. */
async function withServer(limits, body) {
  const server = await Server.start({
    args: Object.entries(limits).flatMap(([name, value]) => ["--limit", `${name}=${value}`]),
  });
  const app = await App.deploy("workbench", server);
  try {
    return await body(server);
  } finally {
    app.remove();
    await server.remove();
  }
}

async function post(server, kind, udfPath, args) {
  const response = await fetch(`${server.url}/api/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ path: udfPath, args, format: "json" }),
  });
  return { status: response.status, body: await response.json() };
}

/** Sends a mutation with a number, and gives the response to it. */
async function mutate(socket, requestId, udfPath, args) {
  socket.send({ type: "Mutation", requestId, udfPath, args: [args] });
  return await socket.next((message) => message.type === "MutationResponse" && message.requestId === requestId);
}

/** Waits until so many MiB at most have been added to what was `before`; gives how many it is in the end. */
async function grown(server, before, most) {
  const after = await untilMemory(server.process.pid, "private", before.private + most * MIB, 30_000);
  return (after - before.private) / MIB;
}

test("names that are not there and journals of megabytes are not kept for ever", async () => {
  await withServer({ result_cache: "16MiB" }, async (server) => {
    await post(server, "query", "values:echo", { value: 0 });
    const before = memory(server.process.pid);
    const long = await post(server, "query", `${"m".repeat(60)}/`.repeat(1 << 14) + "x:y", {});
    assert.equal(long.status, 400, JSON.stringify(long.body));
    assert.match(JSON.stringify(long.body), /has 999427 characters, and the longest has 1024/);
    for (let n = 0; n < 500; n++) {
      const missing = await post(server, "query", `${`folder${n}/`.repeat(80)}x:y`, { text: "x".repeat(100_000) });
      assert.equal(missing.body.status, "error");
    }
    const socket = await Socket.connect(server);
    for (let n = 0; n < 60; n++) {
      const query = { queryId: 0, udfPath: "values:echo", args: [{ value: n }], journal: String(n).padEnd(1_900_000) };
      const modifications = [{ type: "Add", ...query }];
      if (n > 0) modifications.unshift({ type: "Remove", queryId: 0 });
      socket.send({ type: "ModifyQuerySet", baseVersion: n + 1, newVersion: n + 2, modifications });
      await socket.next((message) => message.endVersion?.querySet === n + 2);
    }
    await socket.close();
    const kept = await grown(server, before, 80);
    assert.ok(kept < 80, `${kept} MiB are kept, of which the cache may have 16`);
  });
});

test("a mutation's result comes again, whatever its shape, and goes when it is old", async () => {
  await withServer({ receipts: "4s" }, async (server) => {
    const sessionId = randomUUID();
    const first = await Socket.connect(server, sessionId);
    const told = await mutate(first, 7, "values:storeAndNest", { levels: 64 });
    assert.equal(told.success, true, told.result);
    assert.equal(JSON.stringify(told.result), "[".repeat(64) + "]".repeat(64));
    await first.close();
    const second = await Socket.connect(server, sessionId);
    const again = await mutate(second, 7, "values:storeAndNest", { levels: 64 });
    assert.deepEqual([again.ts, again.result], [told.ts, told.result]);
    await second.close();

    // Its record goes when no client sends it again any more.
    await until("the record has gone", 20_000, async () => {
      const socket = await Socket.connect(server, sessionId);
      const { ts } = await mutate(socket, 7, "values:storeAndNest", { levels: 1 });
      await socket.close();
      await sleep(500);
      return ts !== told.ts;
    });
  });
});

test("the log of recent writes is bounded by its bytes", async () => {
  await withServer({ write_log: "8MiB" }, async (server) => {
    const text = "x".repeat(900_000);
    await post(server, "mutation", "messages:send", { room: text, text });
    const before = memory(server.process.pid);
    for (let n = 0; n < 150; n++) {
      const { body } = await post(server, "mutation", "messages:send", { room: n + text, text: "short" });
      assert.equal(body.status, "success", JSON.stringify(body));
    }
    // The page cache of the database's writer is 64 MiB.
    const kept = await grown(server, before, 64 + 40);
    assert.ok(kept < 64 + 40, `${kept} MiB are kept of 280 MiB of keys`);
  });
});

test("a server without descriptors says that it cannot now, and can later", async () => {
  await withServer({}, async (server) => {
    const pid = String(server.process.pid);
    const socket = await Socket.connect(server);
    await mutate(socket, 0, "messages:send", { room: "a", text: "b" });
    const limit = (count) => execFileSync("prlimit", ["--pid", pid, `--nofile=${count}:`]);
    limit(0);
    // Its module was not imported yet; with some engines, importing takes a descriptor.
    const modifications = [{ type: "Add", queryId: 1, udfPath: "lists:read", args: [{ names: ["l"] }] }];
    socket.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications });
    await sleep(1_500);
    const failed = ({ modifications }) => modifications?.some(({ type }) => type === "QueryFailed");
    assert.deepEqual(socket.messages.filter(failed), [], "the failure is not the query's result");
    limit(1024);
    const transition = await socket.next((message) => message.modifications?.some(({ queryId }) => queryId === 1));
    assert.equal(transition.modifications[0].type, "QueryUpdated", JSON.stringify(transition));
    await socket.close();
  });
});

test("on a full disk reads go on, and writes do when there is space", async (t) => {
  const disk = mkdtempSync(path.join(tmpdir(), "concave-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], { stdio: "ignore" });
  } catch {
    rmSync(disk, { recursive: true });
    return t.skip("only root can mount a disk");
  }
  const { TMPDIR } = process.env;
  try {
    process.env.TMPDIR = disk;
    const serving = Server.start();
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
    const server = await serving;
    const app = await App.deploy("workbench", server);
    // Rooms of fifty: a query reads 16 MiB at most.
    const room = (n) => `room ${Math.floor(n / 50)}`;
    const send = (n) => post(server, "mutation", "messages:send", { room: room(n), text: `${n} `.padEnd(50_000) });
    const sent = [];
    let refused;
    for (let n = 0; refused === undefined; n++) {
      const { status, body } = await send(n);
      if (status === 200) sent.push(n);
      else refused = { status, body };
    }
    assert.equal(refused.status, 503);
    assert.deepEqual([refused.body.code, /disk is full/.test(refused.body.message)], ["StorageFull", true]);
    for (let n = 0; n < 20; n++) {
      await send(-1);
      const some = room(sent[(n * 17) % sent.length]);
      const { body } = await post(server, "query", "messages:list", { room: some });
      assert.equal(body.status, "success", JSON.stringify(body));
      const there = sent.filter((one) => room(one) === some);
      assert.deepEqual(body.value.slice(0, there.length).map(parseFloat), there);
    }
    // A line for each change, not for each request: some room may come and go.
    const told = (text) => server.log.split(text).length - 1;
    const [full, again] = ["the server's disk is full", "there is space on the disk again"];
    assert.equal(told(full), told(again) + 1, server.log);
    assert.ok(told(full) < 10, server.log);
    execFileSync("mount", ["-o", "remount,size=48m", disk]);
    assert.equal((await send(-1)).status, 200);
    assert.equal(told(full), told(again), server.log);
    app.remove();
    await server.remove();
  } finally {
    execFileSync("umount", ["-l", disk]);
    rmSync(disk, { recursive: true });
  }
});

test("memory is given back after a time of load", async () => {
  await withServer({ result_cache: "8MiB", result_cache_idle: "10s" }, async (server) => {
    await load(server, { clients: 4, duration: 2_000 });
    await sleep(40_000);
    const before = memory(server.process.pid);
    const counts = await load(server, { clients: 24, duration: 20_000 });
    assert.ok(counts.mutations > 500, JSON.stringify(counts));
    // Caches: of SQLite 64 MiB and 8 MiB for each of 4 readers; the log of functions 8 MiB.
    const caches = 72 * MIB;
    const most = before.resident * 1.25 + caches;
    const after = await untilMemory(server.process.pid, "resident", most, 60_000);
    assert.ok(after <= most, `${after / MIB} MiB after, ${before.resident / MIB} MiB before`);
  });
});
