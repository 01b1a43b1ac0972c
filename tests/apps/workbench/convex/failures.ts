import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import { mutation, query } from "./_generated/server";

export const throwError = query({
  args: { text: v.string() },
  handler: (_ctx, { text }) => {
    console.warn("about to throw", { text });
    throw new Error(text);
  },
});

/** Writes, then throws: nothing may be left of it. */
export const writeAndThrow = mutation({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    await ctx.db.insert("messages", { room, text: "never seen" });
    throw new Error("after writing");
  },
});

export const loopInQuery = query({
  args: {},
  handler: () => {
    for (;;);
  },
});

export const loopInMutation = mutation({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    await ctx.db.insert("messages", { room, text: "never seen" });
    for (;;);
  },
});

export const eatMemory = query({
  args: {},
  handler: () => {
    const hoard: string[][] = [];
    for (;;) hoard.push(new Array(100_000).fill("more"));
  },
});

export const eatBuffers = query({
  args: {},
  handler: () => {
    const hoard: Uint8Array[] = [];
    for (;;) hoard.push(new Uint8Array(8 << 20).fill(1));
  },
});

export const recurse = query({
  args: {},
  handler: () => {
    const deeper = (n: number): number => 1 + deeper(n + 1);
    return deeper(0);
  },
});

/** Stores a document whose text has `length` characters of one byte. */
export const storeText = mutation({
  args: { room: v.string(), length: v.number() },
  handler: async (ctx, { room, length }) => {
    await ctx.db.insert("messages", { room, text: "x".repeat(length) });
  },
});

/** Breaks the schema, which types would have prevented. */
export const storeWrongly = mutation({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    await ctx.db.insert("messages", { room, text: 7 } as any);
  },
});

/** Half of a surrogate pair, which is no character. */
const half = "👍".slice(0, 1);

/** Lets half a character out in one of the ways there are. */
export const halves = query({
  args: { how: v.string() },
  handler: async (ctx, { how }): Promise<any> => {
    switch (how) {
      case "message":
        throw new Error(`oh ${half}`);
      case "data":
        throw new ConvexError({ oh: half });
      case "log":
        console.log(half, { [half]: half });
        return "logged";
      case "frame":
        return { [half]: () => Promise.reject(new Error("in a frame")) }[half]!();
      case "field":
        return { [half]: 1 };
      case "argument":
        return await ctx.runQuery(api.failures.halves, { how: half });
      default:
        return half;
    }
  },
});

export const storeHalf = mutation({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    await ctx.db.insert("messages", { room, text: half });
  },
});
