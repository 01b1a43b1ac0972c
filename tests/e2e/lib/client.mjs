// The official Rust and Python clients, each in a process that takes commands (see tests/rust-client, tests/python-client).

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { ConvexError, convexToJson, jsonToConvex } from "convex/values";
import { PYTHON, RUST_CLIENT } from "./paths.mjs";
import { Watch } from "./wait.mjs";

const PYTHON_PROGRAM = fileURLToPath(new URL("../../python-client/client.py", import.meta.url));

export class ForeignClient {
  static rust = (server) => new ForeignClient(RUST_CLIENT, [server.url]);
  static python = (server) => new ForeignClient(PYTHON, [PYTHON_PROGRAM, server.url]);

  nextId = 0;
  /** What takes the answers to a command, by its id. */
  receivers = new Map();

  constructor(program, args) {
    this.process = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
    this.stderr = "";
    this.process.stderr.on("data", (data) => (this.stderr += data));
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      const { id, ...answer } = JSON.parse(line);
      this.receivers.get(id)(answer);
    });
    this.ended = new Promise((resolve) => this.process.on("close", resolve));
    this.ended.then((code) => {
      if (this.isClosing) return;
      const error = `the client ended with ${code}:\n${this.stderr}`;
      for (const receive of this.receivers.values()) receive({ error });
    });
  }

  #command(command, receive) {
    const id = this.nextId++;
    this.receivers.set(id, receive);
    this.process.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    return id;
  }

  /** Calls a function: `{ value, type }`. Throws a ConvexError or an Error, as the npm client does. */
  call(op, path, args = {}) {
    return new Promise((resolve, reject) => {
      this.#command({ op, path, args: convexToJson(args) }, (answer) => {
        try {
          resolve(decode(answer));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  async query(path, args) {
    return (await this.call("query", path, args)).value;
  }

  async mutation(path, args) {
    return (await this.call("mutation", path, args)).value;
  }

  async action(path, args) {
    return (await this.call("action", path, args)).value;
  }

  /** Watches a query, as `Watch.on` does through the npm client. */
  watch(path, args = {}) {
    const watch = new Watch();
    const id = this.#command({ op: "subscribe", path, args: convexToJson(args) }, (answer) => {
      try {
        watch.results.push(decode(answer).value);
      } catch (error) {
        watch.results.push({ error });
      }
    });
    watch.stop = () => new Promise((resolve) => this.#command({ op: "unsubscribe", of: id }, resolve));
    return watch;
  }

  async close() {
    this.isClosing = true;
    this.process.kill("SIGKILL");
    await this.ended;
  }
}

function decode({ value, type, convexError, error }) {
  if (error !== undefined) throw new Error(error);
  if (convexError !== undefined) {
    throw Object.assign(new ConvexError(convexError.message), { data: jsonToConvex(convexError.data) });
  }
  return { value: jsonToConvex(value), type };
}
