// Pages: over HTTP, reactive in the base client, and through React's usePaginatedQuery.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { ConvexProvider, ConvexReactClient, usePaginatedQuery } from "convex/react";
import { anyApi as api } from "convex/server";
import { createElement } from "react";
import { act, create } from "react-test-renderer";
import WebSocket from "ws";
import { App } from "./lib/app.mjs";
import { Server } from "./lib/server.mjs";
import { until } from "./lib/wait.mjs";

const TIMEOUT_MS = 10_000;

const server = await Server.start();
const app = await App.deploy("workbench", server);
const http = new ConvexHttpClient(server.url, { logger: false });

after(async () => {
  app.remove();
  await server.remove();
});

/** Fills a room with the messages `1` to `count`. */
async function fill(room, count) {
  await http.mutation(api.messages.sendMany, { room, texts: numbers(1, count) });
}

/** The numbers from `first` to `last` as texts, upwards or downwards. */
function numbers(first, last) {
  const step = first <= last ? 1 : -1;
  return Array.from({ length: Math.abs(last - first) + 1 }, (_, n) => `${first + n * step}`);
}

const texts = (messages) => messages.map((message) => message.text);

test("pages follow one another to the end, each message once", async () => {
  const room = "pages";
  await fill(room, 25);
  const pages = [];
  let cursor = null;
  for (;;) {
    const result = await http.query(api.messages.page, { room, paginationOpts: { numItems: 10, cursor } });
    pages.push(texts(result.page));
    cursor = result.continueCursor;
    if (result.isDone) break;
    assert.ok(pages.length < 10, "there is no end");
  }
  assert.deepEqual(pages.flat(), numbers(25, 1));
  assert.deepEqual(
    pages.slice(0, 2).map((page) => page.length),
    [10, 10],
  );
});

test("a cursor that was never given out is refused", async () => {
  const paginationOpts = { numItems: 10, cursor: "made up" };
  await assert.rejects(http.query(api.messages.page, { room: "pages", paginationOpts }), (error) => {
    assert.match(error.message, /InvalidCursor/);
    assert.equal(error.data?.paginationError, "InvalidCursor");
    return true;
  });
});

test("loaded pages stay live without gaps and overlaps", async () => {
  const room = "live pages";
  await fill(room, 30);
  const client = new ConvexClient(server.url, { logger: false });
  let latest;
  client.onPaginatedUpdate_experimental(api.messages.page, { room }, { initialNumItems: 10 }, (result) => {
    latest = result;
  });
  const showing = (wanted) =>
    until(`${wanted.length} messages are loaded`, TIMEOUT_MS, () => {
      return latest !== undefined && texts(latest.results ?? latest.page).join() === wanted.join();
    });
  await showing(numbers(30, 21));
  latest.loadMore(10);
  await showing(numbers(30, 11));
  await http.mutation(api.messages.sendMany, { room, texts: ["31", "32"] });
  await showing(numbers(32, 11));
  await http.mutation(api.messages.remove, { room, text: "20" });
  await showing([...numbers(32, 21), ...numbers(19, 11)]);
  latest.loadMore(20);
  await showing([...numbers(32, 21), ...numbers(19, 1)]);
  assert.equal(latest.status, "Exhausted");
  await client.close();
});

test("usePaginatedQuery loads, follows changes, and reaches the end", async () => {
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  const room = "react";
  await fill(room, 15);
  const client = new ConvexReactClient(server.url, { logger: false, webSocketConstructor: WebSocket });
  let latest;
  function Room() {
    latest = usePaginatedQuery(api.messages.page, { room }, { initialNumItems: 10 });
    return null;
  }
  let tree;
  await act(() => {
    tree = create(createElement(ConvexProvider, { client }, createElement(Room)));
  });
  const showing = (wanted, status) =>
    until(`the hook is ${status} with ${wanted.length} messages`, TIMEOUT_MS, async () => {
      await act(() => new Promise((resolve) => setTimeout(resolve, 5)));
      return latest.status === status && texts(latest.results).join() === wanted.join();
    });
  assert.equal(latest.status, "LoadingFirstPage");
  await showing(numbers(15, 6), "CanLoadMore");
  await http.mutation(api.messages.send, { room, text: "16" });
  await showing(numbers(16, 6), "CanLoadMore");
  await act(() => latest.loadMore(10));
  await showing(numbers(16, 1), "Exhausted");
  await act(() => tree.unmount());
  await client.close();
});
