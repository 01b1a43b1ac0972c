// Scheduled functions: when they run, what is seen of them, and that a kill -9 neither loses nor repeats any.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until, Watch } from "./lib/wait.mjs";

const TIMEOUT_MS = 60_000;
const api = anyApi.reminders;

const server = await Server.start();
const app = new App("tests/apps/reminders", server);
await app.run("deploy", "--typecheck", "enable");
const client = new ConvexHttpClient(server.url, { logger: false });
const live = new ConvexClient(server.url, { logger: false });

after(async () => {
  await live.close();
  app.remove();
  await server.remove();
});

/** Waits for all that is written in a batch; gives its numbers. */
async function written(batch, count) {
  const rows = await until(`${count} are written in ${batch}`, TIMEOUT_MS, async () => {
    const rows = await client.query(api.written, { batch });
    return rows.length >= count && rows;
  });
  return rows.map(({ n }) => n);
}

async function finished(job) {
  return until("the job is finished", TIMEOUT_MS, async () => {
    const record = await client.query(api.job, { job });
    return !["pending", "inProgress"].includes(record.state.kind) && record;
  });
}

test("runAfter 0 runs at once, after the mutation", async () => {
  const { job, now } = await client.mutation(api.remindAfter, { batch: "at once", n: 1, delay: 0 });
  assert.deepEqual(await written("at once", 1), [1]);
  const { _id, _creationTime, completedTime, ...record } = await finished(job);
  assert.equal(_id, job);
  assert.ok(completedTime >= now && completedTime > _creationTime);
  assert.deepEqual(record, {
    name: "reminders.js:write",
    args: [{ batch: "at once", n: 1 }],
    scheduledTime: now,
    state: { kind: "success" },
  });
});

test("runAfter and runAt wait for their time, in order of it", async () => {
  const batch = "later";
  const { job, now } = await client.mutation(api.remindAfter, { batch, n: 2, delay: 600 });
  const at = Math.floor(now) + 300;
  const dated = await client.mutation(api.remindAt, { batch, n: 1, at, asDate: true });
  const past = await client.mutation(api.remindAt, { batch, n: 0, at: now - 60_000, asDate: false });
  assert.equal((await client.query(api.job, { job })).state.kind, "pending");
  assert.deepEqual(await written(batch, 3), [0, 1, 2]);
  const rows = await client.query(api.written, { batch });
  assert.ok(rows[1].at >= at, `${rows[1].at - at} ms early`);
  assert.ok(rows[2].at >= now + 600, `${rows[2].at - now} ms instead of 600`);
  assert.equal((await finished(dated)).scheduledTime, at);
  assert.equal((await finished(past)).scheduledTime, now - 60_000);
  assert.equal((await finished(job)).scheduledTime, now + 600);
});

test("a mutation that throws schedules nothing and cancels nothing", async () => {
  const { job } = await client.mutation(api.remindAfter, { batch: "kept", n: 1, delay: 300 });
  await assert.rejects(client.mutation(api.remindAndThrow, { batch: "failed", n: 1, cancel: job }), /on purpose/);
  assert.deepEqual(await written("kept", 1), [1]);
  assert.deepEqual(await client.query(api.written, { batch: "failed" }), []);
  assert.deepEqual(await client.query(api.jobsOf, { batch: "failed" }), []);
});

test("canceled jobs do not run", async () => {
  const batch = "canceled";
  const jobs = [];
  for (const n of [1, 2]) jobs.push((await client.mutation(api.remindAfter, { batch, n, delay: 400 })).job);
  await client.mutation(api.cancel, { job: jobs[0] });
  await client.action(api.cancelFromAction, { job: jobs[1] });
  assert.deepEqual(await client.query(api.states, { batch }), ["canceled", "canceled"]);
  await sleep(600);
  assert.deepEqual(await client.query(api.written, { batch }), []);
  // Once more does nothing, nor does it for what has run.
  await client.mutation(api.cancel, { job: jobs[0] });
  const { job } = await client.mutation(api.remindAfter, { batch, n: 3, delay: 0 });
  const record = await finished(job);
  await client.mutation(api.cancel, { job });
  assert.deepEqual(await client.query(api.job, { job }), record);
});

test("from an action, at once", async () => {
  const job = await client.action(api.remindFromAction, { batch: "from an action", n: 1, delay: 100 });
  assert.deepEqual(await written("from an action", 1), [1]);
  assert.equal((await finished(job)).state.kind, "success");
});

test("a live query follows an action from pending to success", async () => {
  const job = await client.mutation(api.startSlow, { batch: "watched", n: 1, wait: 300 });
  const watch = Watch.on(live, api.job, { job });
  await watch.until("it succeeds", (record) => record?.state?.kind === "success");
  watch.stop();
  const seen = watch.results.map(({ state }) => state.kind);
  const order = ["pending", "inProgress", "success"];
  assert.deepEqual(seen, order.slice(-seen.length));
  assert.ok(seen.includes("inProgress"), seen.join());
  assert.deepEqual(await written("watched", 2), [1, 2]);
});

test("a live query follows a waiting mutation to success", async () => {
  const watch = Watch.on(live, api.states, { batch: "watched mutation" });
  await watch.until("it is empty", (states) => states.length === 0);
  await client.mutation(api.remindAfter, { batch: "watched mutation", n: 1, delay: 300 });
  await watch.until("it succeeds", (states) => states[0] === "success");
  watch.stop();
  // What a mutation does and that it is done come together, so nobody sees it in progress.
  assert.deepEqual(watch.results, [[], ["pending"], ["success"]]);
});

test("a function that throws has failed, and leaves nothing but that", async () => {
  const job = await client.mutation(api.startFails, { batch: "thrown", n: 1 });
  const { state } = await finished(job);
  assert.equal(state.kind, "failed");
  assert.match(state.error, /^Uncaught Error: failing thrown\n {4}at .*reminders\.ts/);
  assert.deepEqual(await client.query(api.written, { batch: "thrown" }), []);
  const logs = await fetch(`${server.url}/api/stream_function_logs?cursor=0`, {
    headers: { Authorization: `Convex ${server.adminKey}` },
  });
  const entry = (await logs.json()).entries.find(({ identifier }) => identifier === "reminders:fails");
  assert.equal(entry.caller, "Scheduler");
  assert.equal(entry.udfType, "Mutation");
  assert.match(entry.error, /failing thrown/);
  assert.match(JSON.stringify(entry.logLines), /about to fail/);
});

test("whoever scheduled it is not who runs it", async () => {
  const admin = new ConvexHttpClient(server.url, { logger: false });
  admin.setAdminAuth(server.adminKey, { issuer: "https://tests", subject: "ann", tokenIdentifier: "tests|ann" });
  await admin.mutation(api.remindAfter, { batch: "identity", n: 1, delay: 0 });
  await written("identity", 1);
  assert.equal((await client.query(api.written, { batch: "identity" }))[0].user, null);
});

test("a mutation may schedule a thousand functions and no more", async () => {
  await assert.rejects(
    client.mutation(api.scheduleMany, { batch: "too many", count: 1001 }),
    /Too many functions scheduled by this mutation \(limit: 1000\)/,
  );
  await client.mutation(api.scheduleMany, { batch: "many", count: 1000 });
  const numbers = await written("many", 1000);
  assert.deepEqual(
    numbers.sort((a, b) => a - b),
    Array.from({ length: 1000 }, (_, n) => n),
  );
  assert.deepEqual(await client.query(api.jobsOf, { batch: "too many" }), []);
});

test("a chain of mutations survives kills: each happens once", async () => {
  const [batch, length] = ["chain", 300];
  await client.mutation(api.startCountDown, { batch, n: length });
  for (const seen of [20, 90, 170, 230]) {
    await written(batch, seen);
    await server.kill();
    await server.restart();
  }
  const numbers = await written(batch, length + 1);
  assert.deepEqual(
    numbers,
    Array.from({ length: length + 1 }, (_, n) => length - n),
  );
  const jobs = await client.query(api.jobsOf, { batch });
  assert.equal(jobs.length, length + 1);
  await until("all have succeeded", TIMEOUT_MS, async () => {
    const jobs = await client.query(api.jobsOf, { batch });
    return jobs.every(({ state }) => state.kind === "success");
  });
});

test("an action that a kill ends has failed and is not run again; a job that waits, waits on", async () => {
  const slow = await client.mutation(api.startSlow, { batch: "killed", n: 1, wait: 60_000 });
  const { job } = await client.mutation(api.remindAfter, { batch: "waiting", n: 1, delay: 1_000 });
  await written("killed", 1);
  await server.kill();
  await server.restart();
  const state = { kind: "failed", error: "Transient error while executing action" };
  assert.deepEqual((await finished(slow)).state, state);
  assert.equal((await finished(job)).state.kind, "success");
  assert.deepEqual(await written("killed", 1), [1]);
});

test("a function that a deployment removed fails, with the reason", async () => {
  // The job must fall due after the deployment, however slow this machine is today.
  const begun = Date.now();
  await app.deploy();
  const delay = 2_000 + 3 * (Date.now() - begun);
  const { job } = await client.mutation(api.remindAfter, { batch: "removed", n: 1, delay });
  const source = app.read("convex/reminders.ts");
  app.write("convex/reminders.ts", source.replaceAll(/\bwrite\b/g, "writeDown"));
  await app.deploy();
  const { state } = await finished(job);
  assert.equal(state.kind, "failed");
  assert.match(state.error, /Could not find function for 'reminders:write'/);
});
