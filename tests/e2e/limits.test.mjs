// Limits at their edge that need a client which is slow, or a table of its own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { begin, prepared } from "./lib/strangers.mjs";
import { until, within } from "./lib/wait.mjs";

const MIB = 1 << 20;

/** Runs `body(server)` with a server of its own that has this limit. */
async function withLimit(limit, body) {
  const server = await prepared({ args: ["--limit", limit] });
  try {
    await body(server);
  } finally {
    await server.remove();
  }
}

test("whoever takes nothing of an answer for write_time is left", async () => {
  await withLimit("write_time=2s", async (server) => {
    const body = JSON.stringify({ path: "targets:echo", args: { value: "x".repeat(15 * MIB) } });
    const read = async (pause) => {
      const connection = begin(server, "/api/query", body);
      let isClosed = false;
      connection.once("close", () => (isClosed = true));
      let bytes = 0;
      connection.on("data", (data) => (bytes += data.length));
      // What waits in buffers of the system is taken for read.
      connection.pause();
      await sleep(pause);
      connection.resume();
      await until("all has come, or the connection is closed", 30_000, () => isClosed || bytes > 15 * MIB);
      connection.destroy();
      return bytes;
    };
    assert.ok((await read(500)) > 15 * MIB, "a pause that is short enough");
    assert.ok((await read(5_000)) < 15 * MIB, "a pause that is too long");
  });
});

test("the body of a push has push_time, whatever body_time is", async () => {
  await withLimit("push_time=2s", async (server) => {
    const began = performance.now();
    const headers = [`authorization: Convex ${server.adminKey}`];
    const connection = begin(server, "/api/deploy2/start_push", "{", { headers, length: 1_000 });
    const [answer] = await within("an answer", 30_000, once(connection, "data"));
    const took = performance.now() - began;
    assert.match(String(answer), /^HTTP\/1.1 408 /);
    assert.ok(took > 1_900 && took < 10_000, `it took ${took} ms`);
    connection.destroy();
  });
});

test("shapes are those of the newest shape_documents of a table", async () => {
  await withLimit("shape_documents=2", async (server) => {
    const client = new ConvexHttpClient(server.url, { logger: false });
    client.setAdminAuth(server.adminKey);
    const addDocument = makeFunctionReference("_system/frontend/addDocument");
    const shape = async (...documents) => {
      for (const document of documents) await client.mutation(addDocument, { table: "scratch", documents: [document] });
      const headers = { authorization: `Convex ${server.adminKey}` };
      const { scratch } = await (await fetch(`${server.url}/api/shapes2`, { headers })).json();
      return scratch.fields.find(({ fieldName }) => fieldName === "a").shape.type;
    };
    assert.equal(await shape({ a: "text" }, { a: 1 }), "Union");
    assert.equal(await shape({ a: 2 }), "Float64", "the first one counts no longer");
  });
});
