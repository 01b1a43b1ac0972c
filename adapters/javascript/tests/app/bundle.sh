#!/bin/sh
# Makes tests/bundle from tests/app, with the bundler options of the Convex CLI. Wants a folder with npm's
# `convex@1.48.0` and `esbuild@0.27.0` installed: sh bundle.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
rm -rf app out
mkdir app
cp "$here"/*.ts app/
node -e '
require("esbuild").build({
  entryPoints: ["notes", "http", "crons", "schema", "convex.config", "auth.config"].map((name) => `app/${name}.ts`),
  bundle: true, platform: "browser", format: "esm", target: "esnext", conditions: ["convex", "module"], jsx: "automatic",
  outdir: "out", outbase: "app", splitting: true, chunkNames: "_deps/[hash]", treeShaking: true,
  minifySyntax: true, minifyIdentifiers: true, minifyWhitespace: false, keepNames: true, sourcemap: true,
  sourcesContent: false, legalComments: "inline", write: true,
})'
find "$here/../bundle" -name "*.js*" -delete
rm -f out/_deps/*.map
cp -r out/. "$here/../bundle"
