// Ordinary load: clients that watch, write, read and call actions all the time, as the users of an app do.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Socket } from "./socket.mjs";

/**
 * Puts load on a server with the app `workbench` for so many milliseconds: each client watches two queries, sends
 * mutations one after another, and reads by HTTP what nobody has read before. Returns how many calls were answered.
 */
export async function load(server, { clients = 24, duration }) {
  const deadline = Date.now() + duration;
  const counts = { mutations: 0, queries: 0, actions: 0 };
  await Promise.all(Array.from({ length: clients }, (_, n) => client(server, n, deadline, counts)));
  return counts;
}

async function client(server, n, deadline, counts) {
  let reads = 0;
  while (Date.now() < deadline) {
    // Clients come and go.
    const end = Math.min(deadline, Date.now() + 15_000);
    const socket = await Socket.connect(server);
    const room = `room ${n}: ${randomUUID()}`;
    const query = (queryId, udfPath, args) => ({ type: "Add", queryId, udfPath, args: [args] });
    socket.send({
      type: "ModifyQuerySet",
      baseVersion: 1,
      newVersion: 2,
      modifications: [query(0, "messages:list", { room }), query(1, "counter:get", { name: `counter ${n % 4}` })],
    });
    for (let requestId = 0; Date.now() < end; requestId++) {
      socket.messages.length = 0;
      const isCount = requestId % 8 === 7;
      const [udfPath, args] = isCount
        ? ["counter:increment", { name: `counter ${n % 4}` }]
        : ["messages:send", { room: `${room} ${requestId >> 4}`, text: `message ${requestId} of ${n}` }];
      socket.send({ type: "Mutation", requestId, udfPath, args: [args] });
      await socket.next((message) => message.type === "MutationResponse" && message.requestId === requestId);
      counts.mutations++;
      const value = { n, reads: reads++, text: "what nobody has asked for yet" };
      await post(server, "query", "values:echo", { value });
      await post(server, "query", "messages:list", { room: `${room} ${requestId >> 4}` });
      counts.queries += 2;
      if (requestId % 16 === 15) {
        await post(server, "action", "values:echoInAction", { value });
        counts.actions++;
      }
    }
    await socket.close();
  }
}

async function post(server, kind, path, args) {
  const response = await fetch(`${server.url}/api/${kind}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ path, args, format: "json" }),
  });
  const body = await response.json();
  if (body.status !== "success") throw new Error(`${kind} ${path} failed: ${JSON.stringify(body)}`);
}

/** Memory of a process, in bytes: `resident` now, and `private` to it, without what it maps of files. */
export function memory(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)[1]) * 1024;
  return { resident: field("VmRSS"), private: field("RssAnon") };
}

/**
 * Waits until the memory of a process is at most `most` bytes, since an allocator gives back in its own time; gives what
 * it is after `timeout` milliseconds at the latest. `kind`: a field of what `memory` gives.
 */
export async function untilMemory(pid, kind, most, timeout) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const now = memory(pid)[kind];
    if (now <= most || Date.now() > deadline) return now;
    await sleep(1_000);
  }
}
