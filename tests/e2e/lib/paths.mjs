// Where things are: the clone, and what scripts/setup and scripts/test build outside of it.

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const environment = process.env;

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

const cache =
  environment.CONCAVE_CACHE ?? path.join(environment.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "concave");

export const CONCAVE =
  environment.CONCAVE_BIN ??
  path.join(environment.CARGO_TARGET_DIR ?? path.join(cache, "target"), "release", "concave");

export const NODE_MODULES = path.join(cache, "tests-npm", "node_modules");
/** Packages of tests/versions: npm `convex` as `convex-1.24` and so on. */
export const VERSIONS = path.join(cache, "tests-versions", "node_modules");

/** The Node.js that the newest CLI wants, if the machine's own is older: from npm. */
export const NODE =
  ["x64", "arm64"].map((cpu) => path.join(NODE_MODULES, `node-linux-${cpu}`, "bin", "node")).find(existsSync) ??
  process.execPath;

export const PYTHON = path.join(cache, "tests-python", "bin", "python");
export const RUST_CLIENT = path.join(cache, "tests-rust", "debug", "rust-client");
export const JUDGE = path.join(cache, "tests-rust", "debug", "judge");
export const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

if (!existsSync(CONCAVE)) throw new Error(`no server at ${CONCAVE}: run scripts/test build, or set CONCAVE_BIN`);
