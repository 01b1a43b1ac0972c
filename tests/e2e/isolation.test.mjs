// Clients read lists and append to them, many at once; an independent checker looks for anomalies in what they were told
// and when (see tests/rust-client/src/bin/judge.rs). Nothing of the server is known to it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { App } from "./lib/app.mjs";
import { ForeignClient } from "./lib/client.mjs";
import { JUDGE } from "./lib/paths.mjs";
import { Server } from "./lib/server.mjs";
import { within } from "./lib/wait.mjs";

const SOCKET_CLIENTS = 5;
const HTTP_CLIENTS = 3;
const TRANSACTIONS_PER_CLIENT = 100;
/** Lists that are in use at once; each is left for a new one when it has this many elements. */
const LISTS = 4;
const ELEMENTS_MAX = 16;
const CALL_TIMEOUT_MS = 30_000;
/** How long a client waits after a failure, such as that nobody listens. */
const PAUSE_MS = 50;

const server = await Server.start();
const app = await App.deploy("workbench", server);

after(async () => {
  app.remove();
  await server.remove();
});

/** What happened to all transactions, in the order in which it happened. */
class History {
  operations = [];
  processes = 0;
  #element = 0;
  #generations = Array(LISTS).fill(0);

  constructor(name) {
    this.name = name;
  }

  get done() {
    return this.operations.filter(({ type }) => type === "ok").length;
  }

  /** Draws a transaction: the lists that it reads, and what it appends. */
  draw() {
    const some = (most) => {
      const slots = Array.from({ length: LISTS }, (_, slot) => slot).sort(() => Math.random() - 0.5);
      return slots.slice(0, 1 + Math.floor(Math.random() * most)).map((slot) => this.#list(slot));
    };
    const appends = Math.random() < 0.3 ? [] : some(2).map((name) => ({ name, element: ++this.#element }));
    return { names: some(3), appends };
  }

  #list(slot) {
    return `${this.name} ${slot} ${this.#generations[slot]}`;
  }

  /** Records a transaction from its beginning to its end. Gives whether its end is known. */
  async record(process, { names, appends }, call) {
    const appended = appends.map(({ name, element }) => ["append", name, element]);
    const value = (lists) => [...names.map((name, n) => ["r", name, lists?.[n] ?? null]), ...appended];
    this.operations.push({ type: "invoke", process, value: value() });
    try {
      const lists = await within("an answer", CALL_TIMEOUT_MS, call());
      this.operations.push({ type: "ok", process, value: value(lists) });
      for (const [slot] of this.#generations.entries()) {
        const place = names.indexOf(this.#list(slot));
        if (place >= 0 && lists[place].length >= ELEMENTS_MAX) this.#generations[slot]++;
      }
      return true;
    } catch (error) {
      // It may have happened, and may still happen.
      this.operations.push({ type: "info", process, value: value(), error: error.message });
      return false;
    }
  }

  /** Runs transactions through a client, one after the other, until `enough`. */
  async run(client, enough) {
    let process = this.processes++;
    while (!enough()) {
      const drawn = this.draw();
      const { names, appends } = drawn;
      const call = () =>
        appends.length > 0 ? client.mutation("lists:transact", drawn) : client.query("lists:read", { names });
      // Who does not know how a transaction ended is somebody else from then on.
      if (await this.record(process, drawn, call)) continue;
      process = this.processes++;
      await sleep(PAUSE_MS);
    }
  }
}

async function judge(operations, model) {
  const child = spawn(JUDGE, [model]);
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"]) child[stream].on("data", (data) => (output[stream] += data));
  const ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.end(operations.map((operation, index) => `${JSON.stringify({ index, ...operation })}\n`).join(""));
  assert.equal(await ended, 0, output.stderr);
  return JSON.parse(output.stdout);
}

async function assertStrict({ operations }) {
  const { valid, anomalies } = await judge(operations, "strict-serializable");
  assert.equal(valid, true, JSON.stringify(anomalies, null, 2));
}

/** A function of the app by its path, for npm clients. */
const named = (path) => path.split(":").reduce((at, name) => at[name], api);

/** The official Rust client. It has a new session with every connection, so what it sends again may happen twice. */
const rust = () => ForeignClient.rust(server);

/**
 * The official npm client. It keeps its session, so that what it sends again happens once. But it answers a query from
 * what it still has of the same one, if it asked that a moment before; so it reads by mutations, too.
 */
function npm() {
  const client = new ConvexClient(server.url, { logger: false });
  return {
    query: (_, { names }) => client.mutation(api.lists.transact, { names, appends: [] }),
    mutation: (path, args) => client.mutation(named(path), args),
    close: () => client.close(),
  };
}

/** Some clients that `open` connects, and some that send each request on its own. */
function connect(open) {
  const http = Array.from({ length: HTTP_CLIENTS }, () => {
    const client = new ConvexHttpClient(server.url, { logger: false });
    return {
      query: (path, args) => client.query(named(path), args),
      mutation: (path, args) => client.mutation(named(path), args),
    };
  });
  const connected = Array.from({ length: SOCKET_CLIENTS }, open);
  return { clients: [...connected, ...http], close: () => Promise.all(connected.map((client) => client.close())) };
}

test("concurrent transactions are strictly serializable", { timeout: 180_000 }, async () => {
  const history = new History("calm");
  const { clients, close } = connect(rust);
  try {
    const work = clients.map((client) => {
      let left = TRANSACTIONS_PER_CLIENT;
      return history.run(client, () => left-- === 0);
    });
    await Promise.all(work);
  } finally {
    await close();
  }
  const failed = history.operations.filter(({ type }) => type === "info");
  assert.deepEqual(failed, [], "nothing fails for good");
  assert.equal(history.done, clients.length * TRANSACTIONS_PER_CLIENT);
  await assertStrict(history);
});

test("they still are when the server is killed amid them", { timeout: 180_000 }, async () => {
  const history = new History("killed");
  const { clients, close } = connect(npm);
  const enough = clients.length * TRANSACTIONS_PER_CLIENT;
  try {
    const work = Promise.all(clients.map((client) => history.run(client, () => history.done >= enough)));
    for (const part of [1 / 4, 1 / 2]) {
      while (history.done < part * enough) await sleep(5);
      await server.kill();
      await server.restart();
    }
    await work;
  } finally {
    await close();
  }
  await assertStrict(history);
});

test("the judge refuses a changed history", async () => {
  const history = new History("changed");
  const { clients, close } = connect(rust);
  try {
    await history.run(clients[0], () => history.done >= 30);
  } finally {
    await close();
  }
  await assertStrict(history);
  // One client alone, and one of its answers lacks an element that was there.
  const changed = history.operations.findLast(({ type, value }) => type === "ok" && value.some(isFilled));
  changed.value.find(isFilled)[2].pop();
  const { valid, anomaly_types } = await judge(history.operations, "strict-serializable");
  assert.equal(valid, false);
  assert.ok(anomaly_types.length > 0);
});

const isFilled = ([part, , elements]) => part === "r" && elements.length > 0;
