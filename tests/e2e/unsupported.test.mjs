// What this server does not have yet is refused when it is deployed or asked for, in a sentence that says so.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { ConvexHttpClient } from "convex/browser";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";

let server, client;

before(async () => {
  server = await Server.start();
  client = new ConvexHttpClient(server.url, { logger: false });
  (await App.deploy("notes", server)).remove();
  await client.mutation("notes:add", { title: "still here" });
});

after(() => server.remove());

const schema = (table) => `
  import { defineSchema, defineTable } from "convex/server";
  import { v } from "convex/values";
  export default defineSchema({ notes: defineTable({ title: v.string(), vector: v.optional(v.array(v.float64())) })${table} });
`;

/** Files of an app by name, and what the CLI then says. */
const apps = {
  "cron jobs": [
    {
      "crons.ts": `
        import { cronJobs } from "convex/server";
        import { api } from "./_generated/api";
        const crons = cronJobs();
        crons.interval("add now and then", { minutes: 1 }, api.notes.add, { title: "x" });
        export default crons;`,
    },
    /does not run cron jobs yet\. Remove them from `crons\.ts`: `add now and then`/,
  ],
  "HTTP routes": [
    {
      "http.ts": `
        import { httpRouter } from "convex/server";
        import { httpAction } from "./_generated/server";
        const http = httpRouter();
        http.route({ path: "/hook", method: "POST", handler: httpAction(async () => new Response("")) });
        export default http;`,
    },
    /does not serve HTTP actions yet\. Remove the routes from `http\.ts`: `POST \/hook`/,
  ],
  "a component": [
    {
      "convex.config.ts": `
        import { defineApp } from "convex/server";
        import counter from "./counter/convex.config";
        const app = defineApp();
        app.use(counter);
        export default app;`,
      "counter/convex.config.ts": `
        import { defineComponent } from "convex/server";
        export default defineComponent("counter");`,
    },
    /does not support components yet, and the app uses `counter`/,
  ],
  "a Node.js action": [
    {
      "node.ts": `"use node";
        import { action } from "./_generated/server";
        export const f = action(() => process.version);`,
    },
    /does not run Node\.js actions yet\. Remove "use node" from `node\.js`/,
  ],
  "a text search index": [
    { "schema.ts": schema('.searchIndex("find", { searchField: "title" })') },
    /does not support text search indexes yet\. Remove `notes\.find` from the schema/,
  ],
  "a staged text search index": [
    { "schema.ts": schema('.searchIndex("find", { searchField: "title", staged: true })') },
    /does not support text search indexes yet\. Remove `notes\.find` from the schema/,
  ],
  "a vector index": [
    { "schema.ts": schema('.vectorIndex("near", { vectorField: "vector", dimensions: 4 })') },
    /does not support vector indexes yet\. Remove `notes\.near` from the schema/,
  ],
  "a staged validator": [
    { "schema.ts": schema(".staged({ title: v.any() })") },
    /does not support staged validators yet\. Remove `\.staged\(\)` from the table `notes`/,
  ],
  "an auth provider": [
    {
      "auth.config.ts": `
        export default { providers: [{ domain: "https://login.example", applicationID: "web" }] };`,
    },
    /does not verify tokens of users yet\. Remove the providers from `auth\.config\.ts`: `https:\/\/login\.example`/,
  ],
  "an index over a field that is not there": [
    { "schema.ts": schema('.index("by_titel", ["titel"])') },
    /index `notes\.by_titel` is over the field `titel`, which documents of the table `notes` do not have/,
  ],
};

describe("a push is refused that has", { concurrency: 2 }, () => {
  for (const [name, [files, text]] of Object.entries(apps)) {
    test(name, async () => {
      const app = new App("tests/apps/notes", server);
      try {
        for (const [file, source] of Object.entries(files)) {
          mkdirSync(path.dirname(path.join(app.directory, "convex", file)), { recursive: true });
          app.write(path.join("convex", file), source);
        }
        const { code, stdout, stderr } = await app.try("deploy", "--typecheck", "disable");
        assert.notEqual(code, 0);
        assert.match(stdout + stderr, text);
        assert.doesNotMatch(stdout + stderr, /Deployed Convex functions/);
        assert.deepEqual(await client.query("notes:titles", {}), ["still here"]);
      } finally {
        app.remove();
      }
    });
  }
});

test("files of what is not there yet may be deployed while there is nothing in them", async () => {
  const app = new App("tests/apps/notes", server);
  try {
    app.write("convex/crons.ts", 'import { cronJobs } from "convex/server";\nexport default cronJobs();\n');
    app.write("convex/http.ts", 'import { httpRouter } from "convex/server";\nexport default httpRouter();\n');
    app.write("convex/auth.config.ts", "export default { providers: [] };\n");
    app.write("convex/convex.config.ts", 'import { defineApp } from "convex/server";\nexport default defineApp();\n');
    app.write(
      "convex/files.ts",
      'import { mutation } from "./_generated/server";\nexport const upload = mutation((ctx) => ctx.storage.generateUploadUrl());\n',
    );
    await app.deploy();
    assert.deepEqual(await client.query("notes:titles", {}), ["still here"]);
    // What no analysis of code can find fails when it runs.
    await assert.rejects(client.mutation("files:upload", {}), /File storage is not available on this server yet/);
  } finally {
    app.remove();
  }
});

test("commands for what is not there yet say so, at once", async () => {
  const app = new App("tests/apps/notes", server);
  const begun = Date.now();
  try {
    app.write("notes.jsonl", '{"title": "imported"}\n');
    for (const [args, text] of [
      [["export", "--path", "out.zip"], /Export is not available on this server yet/],
      [["import", "--table", "notes", "--append", "notes.jsonl"], /Import is not available on this server yet/],
    ]) {
      const { code, stdout, stderr } = await app.try(...args);
      assert.notEqual(code, 0);
      assert.match(stdout + stderr, text);
    }
    // A missing endpoint would be asked again and again, for half a minute.
    assert.ok(Date.now() - begun < 30_000);
  } finally {
    app.remove();
  }
});
