// Every block of commands in the guides is typed as it stands, in a fresh clone of what is committed, by somebody with an
// empty home and no settings. One terminal for each block; a server that a block starts runs until the next one starts.
// Other commands in the text, and the few that are run elsewhere, must name what exists.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { Clone, interrupt, shows } from "./lib/clone.mjs";
import { Existence } from "./lib/existence.mjs";
import { commands } from "./lib/guides.mjs";

/** Lines of blocks that are not run here, by how they begin, and why. */
const ELSEWHERE = {
  "cargo build --release --features v8":
    "downloads from GitHub, which not every network reaches; the stage v8 builds it",
  "scripts/fuzz": "the stage fuzz runs all targets; single ones run until they are stopped",
  "scripts/test": "this test is a part of it",
};

/** What must hold once a server that a block starts is ready, by its line. */
const SERVERS = {
  "cargo run --release -- dev examples/chat": async (terminal) => {
    const [, page] = await shows(terminal, /^ {2}App +(http:\S+)$/m);
    await shows(terminal, /Convex functions ready/);
    const response = await fetch(page);
    assert.equal(response.status, 200);
    assert.match(await response.text(), /<html/);
    await chatWorks(page);
  },
  "concave serve": async (terminal) => {
    const [, url] = await shows(terminal, /^ {2}API +(http:\S+)$/m);
    assert.equal((await fetch(`${url}/version`)).status, 200);
  },
};

/** What must hold after a block that ends, by its last line. */
const AFTERWARDS = {
  "npx convex deploy": () => chatWorks("http://127.0.0.1:3210"),
};

const clone = new Clone();
const files = execFileSync("git", ["ls-files", "*.md"], { cwd: clone.root, encoding: "utf8" }).trim().split("\n");
const guides = files.map((file) => commands(file, readFileSync(path.join(clone.root, file), "utf8")));
const usedEntries = new Set();
let server;

after(async () => {
  try {
    await stop();
  } finally {
    clone.remove();
  }
});

async function chatWorks(url) {
  const client = new ConvexHttpClient(url, { logger: false });
  assert.ok(Array.isArray(await client.query(api.rooms.list)));
}

async function stop() {
  if (server === undefined) return;
  const terminal = server;
  server = undefined;
  assert.equal(await interrupt(terminal), 0, `the server did not stop well:\n${terminal.output}`);
}

/** The entry of a table that stands for a line: the line itself, or what it begins with. */
function entry(table, line) {
  const key = Object.keys(table).find((key) => line === key || line.startsWith(`${key} `));
  if (key === undefined) return undefined;
  usedEntries.add(key);
  return table[key];
}

const lines = ({ text }) => text.split("\n").map((line) => line.replace(/\s#.*$/, "").trim());
const isElsewhere = (block) => lines(block).every((line) => line === "" || entry(ELSEWHERE, line) !== undefined);

for (const block of guides.flatMap(({ blocks }) => blocks).filter((block) => !isElsewhere(block))) {
  test(`${block.where}: ${block.text}`, async () => {
    const last = lines(block).at(-1);
    const isReady = entry(SERVERS, last);
    if (isReady !== undefined) {
      await stop();
      server = clone.start(block.text);
      return await isReady(server);
    }
    await clone.run(block.text);
    await entry(AFTERWARDS, last)?.();
  });
}

test("commands that are not run here name what exists", () => {
  const existence = new Existence(clone);
  const elsewhere = guides.flatMap(({ blocks }) => blocks).filter(isElsewhere);
  const other = [
    ...elsewhere.flatMap((block) => lines(block).map((text) => ({ ...block, text }))),
    ...guides.flatMap(({ inline }) => inline),
  ];
  for (const { where, text } of other.filter(({ text }) => text !== "")) {
    assert.doesNotThrow(() => existence.check(text), `${where}: ${text}`);
  }
});

test("what does not exist is noticed", () => {
  const existence = new Existence(clone);
  for (const command of [
    "cargo test -p nothing",
    "SEED=1 cargo test -p sim --test nothing",
    "cargo build --release --features nothing",
    "scripts/nothing",
    "scripts/test unit nothing",
    "node --test tests/nothing.test.mjs",
    "concave serve --nothing",
    "nothing",
  ]) {
    assert.throws(() => existence.check(command), command);
  }
});

test("commands are found however they are written", () => {
  const guide = [
    "Text with `cargo test\n-p sim`, `code` and `scripts/test unit`.",
    "",
    "    cargo run   # the first",
    "    cargo run",
    "",
    "```sh",
    "concave serve",
    "```",
    "",
    "```json",
    "    cargo build",
    "```",
  ].join("\n");
  const found = commands("guide.md", guide);
  assert.deepEqual(found.blocks, [
    { where: "guide.md:4", text: "cargo run   # the first\ncargo run" },
    { where: "guide.md:7", text: "concave serve" },
  ]);
  assert.deepEqual(
    found.inline.map(({ text }) => text),
    ["cargo test -p sim", "scripts/test unit"],
  );
  assert.throws(() => commands("guide.md", "```\ncargo run\n```"), /guide\.md:1: say what language/);
});

test("every exception is needed", () => {
  const entries = [ELSEWHERE, SERVERS, AFTERWARDS].flatMap((table) => Object.keys(table));
  assert.deepEqual(
    entries.filter((key) => !usedEntries.has(key)),
    [],
  );
});
