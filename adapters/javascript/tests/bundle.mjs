// Makes the bundle of tests/app that tests and benches of the engines run, with the bundler of the official CLI and its
// options: node bundle.mjs NODE_MODULES FOLDER, where FOLDER is made anew. `scripts/setup` does it.

import { cpSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [nodeModules, folder] = process.argv.slice(2).map((argument) => path.resolve(argument));
const app = fileURLToPath(new URL("app", import.meta.url));
const { build } = createRequire(path.join(nodeModules, "convex", "package.json"))("esbuild");

// Names of sources in source maps are relative to the result: they must not depend on where this clone is.
const work = `${folder}.work`;
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
cpSync(app, path.join(work, "app"), { recursive: true });
await build({
  absWorkingDir: work,
  nodePaths: [nodeModules],
  entryPoints: ["notes", "http", "crons", "schema", "convex.config", "auth.config", "walk"].map((name) => `app/${name}.ts`),
  outdir: "bundle",
  outbase: "app",
  bundle: true,
  platform: "browser",
  format: "esm",
  target: "esnext",
  conditions: ["convex", "module"],
  jsx: "automatic",
  splitting: true,
  chunkNames: "_deps/[hash]",
  treeShaking: true,
  minifySyntax: true,
  minifyIdentifiers: true,
  minifyWhitespace: false,
  keepNames: true,
  sourcemap: true,
  sourcesContent: false,
  legalComments: "inline",
});
rmSync(folder, { recursive: true, force: true });
renameSync(path.join(work, "bundle"), folder);
rmSync(work, { recursive: true });
