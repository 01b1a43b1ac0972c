// What strangers can do to a server with 1 GB of memory: each row of what was once possible, and that it is no more.
// `lib/strangers.mjs` asserts for all of them that memory is bounded and an innocent client is served in time.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { brotliCompress, constants } from "node:zlib";
import { endure, prepared } from "./lib/strangers.mjs";
import { Socket } from "./lib/socket.mjs";
import { until, within } from "./lib/wait.mjs";

const MIB = 1 << 20;
const ANSWER_MS = 60_000;

/** Sends `body` to `path`, and gives the status and the parsed body. What the server does not read does not matter. */
async function post(server, path, body, headers = {}) {
  const options = { method: "POST", headers: { "content-type": "application/json", ...headers }, agent: false };
  const sending = request(`${server.url}${path}`, options);
  sending.on("error", () => {}); // The server may answer and close before it has read everything.
  const answered = once(sending, "response");
  sending.end(body);
  const [response] = await within(`an answer from ${path}`, ANSWER_MS, answered);
  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return { status: response.statusCode, headers: response.headers, text };
}

/** A call of a function whose argument is as many empty arrays as fit. */
function emptyArrays(bytes) {
  const head = `{"path":"targets:echo","args":{"value":[[]`;
  const tail = `]}}`;
  const count = Math.floor((bytes - head.length - tail.length) / 3);
  return Buffer.from(head + ",[]".repeat(count) + tail);
}

test("small compressed bodies that are large when unpacked", async () => {
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } };
  const bomb = await promisify(brotliCompress)(emptyArrays(190 * MIB), quality);
  assert.ok(bomb.length < 2000);
  await endure(async (server) => {
    for (const path of ["/api/query", "/api/mutation", "/api/deploy2/start_push"]) {
      const bombs = Array.from({ length: 20 }, () => post(server, path, bomb, { "content-encoding": "br" }));
      const refused = path.includes("push") ? 403 : 415;
      for (const { status, text } of await Promise.all(bombs)) assert.equal(status, refused, text);
    }
  });
});

test("bodies of 16 MiB that are a hundred times as large when parsed", async () => {
  const body = emptyArrays(16 * MIB);
  await endure(async (server) => {
    for (const path of ["/api/query", "/api/mutation", "/api/action", "/api/query_batch"]) {
      const answers = await Promise.all(Array.from({ length: 20 }, () => post(server, path, body)));
      for (const { status, text } of answers) assert.ok([400, 413, 503].includes(status), `${status} ${text}`);
      assert.ok(answers.some(({ status }) => status === 413));
    }
  });
});

test("WebSocket messages of 60 MiB that are a hundred times as large when parsed", async () => {
  const value = `[[]${",[]".repeat((60 * MIB) / 3)}]`;
  await endure(async (server) => {
    const sockets = await Promise.all(Array.from({ length: 8 }, () => Socket.connect(server)));
    for (const [index, socket] of sockets.entries()) {
      const kind = index % 2 === 0 ? "Mutation" : "Action";
      socket.send(`{"type":"${kind}","requestId":0,"udfPath":"targets:echo","args":[{"value":${value}}]}`);
    }
    for (const socket of sockets) {
      const isOver = ({ type }) => type.endsWith("Response");
      await within(
        "an end of each",
        ANSWER_MS,
        Promise.race([socket.closed, socket.next(isOver)]).catch(() => {}),
      );
      socket.socket.terminate();
    }
  });
});

test("bodies of 199 MiB for a push without a key", async () => {
  const body = Buffer.alloc(199 * MIB, " ");
  await endure(async (server) => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(server, "/api/deploy2/start_push", body)));
    for (const { status, text } of answers) assert.equal(status, 403, text);
  });
});

/** Opens a WebSocket by hand, and gives the raw connection. */
async function rawSocket(server) {
  const connection = connect(server.port, "127.0.0.1");
  connection.on("error", () => {});
  const head = ["GET /api/1.48.0/sync HTTP/1.1", "host: localhost", "connection: upgrade", "upgrade: websocket"];
  head.push("sec-websocket-version: 13", "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", "", "");
  connection.write(head.join("\r\n"));
  const [answer] = await once(connection, "data");
  assert.match(String(answer), /^HTTP\/1.1 101/);
  connection.on("data", () => {});
  return connection;
}

/** The head of a masked frame: the first of several of a text, or one that says to be `length` bytes long. */
function frameHead(opcode, length) {
  const head = Buffer.alloc(14);
  head[0] = opcode;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

test("WebSocket messages that never end", async () => {
  await endure(
    async (server) => {
      const connections = await Promise.all(Array.from({ length: 40 }, () => rawSocket(server)));
      const part = Buffer.alloc(MIB);
      for (const [index, connection] of connections.entries()) {
        if (index % 2 === 0) {
          connection.write(frameHead(0x01, 60 * MIB + 1));
          for (let i = 0; i < 60; i++) connection.write(part);
        } else {
          // Many frames of one message, with signs of life between them.
          for (let i = 0; i < 60; i++) {
            connection.write(frameHead(i === 0 ? 0x01 : 0x00, MIB));
            connection.write(part);
            connection.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]));
          }
        }
      }
      const closed = connections.map((connection) => new Promise((resolve) => connection.once("close", resolve)));
      await within("all are closed", ANSWER_MS, Promise.all(closed));
    },
    { args: ["--limit", "body_time=5s"] },
  );
});

test("WebSockets on which nobody says anything", async () => {
  await endure(
    async (server) => {
      const connections = await Promise.all(Array.from({ length: 200 }, () => rawSocket(server)));
      const closed = connections.map((connection) => new Promise((resolve) => connection.once("close", resolve)));
      await within("all are closed", ANSWER_MS, Promise.all(closed));
    },
    { args: ["--limit", "connect_time=2s"] },
  );
});

test("more idle connections than descriptors, and headers that never end", async () => {
  await endure(
    async (server) => {
      const connections = [];
      for (let i = 0; i < 1_010; i++) {
        const connection = connect(server.port, "127.0.0.1");
        connection.on("error", () => {});
        connections.push(connection);
        if (i % 2 === 0) connection.write("POST /api/query HTTP/1.1\r\nhost: localhost\r\n");
      }
      await Promise.all(connections.map((connection) => once(connection, "connect")));
      const drip = setInterval(() => connections.forEach((connection) => connection.write("x-a: b\r\n")), 500);
      const socket = await Socket.connect(server);
      await socket.next("Transition");
      assert.equal((await post(server, "/api/query", '{"path":"innocent:get","args":{"name":"x"}}')).status, 200);
      const closed = connections.map((connection) => new Promise((resolve) => connection.once("close", resolve)));
      await within("all are closed", ANSWER_MS, Promise.all(closed));
      clearInterval(drip);
      await socket.close();
    },
    { setup: "ulimit -Sn 1024", args: ["--limit", "header_time=4s"] },
  );
});

test("bodies that never end", async () => {
  await endure(
    async (server) => {
      const head = "POST /api/query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
      const connections = Array.from({ length: 40 }, (_, i) => {
        const connection = connect(server.port, "127.0.0.1");
        connection.on("error", () => {});
        const length =
          i % 2 === 0 ? "content-length: 16000000\r\n\r\n" : "transfer-encoding: chunked\r\n\r\nf00000\r\n";
        connection.write(head + length);
        connection.write(Buffer.alloc(15_000_000, " "));
        return connection;
      });
      const answers = connections.map(async (connection) => String((await once(connection, "data"))[0]));
      for (const answer of await within("all are answered", ANSWER_MS, Promise.all(answers))) {
        assert.match(answer, /^HTTP\/1.1 (408|503) /);
      }
      // Now there is room again.
      const large = JSON.stringify({ path: "targets:echo", args: { value: "x".repeat(8 * MIB) } });
      assert.equal((await post(server, "/api/query", large)).status, 200);
    },
    { args: ["--limit", "body_time=5s"] },
  );
});

test("an echo of 128 MiB", async () => {
  const body = Buffer.alloc(128 * MIB, "x");
  await endure(async (server) => {
    const answers = await Promise.all(Array.from({ length: 6 }, () => post(server, "/echo", body)));
    for (const { status, text } of answers) {
      assert.equal(status, 200);
      assert.equal(text.length, body.length);
    }
  });
});

test("a server under load stops within three seconds, and loses nothing that it acknowledged", async () => {
  const server = await prepared();
  const sockets = await Promise.all(Array.from({ length: 20 }, () => Socket.connect(server)));
  for (const [index, { socket }] of sockets.entries()) {
    const send = (requestId) => {
      const call = { type: "Mutation", requestId, udfPath: "innocent:increment", args: [{ name: `${index}` }] };
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(call));
    };
    for (let requestId = 0; requestId < 20; requestId++) send(requestId);
    socket.on("message", (text) => {
      const { type, requestId } = JSON.parse(text);
      if (type === "MutationResponse") send(requestId + 20);
    });
  }
  const answers = ({ messages }) => messages.filter(({ type }) => type === "MutationResponse").length;
  await until("there is load", ANSWER_MS, () => sockets.every((socket) => answers(socket) >= 3));
  const begun = performance.now();
  await server.stop();
  const took = performance.now() - begun;
  const acknowledged = [];
  for (const socket of sockets) {
    const { code, reason } = await socket.closed;
    assert.deepEqual({ code, reason }, { code: 1001, reason: "ServerShutdown" });
    acknowledged.push(socket.messages.filter(({ type, success }) => type === "MutationResponse" && success).length);
  }
  assert.ok(took < 3_000, `it took ${took} ms`);
  await server.restart();
  for (const [index, count] of acknowledged.entries()) {
    const body = JSON.stringify({ path: "innocent:get", args: { name: `${index}` } });
    const stored = JSON.parse((await post(server, "/api/query", body)).text).value;
    assert.ok(stored >= count, `${count} were acknowledged, ${stored} are there`);
  }
  await server.remove();
});

test("a program for use has no way to make it panic", async () => {
  const server = await prepared({ setup: "export CONCAVE_PANIC_FILE=/" });
  await sleep(200);
  assert.equal((await post(server, "/api/query_ts", "")).status, 200);
  await server.remove();
});
