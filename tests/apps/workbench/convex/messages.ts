import { paginationOptsValidator } from "convex/server";
import { ConvexError, v } from "convex/values";
import { mutation, query } from "./_generated/server";

export const list = query({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    const messages = await ctx.db
      .query("messages")
      .withIndex("by_room", (q) => q.eq("room", room))
      .collect();
    return messages.map((message) => message.text);
  },
});

export const page = query({
  args: { room: v.string(), paginationOpts: paginationOptsValidator },
  handler: (ctx, { room, paginationOpts }) =>
    ctx.db
      .query("messages")
      .withIndex("by_room", (q) => q.eq("room", room))
      .order("desc")
      .paginate(paginationOpts),
});

export const send = mutation({
  args: { room: v.string(), text: v.string() },
  handler: async (ctx, { room, text }) => {
    if (text === "") {
      throw new ConvexError({ code: "EmptyMessage", room, length: 0n });
    }
    return await ctx.db.insert("messages", { room, text });
  },
});

export const sendMany = mutation({
  args: { room: v.string(), texts: v.array(v.string()) },
  handler: async (ctx, { room, texts }) => {
    for (const text of texts) {
      await ctx.db.insert("messages", { room, text });
    }
  },
});

export const remove = mutation({
  args: { room: v.string(), text: v.string() },
  handler: async (ctx, { room, text }) => {
    const message = await ctx.db
      .query("messages")
      .withIndex("by_room", (q) => q.eq("room", room))
      .filter((q) => q.eq(q.field("text"), text))
      .unique();
    await ctx.db.delete(message!._id);
  },
});
