// Functions that anybody may call, as strangers find them.

import { v } from "convex/values";
import { action, mutation, query } from "./_generated/server";

export const echo = query({ args: { value: v.any() }, handler: (_ctx, { value }) => value });

export const sleep = action({
  args: { milliseconds: v.number(), padding: v.optional(v.string()) },
  handler: (_ctx, { milliseconds }) => new Promise<null>((resolve) => setTimeout(() => resolve(null), milliseconds)),
});

/** Fetches a URL so many times at once. Returns how many bytes came in all. */
export const fetchMany = action({
  args: { url: v.string(), count: v.number() },
  handler: async (_ctx, { url, count }) => {
    const bytes = async () => (await (await fetch(url)).arrayBuffer()).byteLength;
    const all = await Promise.all(Array.from({ length: count }, bytes));
    return all.reduce((sum, one) => sum + one, 0);
  },
});

export const keep = mutation({
  args: { key: v.string() },
  handler: async (ctx, { key }) => {
    await ctx.db.insert("kept", { key });
  },
});

export const loop = query({
  args: { n: v.number() },
  handler: () => {
    for (;;);
  },
});

export const eat = query({
  args: { n: v.number() },
  handler: () => {
    const eaten = [];
    for (;;) eaten.push(new Array(1 << 16).fill(eaten.length));
  },
});
