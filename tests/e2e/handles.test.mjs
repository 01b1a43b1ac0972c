// `v.function()` of npm convex 1.49: handles of functions in arguments, documents, types and descriptions.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";

const server = await Server.start();
const app = new App("tests/apps/handles", server);
const client = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

test("code that uses it is type-checked and deployed", async () => {
  await app.run("deploy", "--typecheck", "enable");
});

test("a handle is kept in a document and called later", async () => {
  const id = await client.mutation("jobs:beginOwn", {});
  await client.mutation("jobs:end", { id });
  assert.deepEqual(await client.query("jobs:lines", {}), ["done: function://;jobs.js:write"]);
});

test("what is no handle does not match", async () => {
  assert.equal(await client.query("jobs:isHandle", { handle: "function://;jobs.js:write" }), true);
  for (const handle of ["", "jobs:write", "function://", "function://x", 5, null]) {
    await assert.rejects(client.query("jobs:isHandle", { handle }), /Validator: v\.function\(\)/);
    await assert.rejects(client.mutation("jobs:begin", { onDone: handle }), /v\.function\(\{fnType: "mutation"/);
  }
});

test("its signature is in the description of the functions", async () => {
  const { functions } = JSON.parse((await app.run("function-spec")).stdout);
  const { args } = functions.find(({ identifier }) => identifier === "jobs.js:begin");
  const text = { fieldType: { type: "string" }, optional: false };
  assert.deepEqual(args.value.onDone.fieldType, {
    type: "function",
    fnType: "mutation",
    args: { type: "object", value: { text } },
    returns: { type: "null" },
  });
});
