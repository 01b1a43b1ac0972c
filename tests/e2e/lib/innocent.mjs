// A thread with a client that watches a counter and counts on every 50 ms, whatever the server does, and notes how long
// it takes until a count is acknowledged and seen. `lib/strangers.mjs` starts it.

import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { randomUUID } from "node:crypto";
import { Socket } from "./socket.mjs";
import { until } from "./wait.mjs";

const PERIOD_MS = 50;
/** How long the last counts may take, once no more are sent. */
const LAST_MS = 15_000;

const name = randomUUID();
const socket = await Socket.connect({ url: workerData.url });
const sentAt = [];
const acknowledged = [];
const latencies = [];
const failures = [];
/** How far the live query has counted. */
let seen = 0;
let isEnding = false;

socket.socket.on("message", (text) => {
  const message = JSON.parse(text);
  if (message.type === "MutationResponse") {
    if (!message.success) failures.push(message.result);
    acknowledged[message.requestId] = true;
  } else if (message.type === "Transition") {
    for (const { type, value, errorMessage } of message.modifications) {
      if (type === "QueryUpdated") seen = value;
      if (type === "QueryFailed") failures.push(errorMessage);
    }
  } else if (message.type !== "Ping") {
    failures.push(message);
  }
  while (latencies.length < seen && acknowledged[latencies.length]) {
    latencies.push(performance.now() - sentAt[latencies.length]);
  }
});
socket.closed.then((reason) => isEnding || failures.push({ closed: reason }));

const add = { type: "Add", queryId: 0, udfPath: "innocent:get", args: [{ name }] };
socket.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [add] });
await until("the counter is watched", LAST_MS, () =>
  socket.messages.some(({ modifications }) => modifications?.length),
);
parentPort.once("message", () => (isEnding = true));
parentPort.postMessage({ started: true });

for (let next = performance.now(); !isEnding; next += PERIOD_MS) {
  sentAt.push(performance.now());
  socket.send({ type: "Mutation", requestId: sentAt.length - 1, udfPath: "innocent:increment", args: [{ name }] });
  await sleep(Math.max(0, next + PERIOD_MS - performance.now()));
}
const all = until("all counts are seen", LAST_MS, () => latencies.length === sentAt.length || socket.isClosed);
await all.catch((error) => failures.push(error.message));
parentPort.postMessage({ ended: { latencies, failures } });
