import { v } from "convex/values";
import { mutation, query } from "./_generated/server";

export const add = mutation({
  args: { title: v.string() },
  handler: (ctx, { title }) => ctx.db.insert("notes", { title }),
});

export const titles = query({
  args: {},
  handler: async (ctx) => (await ctx.db.query("notes").collect()).map((note) => note.title),
});
