// The sync protocol spoken by hand: for what the official clients would never send, and for seeing every message.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import { until } from "./wait.mjs";

const ANSWER_TIMEOUT_MS = 10_000;

export class Socket {
  /** Opens a socket. `messages` holds all that came, in order; `closed` is a promise of `{ code, reason }`. */
  static async open(server, { path = "/api/1.48.0/sync" } = {}) {
    const socket = new Socket();
    socket.messages = [];
    socket.socket = new WebSocket(server.url.replace("http", "ws") + path);
    socket.socket.on("message", (text) => socket.messages.push(JSON.parse(text)));
    socket.closed = new Promise((resolve) => {
      socket.socket.on("close", (code, reason) => {
        socket.isClosed = true;
        resolve({ code, reason: String(reason) });
      });
    });
    await once(socket.socket, "open");
    socket.socket.on("error", () => {}); // Told by `closed`.
    return socket;
  }

  /** Opens a socket and sends what a client sends first. */
  static async connect(server, sessionId = randomUUID()) {
    const socket = await Socket.open(server);
    socket.send({ type: "Connect", sessionId, connectionCount: 0, lastCloseReason: "InitialConnect", clientTs: 0 });
    socket.send({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [] });
    return socket;
  }

  /** Sends a message, or a text or bytes as they are. */
  send(message) {
    const isRaw = typeof message === "string" || message instanceof Uint8Array;
    this.socket.send(isRaw ? message : JSON.stringify(message));
  }

  /** Waits for a message of which `wanted` holds: a type or a function, which sees each message once, in order. */
  async next(wanted) {
    const isWanted = typeof wanted === "string" ? (message) => message.type === wanted : wanted;
    let seen = 0;
    return await until(`a message comes: ${wanted}`, ANSWER_TIMEOUT_MS, () => {
      const isClosed = this.isClosed;
      while (seen < this.messages.length) {
        const message = this.messages[seen++];
        if (isWanted(message)) return message;
      }
      if (isClosed) throw new Error(`the socket was closed without: ${wanted}`);
      return undefined;
    });
  }

  async close() {
    this.socket.close();
    await this.closed;
  }
}
