// A server process of the tests' own, which they may kill and start again on the same data and addresses.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { CONCAVE } from "./paths.mjs";
import { until } from "./wait.mjs";

const INSTANCE_NAME = "tests";
const INSTANCE_SECRET = "5f".repeat(32);
const INSTANCE = ["--instance-name", INSTANCE_NAME, "--instance-secret", INSTANCE_SECRET];
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 20_000;

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Runs the program to its end: `{ code, stdout, stderr }`. */
export async function concave(args, { timeout = START_TIMEOUT_MS } = {}) {
  try {
    return { code: 0, ...(await promisify(execFile)(CONCAVE, args, { timeout, killSignal: "SIGKILL" })) };
  } catch (error) {
    if (error.killed || typeof error.code !== "number") throw error;
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

export class Server {
  /**
   * Starts a server, on an empty database or on a copy of the folder `data` of another. `instance`: the options that say
   * which deployment it is. `setup` are shell commands that its process runs before it becomes the server.
   */
  static async start({ args = [], instance = INSTANCE, host = "127.0.0.1", setup = "", data } = {}) {
    const server = new Server();
    server.directory = mkdtempSync(path.join(tmpdir(), "concave-test-"));
    if (data !== undefined) cpSync(data, server.directory, { recursive: true });
    server.setup = setup;
    server.database = path.join(server.directory, "data.sqlite3");
    server.instance = instance;
    server.host = host;
    server.extraArgs = args;
    server.port = await freePort();
    server.sitePort = await freePort();
    await server.restart();
    server.adminKey = await server.newKey();
    return server;
  }

  /** A new admin key, found as an operator would. */
  async newKey() {
    const key = await concave(["admin-key", "--persistence", `sqlite://${this.database}`, ...this.instance]);
    assert.equal(key.code, 0, key.stderr);
    return key.stdout.trim();
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get log() {
    return readFileSync(path.join(this.directory, "server.log"), "utf8");
  }

  get arguments() {
    return [
      ...["serve", "--persistence", `sqlite://${this.database}`],
      ...["--listen", `${this.host}:${this.port}`, "--site-listen", `${this.host}:${this.sitePort}`],
      ...this.instance,
      ...this.extraArgs,
    ];
  }

  /** Starts the process again after `kill` or `stop`, and waits until it answers. */
  async restart() {
    assert.equal(this.process, undefined, "the server runs already");
    const script = `${this.setup}\nexec "$0" "$@"`;
    const child = spawn("sh", ["-ec", script, CONCAVE, ...this.arguments], { stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    this.process = child;
    this.exited = once(child, "exit").finally(() => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => appendFileSync(path.join(this.directory, "server.log"), data));
    }
    await until("the server answers", START_TIMEOUT_MS, async () => {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`the server ended with ${child.exitCode ?? child.signalCode}:\n${this.log}`);
      }
      return (await fetch(`${this.url}/version`).catch(() => undefined))?.ok;
    });
  }

  /** Ends the process as a power cut would. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
    this.process = undefined;
  }

  /** Asks the process to end, and checks that it does so well. */
  async stop() {
    this.process.kill("SIGTERM");
    const timer = setTimeout(() => this.process.kill("SIGKILL"), STOP_TIMEOUT_MS);
    const [code, signal] = await this.exited;
    clearTimeout(timer);
    this.process = undefined;
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the server did not stop well:\n${this.log}`);
  }

  /** The most memory that the process had at any time, in bytes. */
  get peakMemory() {
    const status = readFileSync(`/proc/${this.process.pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
  }

  /** Stops the server and removes its data. Whatever was done to it, it must not have panicked. */
  async remove() {
    try {
      if (this.process !== undefined) await this.stop();
      assert.doesNotMatch(this.log, /panicked at/);
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }
}

/** A port that nobody listens on, outside the range from which the system takes ports of outgoing connections. */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
