// Waiting for what must come.

import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";

/** Calls `condition` until its result is truthy, and returns that. Fails after `timeout` milliseconds. */
export async function until(what, timeout, condition) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`waited ${timeout} ms in vain until ${what}`);
    await sleep(20);
  }
}

/** The result of `promise`, or a failure if there is none within `timeout` milliseconds. */
export async function within(what, timeout, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${timeout} ms in vain for ${what}`)), timeout);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** All results that a live query has had, in order, and errors as `{ error }`. */
export class Watch {
  static TIMEOUT_MS = 10_000;

  /** Watches `query` through a `ConvexClient`. */
  static on(client, query, args) {
    const watch = new Watch();
    watch.stop = client.onUpdate(
      query,
      args,
      (value) => watch.results.push(value),
      (error) => watch.results.push({ error }),
    );
    return watch;
  }

  results = [];

  get latest() {
    return this.results.at(-1);
  }

  /** Waits until the latest result is as `wanted` says. */
  async until(what, wanted, timeout = Watch.TIMEOUT_MS) {
    return until(what, timeout, () => this.results.length > 0 && wanted(this.latest)).catch((error) => {
      throw new Error(`${error.message}; the latest result was ${inspect(this.latest)}`);
    });
  }
}
