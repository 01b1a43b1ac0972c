// What strangers do to a server with 1 GB of memory, beside an innocent client that must not feel it.

import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { App } from "./app.mjs";
import { Server } from "./server.mjs";
import { until } from "./wait.mjs";

/** The memory that the server may have, bytes. */
export const MEMORY_BYTES = 1 << 30;
/** What 99 of 100 actions of the innocent client take at the most, milliseconds. */
export const INNOCENT_P99_MS = 500;
/** How long the innocent client is watched before the strangers come, and after they have left. */
const QUIET_MS = 1_000;
const ANSWER_TIMEOUT_MS = 20_000;

/**
 * Lets `attack(server)` happen to a server of its own, and asserts what holds for every attack: the process stays below
 * MEMORY_BYTES and lives, and the innocent client has what it asks for within INNOCENT_P99_MS. `args` go to the server,
 * `setup` is run in the shell from which it starts. Returns what the attack returns.
 */
export async function endure(attack, { args = [], setup = "", p99 = INNOCENT_P99_MS } = {}) {
  const fence = Fence.make();
  const server = await prepared({ args, setup: `${setup}\n${fence.setup}` });
  try {
    const innocent = await Innocent.start(server);
    await innocent.watch(QUIET_MS);
    const result = await attack(server);
    await innocent.watch(QUIET_MS);
    const { latencies, failures } = await innocent.end();
    fence.check(server);
    assert.deepEqual(failures, [], "the innocent client was harmed");
    const felt = quantile(latencies, 0.99);
    assert.ok(felt < p99, `the innocent client waited ${felt} ms (p99 of ${latencies.length})`);
    return result;
  } finally {
    await server.remove();
    fence.remove();
  }
}

/** A server on which the app `strangers` is deployed. Takes what `Server.start` takes. */
export async function prepared(options) {
  return await Server.start({ ...options, data: await deployed() });
}

/**
 * Sends the head of a request and what there is of its body, which is said to have `length` characters. Gives the raw
 * connection.
 */
export function begin(server, path, body, { headers = [], length = body.length } = {}) {
  const connection = connect(server.port, "127.0.0.1");
  connection.on("error", () => {});
  const head = [`POST ${path} HTTP/1.1`, "host: localhost", "content-type: application/json", ...headers];
  connection.write([...head, `content-length: ${length}`, "", body].join("\r\n"));
  return connection;
}

/** The value below which `share` of `numbers` lie. */
export function quantile(numbers, share) {
  assert.ok(numbers.length > 0, "nothing was measured");
  return numbers.toSorted((a, b) => a - b)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))];
}

/** A folder with the data of a server on which the app `strangers` is deployed. Made once. */
let template;
function deployed() {
  template ??= (async () => {
    const server = await Server.start();
    const app = await App.deploy("strangers", server);
    await server.stop();
    const directory = mkdtempSync(path.join(tmpdir(), "concave-template-"));
    process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
    cpSync(server.directory, directory, { recursive: true });
    app.remove();
    await server.remove();
    return directory;
  })();
  return template;
}

/** A limit of memory around a process: a control group where one can be made, and in any case a look at its peak. */
class Fence {
  static #count = 0;

  static make() {
    const fence = new Fence();
    const name = `concave-test-${process.pid}-${Fence.#count++}`;
    const limit = String(MEMORY_BYTES);
    const kinds = [
      { root: "/sys/fs/cgroup", mark: "cgroup.controllers", settings: { "memory.max": limit } },
      { root: "/sys/fs/cgroup/memory", mark: "tasks", settings: { "memory.limit_in_bytes": limit } },
    ];
    const kind = kinds.find(({ root, mark }) => existsSync(path.join(root, mark)));
    if (kind === undefined) return fence;
    const directory = path.join(kind.root, name);
    try {
      mkdirSync(directory);
      fence.directory = directory;
      for (const [file, value] of Object.entries(kind.settings)) writeFileSync(path.join(directory, file), value);
    } catch {
      fence.remove(); // Not ours to make. The peak is looked at all the same.
    }
    return fence;
  }

  /** Shell commands that put a process behind the fence. */
  get setup() {
    return this.directory === undefined ? "" : `echo $$ > ${this.directory}/cgroup.procs`;
  }

  check(server) {
    const { exitCode, signalCode } = server.process;
    assert.equal(exitCode ?? signalCode, null, `the server ended:\n${server.log}`);
    const peak = server.peakMemory;
    assert.ok(peak < MEMORY_BYTES, `the server took ${peak >> 20} MiB`);
  }

  remove() {
    if (this.directory === undefined) return;
    rmdirSync(this.directory);
    this.directory = undefined;
  }
}

/** A client in a thread of its own, so that it measures the server and not the strangers in this one. */
class Innocent {
  static async start(server) {
    const innocent = new Innocent();
    innocent.worker = new Worker(new URL("innocent.mjs", import.meta.url), { workerData: { url: server.url } });
    innocent.heard = [];
    innocent.worker.on("message", (message) => innocent.heard.push(message));
    innocent.worker.on("error", (error) => innocent.heard.push({ error }));
    await innocent.#hear("started");
    return innocent;
  }

  async #hear(name) {
    return await until(`the innocent client has ${name}`, ANSWER_TIMEOUT_MS, () => {
      const failed = this.heard.find(({ error }) => error !== undefined);
      if (failed !== undefined) throw failed.error;
      return this.heard.find((message) => name in message)?.[name];
    });
  }

  async watch(milliseconds) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }

  /** What it has seen: `{ latencies, failures }`. */
  async end() {
    this.worker.postMessage("end");
    const ended = await this.#hear("ended");
    await this.worker.terminate();
    return ended;
  }
}

/** The resident memory of the server's process now, bytes. */
export function memory(server) {
  const status = readFileSync(`/proc/${server.process.pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
}
