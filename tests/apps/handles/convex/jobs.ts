import { createFunctionHandle } from "convex/server";
import { v } from "convex/values";
import { api, internal } from "./_generated/api";
import type { Id } from "./_generated/dataModel";
import { internalMutation, mutation, query } from "./_generated/server";
import { callback } from "./schema";

export const write = internalMutation({
  args: { text: v.string() },
  returns: v.null(),
  handler: async (ctx, { text }) => {
    await ctx.db.insert("lines", { text });
    return null;
  },
});

export const begin = mutation({
  args: { onDone: callback },
  returns: v.id("jobs"),
  handler: (ctx, { onDone }) => ctx.db.insert("jobs", { onDone }),
});

export const beginOwn = mutation({
  args: {},
  handler: async (ctx): Promise<Id<"jobs">> => {
    const onDone = await createFunctionHandle(internal.jobs.write);
    return await ctx.runMutation(api.jobs.begin, { onDone });
  },
});

export const end = mutation({
  args: { id: v.id("jobs") },
  handler: async (ctx, { id }) => {
    const job = await ctx.db.get(id);
    if (job !== null) await ctx.runMutation(job.onDone, { text: `done: ${job.onDone}` });
  },
});

export const lines = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("lines").collect()).map((line) => line.text),
});

/** Takes handles of anything. */
export const isHandle = query({ args: { handle: v.function() }, handler: () => true });
