// What every version of npm `convex` can express since 2024.

import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import { action, internalMutation, mutation, query } from "./_generated/server";

export const list = query({
  args: { list: v.string() },
  returns: v.array(v.string()),
  handler: async (ctx, { list }) => {
    const items = await ctx.db
      .query("items")
      .withIndex("by_list", (q) => q.eq("list", list))
      .collect();
    return items.map((item) => item.text);
  },
});

export const page = query({
  args: { paginationOpts: v.any() },
  handler: async (ctx, { paginationOpts }) => await ctx.db.query("items").order("desc").paginate(paginationOpts),
});

export const add = mutation({
  args: { list: v.string(), text: v.string() },
  handler: async (ctx, { list, text }) => {
    if (text === "") throw new ConvexError({ reason: "empty" });
    console.log(`adding ${text}`);
    return await ctx.db.insert("items", { list, text });
  },
});

export const clear = internalMutation({
  args: { list: v.string() },
  handler: async (ctx, { list }) => {
    const items = await ctx.db
      .query("items")
      .withIndex("by_list", (q) => q.eq("list", list))
      .collect();
    for (const item of items) await ctx.db.delete(item._id);
    return items.map((item) => item.text);
  },
});

export const addTwice = action({
  args: { list: v.string(), text: v.string() },
  handler: async (ctx, { list, text }): Promise<string[]> => {
    await ctx.runMutation(api.items.add, { list, text: `${text} 1` });
    await ctx.runMutation(api.items.add, { list, text: `${text} 2` });
    return await ctx.runQuery(api.items.list, { list });
  },
});

export const greeting = query({ args: {}, handler: () => process.env.GREETING ?? null });
