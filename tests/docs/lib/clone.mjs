// A fresh clone of what is committed, at the home of somebody who has nothing but Rust and Node.js.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "../../e2e/lib/wait.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const environment = process.env;
const cache =
  environment.CONCAVE_CACHE ?? path.join(environment.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "concave");

/** How this machine reaches the package registries: that is of the machine, not of the clone. */
const NETWORK = [
  ...["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"],
  ...["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"],
];
/** A release build from nothing, on two cores that others use too. */
const COMMAND_TIMEOUT_MS = 30 * 60_000;
const STOP_TIMEOUT_MS = 20_000;

const running = new Set();
process.on("exit", () => {
  for (const terminal of running) signal(terminal, "SIGKILL");
});

export class Clone {
  /**
   * Clones into a new folder. What is shared with other clones: Rust's toolchains, the packages that Cargo has
   * downloaded, and, as a folder for `target`, what it has compiled of them. In continuous integration nothing has been
   * compiled for release when this test begins; elsewhere that saves minutes. Nothing of Concave itself is taken
   * from there, since the clone's files are newer than what was compiled before.
   */
  constructor() {
    this.directory = mkdtempSync(path.join(tmpdir(), "concave-docs-"));
    this.root = path.join(this.directory, "concave");
    this.home = path.join(this.directory, "home");
    execFileSync("git", ["clone", "--quiet", ROOT, this.root]);
    const target = environment.CARGO_TARGET_DIR ?? path.join(cache, "target");
    const programs = path.join(this.home, ".cargo");
    this.target = target;
    for (const folder of [programs, target]) mkdirSync(folder, { recursive: true });
    symlinkSync(target, path.join(this.root, "target"));
    const kept = NETWORK.filter((name) => environment[name] !== undefined);
    this.environment = {
      ...Object.fromEntries(kept.map((name) => [name, environment[name]])),
      // Rust stays where it is, but installs nothing there.
      CARGO_HOME: environment.CARGO_HOME ?? path.join(homedir(), ".cargo"),
      RUSTUP_HOME: environment.RUSTUP_HOME ?? path.join(homedir(), ".rustup"),
      CARGO_INSTALL_ROOT: programs,
      HOME: this.home,
      PATH: `${path.join(programs, "bin")}:${environment.PATH}`,
    };
  }

  /** Types commands into a new terminal in the clone. Gives its `output` until now, and `ended`: the exit code. */
  start(commands) {
    const child = spawn("bash", ["-euo", "pipefail", "-c", commands], {
      cwd: this.root,
      env: this.environment,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const terminal = { child, output: "" };
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (terminal.output += data));
    running.add(terminal);
    terminal.ended = new Promise((resolve) => child.on("close", resolve)).finally(() => running.delete(terminal));
    return terminal;
  }

  /** Types commands and waits for their end, which must be a good one. Gives the output. */
  async run(commands) {
    const terminal = this.start(commands);
    const timer = setTimeout(() => signal(terminal, "SIGKILL"), COMMAND_TIMEOUT_MS);
    const code = await terminal.ended;
    clearTimeout(timer);
    if (code !== 0) throw new Error(`the commands ended with ${code}:\n${commands}\n\n${terminal.output}`);
    return terminal.output;
  }

  remove() {
    rmSync(this.directory, { recursive: true, force: true });
    // To Cargo all clones are the same, and what it has compiled is good for files that are older. Where those differ from
    // the clone's, it would be wrong to use it.
    if (execFileSync("git", ["status", "--porcelain"], { cwd: ROOT, encoding: "utf8" }) === "") return;
    for (const profile of ["debug", "release"]) {
      const prints = path.join(this.target, profile, ".fingerprint");
      if (!existsSync(prints)) continue;
      for (const print of readdirSync(prints).filter((name) => /^(concave|sim)-/.test(name))) {
        rmSync(path.join(prints, print), { recursive: true });
      }
    }
  }
}

/** Waits until a terminal shows `pattern`, and gives the match. */
export async function shows(terminal, pattern) {
  let hasEnded = false;
  terminal.ended.then(() => (hasEnded = true));
  return await until(`the terminal shows ${pattern}`, COMMAND_TIMEOUT_MS, () => {
    const match = pattern.exec(terminal.output);
    if (match === null && hasEnded) throw new Error(`it ended without ${pattern}:\n${terminal.output}`);
    return match;
  }).catch((error) => {
    throw new Error(`${error.message}\n${terminal.output}`);
  });
}

/** Presses Ctrl-C, and gives the exit code. */
export async function interrupt(terminal) {
  signal(terminal, "SIGINT");
  const timer = setTimeout(() => signal(terminal, "SIGKILL"), STOP_TIMEOUT_MS);
  const code = await terminal.ended;
  clearTimeout(timer);
  return code;
}

/** To all programs of a terminal, as Ctrl-C is. */
function signal({ child }, name) {
  try {
    process.kill(-child.pid, name);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}
