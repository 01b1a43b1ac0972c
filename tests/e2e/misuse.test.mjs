// What clients, functions and requests may do wrong: each gets its error, and the others are served as before.

import assert from "node:assert/strict";
import { json } from "node:stream/consumers";
import { after, afterEach, test } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import WebSocket from "ws";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { Socket } from "./lib/socket.mjs";
import { until, Watch, within } from "./lib/wait.mjs";

const MIB = 1 << 20;

const server = await Server.start();
const app = await App.deploy("workbench", server);
const client = new ConvexHttpClient(server.url, { logger: false });

// Somebody who does nothing wrong, and must never notice.
const bystander = new ConvexClient(server.url, { logger: false });
const watch = Watch.on(bystander, api.counter.get, { name: "bystander" });
let count = 0;

afterEach(async () => {
  count += 1;
  await within("the bystander's mutation", 5_000, bystander.mutation(api.counter.increment, { name: "bystander" }));
  assert.equal(watch.latest, count);
  assert.equal(bystander.connectionState().connectionRetries, 0);
});

after(async () => {
  await bystander.close();
  app.remove();
  await server.remove();
});

// ---- Sockets -------------------------------------------------------------------------------------------------------

const badFrames = {
  "text that is no JSON": "}{",
  "JSON that is no message": "[1, 2, 3]",
  "a message of unknown type": { type: "Surprise" },
  "a message without its fields": { type: "Mutation" },
  "a field of the wrong type": { type: "Mutation", requestId: "one", udfPath: "messages:send", args: [{}] },
  "a wrong base version": { type: "ModifyQuerySet", baseVersion: 7, newVersion: 8, modifications: [] },
  "a query that was never added": {
    type: "ModifyQuerySet",
    baseVersion: 1,
    newVersion: 2,
    modifications: [{ type: "Remove", queryId: 9 }],
  },
};

for (const [what, frame] of Object.entries(badFrames)) {
  test(`a socket that sends ${what} is told and closed`, async () => {
    const socket = await Socket.connect(server);
    await socket.next("Transition");
    socket.send(frame);
    const { error } = await socket.next("FatalError");
    assert.match(error, /./);
    await within("the close", 5_000, socket.closed);
  });
}

test("a socket that sends bytes is closed", async () => {
  const socket = await Socket.connect(server);
  socket.send(new Uint8Array([0xff, 0x00, 0xfe]));
  await within("the close", 5_000, socket.closed);
});

test("a socket that sends an endless message is closed", async () => {
  const socket = await Socket.connect(server);
  socket.send("x".repeat(65 * MIB));
  await within("the close", 20_000, socket.closed);
});

test("a malformed client version is refused", async () => {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/api/latest/sync`);
  const response = await new Promise((resolve, reject) => {
    socket.on("unexpected-response", (_request, response) => resolve(response));
    socket.on("open", () => reject(new Error("it was accepted")));
  });
  assert.equal(response.statusCode, 400);
  assert.equal((await json(response)).code, "InvalidClientVersion");
});

// ---- Calls ---------------------------------------------------------------------------------------------------------

const badCalls = {
  "an unknown function": ["mutation", "messages:nope", {}, /Could not find public function for 'messages:nope'/],
  "an unknown module": ["query", "nope:list", {}, /Could not find public function for 'nope:list'/],
  "an internal function": ["mutation", "counter:reset", { name: "x" }, /Could not find public function/],
  "a query as a mutation": ["mutation", "messages:list", { room: "x" }, /messages.*list/s],
  "a mutation as a query": ["query", "messages:send", { room: "x", text: "y" }, /messages.*send/s],
  "a missing argument": ["mutation", "messages:send", { room: "x" }, /ArgumentValidationError: .*`text`/s],
  "an argument too many": ["query", "messages:list", { room: "x", more: 1 }, /ArgumentValidationError: .*`more`/s],
  "an argument of the wrong type": ["query", "messages:list", { room: 5 }, /ArgumentValidationError: .*v\.string\(\)/s],
  "an id that is none": ["query", "values:load", { id: "made up" }, /ArgumentValidationError/],
};

for (const [what, [kind, path, args, message]] of Object.entries(badCalls)) {
  test(`${what} is refused, over both ways in`, async () => {
    await assert.rejects(client[kind](path, args), message);
    await assert.rejects(bystander[kind](path, args), message);
  });
}

test("an id of another table is refused", async () => {
  const id = await client.mutation(api.messages.send, { room: "ids", text: "not a value" });
  await assert.rejects(client.query(api.values.load, { id }), /ArgumentValidationError: .*table `messages`/s);
});

// ---- Requests ------------------------------------------------------------------------------------------------------

const badRequests = {
  "a body that is no JSON": ["/api/query", "}{", {}, 400],
  "a body without its fields": ["/api/query", "{}", {}, 400],
  "a body that is not said to be JSON": [
    "/api/query",
    JSON.stringify({ path: "values:echo", args: { value: 1 } }),
    { "Content-Type": "text/plain" },
    400,
  ],
  "a format that does not exist": [
    "/api/query",
    JSON.stringify({ path: "values:echo", args: { value: 1 }, format: "xml" }),
    {},
    400,
  ],
  "a malformed client version": ["/api/query", "{}", { "Convex-Client": "nonsense" }, 400],
  "a token when there is no provider": [
    "/api/query",
    JSON.stringify({ path: "values:echo", args: { value: 1 } }),
    { Authorization: `Bearer ${["eyJhbGciOiJSUzI1NiJ9", "eyJpc3MiOiJodHRwczovL3gifQ", "AAAA"].join(".")}` },
    401,
  ],
  "an admin endpoint without a key": ["/api/update_environment_variables", '{"changes":[]}', {}, [401, 403]],
  "a body of 20 MiB": ["/api/query", `{"path":"${"x".repeat(20 * MIB)}"}`, {}, [400, 413]],
  "an endpoint that does not exist": ["/api/nothing/here", "{}", {}, 404],
};

for (const [what, [path, body, headers, statuses]] of Object.entries(badRequests)) {
  test(`a request with ${what} is refused`, async () => {
    const response = await fetch(server.url + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body,
    });
    const text = await response.text();
    assert.ok([statuses].flat().includes(response.status), `${response.status}: ${text}`);
    if (response.status !== 413 && response.status !== 404) assert.match(JSON.parse(text).code, /^[A-Z][A-Za-z]+$/);
  });
}

// ---- Functions -----------------------------------------------------------------------------------------------------

test("a document over 1 MiB is refused, one just below is stored", async () => {
  const room = "large";
  await assert.rejects(client.mutation(api.failures.storeText, { room, length: MIB }), /too large/i);
  assert.deepEqual(await client.query(api.messages.list, { room }), []);
  await client.mutation(api.failures.storeText, { room, length: MIB - 200 });
  assert.equal((await client.query(api.messages.list, { room }))[0].length, MIB - 200);
});

test("a document that breaks the schema is refused", async () => {
  const failure = client.mutation(api.failures.storeWrongly, { room: "schema" });
  await assert.rejects(failure, /does not match the schema/);
  assert.deepEqual(await client.query(api.messages.list, { room: "schema" }), []);
});

test("functions that loop forever are ended, and others run meanwhile", async () => {
  const room = "loops";
  const loops = [
    ...Array.from({ length: 3 }, () => client.query(api.failures.loopInQuery, {})),
    ...Array.from({ length: 3 }, () => client.mutation(api.failures.loopInMutation, { room }, { skipQueue: true })),
  ];
  const ended = Promise.allSettled(loops);
  const beside = await within("a query beside the loops", 10_000, client.query(api.values.echo, { value: "beside" }));
  assert.equal(beside, "beside");
  for (const { status, reason } of await within("the end of the loops", 60_000, ended)) {
    assert.equal(status, "rejected");
    assert.match(reason.message, /Function execution timed out \(maximum duration: 1s\)/);
  }
  assert.deepEqual(await client.query(api.messages.list, { room }), []);
});

test("functions that eat memory are ended, and the server stays small", async () => {
  const eaters = [api.failures.eatMemory, api.failures.eatBuffers, api.failures.eatMemory, api.failures.eatBuffers];
  const results = await Promise.allSettled(eaters.map((eater) => client.query(eater, {})));
  for (const { status, reason } of results) {
    assert.equal(status, "rejected");
    assert.match(reason.message, /out of memory|timed out/);
  }
  assert.ok(
    results.some(({ reason }) => /ran out of memory \(maximum memory usage: 64 MB\)/.test(reason.message)),
    results.map(({ reason }) => reason.message).join("\n"),
  );
  assert.ok(server.peakMemory < 1024 * MIB, `the server took ${server.peakMemory / MIB} MiB`);
});

test("endless recursion is an error of that call", async () => {
  await assert.rejects(client.query(api.failures.recurse, {}), /RangeError|stack/i);
});

test("half a character fails the call or is replaced, and the connection lives", async () => {
  const live = new ConvexClient(server.url, { logger: false });
  try {
    const ask = (how) => within(how, 10_000, live.query(api.failures.halves, { how }));
    await assert.rejects(ask("message"), /Uncaught Error: oh \ufffd\n {4}at handler \(\.\.\/convex\/failures\.ts:/);
    await assert.rejects(ask("data"), (error) => error.data.oh === "\ufffd");
    assert.equal(await ask("log"), "logged");
    await assert.rejects(ask("frame"), /Uncaught Error: in a frame\n {4}at \ufffd \(/);
    await assert.rejects(ask("field"), /Uncaught Error: .*\ufffd/);
    await assert.rejects(ask("argument"), /not well-formed Unicode/);
    await assert.rejects(ask("result"), /return value invalid: .*not well-formed Unicode/);
    const write = live.mutation(api.failures.storeHalf, { room: "halves" });
    await assert.rejects(within("storeHalf", 10_000, write), /not well-formed Unicode/);
    assert.equal(live.connectionState().connectionRetries, 0);
  } finally {
    await live.close();
  }
});

test("sockets that leave in the middle leave nothing behind", async () => {
  for (let round = 0; round < 50; round++) {
    const socket = await Socket.connect(server);
    for (let requestId = 0; requestId < 5; requestId++) {
      const args = [{ name: "leavers" }];
      socket.send({ type: "Mutation", requestId, udfPath: "counter:increment", args });
    }
    if (round % 2) socket.socket.terminate();
    else socket.socket.close();
  }
  let last = -1;
  await until("their mutations have settled", 10_000, async () => {
    const now = await client.query(api.counter.get, { name: "leavers" });
    const isSettled = now === last;
    last = now;
    return isSettled;
  });
  assert.ok(last <= 250);
});
