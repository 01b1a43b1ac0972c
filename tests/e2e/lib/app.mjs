// An app, copied to where the official CLI may write, and that CLI.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { NODE, NODE_MODULES, ROOT, VERSIONS } from "./paths.mjs";
import { until } from "./wait.mjs";

const CLI_TIMEOUT_MS = 120_000;

export class App {
  /**
   * Copies the app at `source`, a path in the clone, for use with `server`. `version` is a version of npm `convex` in
   * tests/versions, such as `1.24`, instead of the newest.
   */
  constructor(source, server, version) {
    this.server = server;
    this.directory = mkdtempSync(path.join(tmpdir(), "concave-app-"));
    cpSync(path.join(ROOT, source), this.directory, {
      recursive: true,
      filter: (file) => !["node_modules", ".concave"].includes(path.basename(file)),
    });
    // The oldest CLI knows no variables for servers of one's own.
    this.takesFlags = version === "1.17";
    const modules = path.join(this.directory, "node_modules");
    if (version === undefined) {
      symlinkSync(NODE_MODULES, modules);
    } else {
      mkdirSync(modules);
      symlinkSync(path.join(VERSIONS, `convex-${version}`), path.join(modules, "convex"));
    }
  }

  /** Copies and deploys the app `name` of tests/apps. */
  static async deploy(name, server) {
    const app = new App(`tests/apps/${name}`, server);
    await app.deploy();
    return app;
  }

  async deploy() {
    return await this.run("deploy", "--typecheck", "disable");
  }

  /** Runs the CLI and fails if it does: `{ code, stdout, stderr }`. */
  async run(...args) {
    const result = await this.try(...args);
    assert.equal(result.code, 0, `convex ${args.join(" ")} failed:\n${result.stdout}\n${result.stderr}`);
    return result;
  }

  /** Runs the CLI, whatever comes of it: `{ code, stdout, stderr }`. */
  async try(...args) {
    const { child, output, ended } = this.start(...args);
    const timer = setTimeout(() => child.kill("SIGKILL"), CLI_TIMEOUT_MS);
    const code = await ended;
    clearTimeout(timer);
    return { code, ...output };
  }

  /** Starts the CLI: its process, the output until now, and a promise of its exit code. */
  start(...args) {
    const { PATH, HOME } = process.env;
    const { url, adminKey } = this.server;
    const env = {
      ...{ PATH, HOME, CI: "1", NO_COLOR: "1" },
      CONVEX_SELF_HOSTED_URL: url,
      CONVEX_SELF_HOSTED_ADMIN_KEY: adminKey,
    };
    const cli = path.join(this.directory, "node_modules", "convex", "bin", "main.js");
    const flags = this.takesFlags ? ["--url", url, "--admin-key", adminKey] : [];
    const child = spawn(NODE, [cli, ...args, ...flags], {
      cwd: this.directory,
      env,
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.end();
    const output = { stdout: "", stderr: "" };
    child.stdout.on("data", (data) => (output.stdout += data));
    child.stderr.on("data", (data) => (output.stderr += data));
    const ended = new Promise((resolve) => child.on("close", (code) => resolve(code)));
    return { child, output, ended };
  }

  read(file) {
    return readFileSync(path.join(this.directory, file), "utf8");
  }

  write(file, text) {
    writeFileSync(path.join(this.directory, file), text);
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Ends a process started with `App.start`. */
export async function end({ child, ended }) {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await ended;
  clearTimeout(timer);
}

/** Waits until a process started with `App.start` has written what matches `pattern`. */
export async function untilWritten({ output, child }, pattern, timeout = CLI_TIMEOUT_MS) {
  await until(`the CLI writes ${pattern}`, timeout, () => {
    const text = output.stdout + output.stderr;
    if (pattern.test(text)) return true;
    if (child.exitCode !== null) throw new Error(`the CLI ended before it wrote ${pattern}:\n${text}`);
    return false;
  });
}
