// The example app as a newcomer meets it: `concave dev` on a fresh copy, and two browser windows.
// With CONCAVE_SCREENSHOT=FILE it also takes the picture for the README.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import { chromium } from "playwright-core";
import { CHROMIUM, CONCAVE, ROOT } from "./lib/paths.mjs";
import { freePort } from "./lib/server.mjs";
import { until } from "./lib/wait.mjs";

const DEPLOY_TIMEOUT_MS = 180_000;
const SHOW_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5_000;

// A copy of what is in the repository: no installed packages, no data.
const folder = mkdtempSync(path.join(tmpdir(), "concave-chat-"));
const untracked = ["node_modules", ".concave", ".env.local", "vendor"];
cpSync(path.join(ROOT, "examples/chat"), folder, {
  recursive: true,
  filter: (file) => !untracked.includes(path.basename(file)),
});

const port = await freePort();
const sitePort = await freePort();
const url = `http://127.0.0.1:${port}`;
const client = new ConvexHttpClient(url, { logger: false });
let dev;
let browser;

function startDev() {
  const addresses = ["--listen", `127.0.0.1:${port}`, "--site-listen", `127.0.0.1:${sitePort}`];
  const { PATH, HOME } = process.env;
  dev = spawn(CONCAVE, ["dev", folder, ...addresses], { env: { PATH, HOME }, stdio: ["ignore", "pipe", "pipe"] });
  dev.output = "";
  dev.ended = once(dev, "exit");
  for (const stream of [dev.stdout, dev.stderr]) stream.on("data", (data) => (dev.output += data));
}

/** Kills `concave dev`, and the CLI under it, which would go on and deploy to whoever comes next. */
async function killDev() {
  const started = descendants(dev.pid);
  dev.kill("SIGKILL");
  await dev.ended;
  for (const pid of started) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

/** The ids of all processes that a process started, and those started, and so on. */
function descendants(pid) {
  // Every thread has a list of those that it started.
  const threads = readdirSync(`/proc/${pid}/task`);
  const lists = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8"));
  const children = lists.join(" ").split(" ").filter(Boolean).map(Number);
  return [...children, ...children.flatMap(descendants)];
}

/** Whether a process has not ended. One that has may still be listed, as a zombie, until its parent takes notice. */
function isAlive(pid) {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

const isRunning = () => dev !== undefined && dev.exitCode === null && dev.signalCode === null;

process.on("exit", () => {
  if (isRunning()) dev.kill("SIGKILL");
});

after(async () => {
  await browser?.close();
  if (isRunning()) await killDev();
  rmSync(folder, { recursive: true, force: true });
});

test("dev installs, deploys, serves the page, and tells how to reach it", async () => {
  startDev();
  await until("the functions are live", DEPLOY_TIMEOUT_MS, async () => {
    if (dev.exitCode !== null) throw new Error(`dev ended:\n${dev.output}`);
    return await client.query(api.rooms.list, {}).catch(() => undefined);
  }).catch((error) => assert.fail(`${error.message}\n${dev.output}`));
  assert.ok(existsSync(path.join(folder, "public/vendor/convex.js")));
  assert.match(dev.output, new RegExp(`CONVEX_SELF_HOSTED_URL=['"]?${url}`));
  assert.match(dev.output, /CONVEX_SELF_HOSTED_ADMIN_KEY=['"]?[\w-]+\|[0-9a-f]+/);
  assert.match(await (await fetch(url)).text(), /<title>Chat<\/title>/);
});

let ada;
let grace;

/** Opens the chat in a window of somebody's own. */
async function open(name) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 640 }, deviceScaleFactor: 2 });
  const page = await context.newPage();
  page.setDefaultTimeout(SHOW_TIMEOUT_MS);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  await page.goto(url);
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await page.waitForSelector("#connection.live");
  return page;
}

async function say(page, text) {
  await page.fill("#composer textarea", text);
  await page.press("#composer textarea", "Enter");
}

const shown = (page, text) => page.getByText(text, { exact: true }).first().waitFor();
const messages = (page) => page.locator("#messages li:not(.sending) .text").allTextContents();
const people = (page) => page.locator("#people li").allTextContents();

test("a message sent in one window appears in the other", async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  ada = await open("Ada");
  grace = await open("Grace");
  await say(ada, "Does it compute?");
  await shown(grace, "Does it compute?");
  await say(grace, "Live, on both screens.");
  await shown(ada, "Live, on both screens.");
  const conversation = ["Does it compute?", "Live, on both screens."];
  await until("both show both", SHOW_TIMEOUT_MS, async () => {
    return `${await messages(ada)}` === `${conversation}` && `${await messages(grace)}` === `${conversation}`;
  });
});

test("everybody sees who is there, and who has left", async () => {
  await until("all three are shown", SHOW_TIMEOUT_MS, async () => `${await people(ada)}` === "Ada,Grace");
  const alan = await open("Alan");
  await until("Alan is shown", SHOW_TIMEOUT_MS, async () => (await people(ada)).includes("Alan"));
  await alan.goto("about:blank");
  await until("Alan is gone", SHOW_TIMEOUT_MS, async () => !(await people(ada)).includes("Alan"));
  await alan.context().close();
});

test("what the function refuses is told, and the text is not lost", async () => {
  const long = "x".repeat(1001);
  await say(ada, long);
  await shown(ada, "That is 1001 characters; 1000 is the most.");
  assert.equal(await ada.inputValue("#composer textarea"), long);
  assert.equal((await messages(grace)).length, 2);
  await say(ada, "Short, then.");
  await shown(grace, "Short, then.");
  assert.ok(await ada.locator("#error").isHidden());
});

test("rooms are apart", async () => {
  await ada.fill("#new-room input", "engines");
  await ada.press("#new-room input", "Enter");
  await say(ada, "Only in engines");
  await grace.getByRole("link", { name: "engines" }).waitFor();
  assert.equal((await messages(grace)).length, 3);
  await grace.getByRole("link", { name: "engines" }).click();
  await shown(grace, "Only in engines");
  assert.deepEqual(await messages(grace), ["Only in engines"]);
  for (const page of [ada, grace]) await page.getByRole("link", { name: "general" }).click();
});

test("older messages come page by page", async () => {
  for (let n = 1; n <= 60; n++) {
    await client.mutation(api.messages.send, { room: "long", author: "Counter", text: `line ${n}` });
  }
  await grace.goto(`${url}/#long`);
  await shown(grace, "line 60");
  assert.equal((await messages(grace)).length, 50);
  await grace.click("#earlier");
  await shown(grace, "line 1");
  assert.equal((await messages(grace)).length, 60);
  assert.ok(await grace.locator("#earlier").isHidden());
  await grace.goto(`${url}/#general`);
});

test("changed functions go live while the windows are open", async () => {
  const file = path.join(folder, "convex/messages.ts");
  writeFileSync(file, readFileSync(file, "utf8").replace("TEXT_LENGTH_MAX = 1000", "TEXT_LENGTH_MAX = 7"));
  await until("the new limit holds", DEPLOY_TIMEOUT_MS, async () => {
    const call = client.mutation(api.messages.send, { room: "limit", author: "x", text: "12345678" });
    return await call.then(
      () => false,
      (error) => error.data?.code === "MessageTooLong",
    );
  });
  await say(ada, "12345678");
  await shown(ada, "That is 8 characters; 7 is the most.");
  await ada.fill("#composer textarea", "");
});

test("everything is there after a kill, and the windows come back by themselves", async () => {
  const before = await messages(grace);
  await killDev();
  await ada.waitForSelector("#connection:not(.live)");
  await say(ada, "offline");
  await ada.locator("#messages .sending .text").waitFor();
  startDev();
  await shown(grace, "offline");
  await ada.waitForSelector("#connection.live");
  assert.deepEqual(await messages(grace), [...before, "offline"]);
  assert.deepEqual(ada.problems, []);
  assert.deepEqual(grace.problems, []);
});

test("an interrupt ends dev and what it started", async () => {
  const started = descendants(dev.pid);
  assert.ok(started.length > 0);
  dev.kill("SIGINT");
  const [code, signal] = await dev.ended;
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, dev.output);
  await until("everything that dev started has ended", STOP_TIMEOUT_MS, () => !started.some(isAlive));
});

test("a picture for the README", { skip: !process.env.CONCAVE_SCREENSHOT }, async () => {
  rmSync(path.join(folder, ".concave"), { recursive: true });
  cpSync(path.join(ROOT, "examples/chat/convex"), path.join(folder, "convex"), { recursive: true });
  startDev();
  await until("the functions are live", DEPLOY_TIMEOUT_MS, () =>
    client.query(api.rooms.list, {}).catch(() => undefined),
  );
  for (const room of ["engines", "help", "random"]) {
    await client.mutation(api.messages.send, { room, author: "Ada", text: "Hello!" });
  }
  for (const page of [ada, grace]) await page.goto(`${url}/?picture#general`);
  const alan = await open("Alan");
  const conversation = [
    [ada, "Is anybody here yet?"],
    [grace, "Just came in. It showed up before I had finished reading the address bar."],
    [ada, "Try pulling the plug on the server while I type."],
    [alan, "Done. kill -9, and started again."],
    [ada, "Everything is still here."],
    [grace, "And my window came back by itself."],
    [grace, "What am I looking at?"],
    [alan, "Three queries that stay live, and a few lines of TypeScript in convex/."],
  ];
  for (const [page, text] of conversation) {
    await say(page, text);
    await shown(grace, text);
  }
  await until("all are online", SHOW_TIMEOUT_MS, async () => (await people(grace)).length === 3);
  await grace.screenshot({ path: path.resolve(ROOT, process.env.CONCAVE_SCREENSHOT) });
});
