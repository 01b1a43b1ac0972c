import { v } from "convex/values";
import { mutation, query } from "./_generated/server";

const FORGET_AFTER_MS = 60_000;

/** Reports that a window is open in a room. Windows call this every few seconds. */
export const heartbeat = mutation({
  args: { session: v.string(), room: v.string(), name: v.string() },
  handler: async (ctx, { session, room, name }) => {
    const seen = Date.now();
    const mine = await ctx.db
      .query("presence")
      .withIndex("by_session", (q) => q.eq("session", session))
      .unique();
    if (mine === null) {
      await ctx.db.insert("presence", { session, room, name, seen });
    } else {
      await ctx.db.patch(mine._id, { room, name, seen });
    }
    const gone = ctx.db
      .query("presence")
      .withIndex("by_room", (q) => q.eq("room", room).lt("seen", seen - FORGET_AFTER_MS));
    for await (const window of gone) {
      await ctx.db.delete(window._id);
    }
  },
});

/** Reports that a window was closed. */
export const leave = mutation({
  args: { session: v.string() },
  handler: async (ctx, { session }) => {
    const mine = await ctx.db
      .query("presence")
      .withIndex("by_session", (q) => q.eq("session", session))
      .unique();
    if (mine !== null) {
      await ctx.db.delete(mine._id);
    }
  },
});

/** Who was seen in a room lately, latest first. How late is too late is for the caller to say: queries have no clock. */
export const list = query({
  args: { room: v.string() },
  handler: async (ctx, { room }) => {
    const windows = await ctx.db
      .query("presence")
      .withIndex("by_room", (q) => q.eq("room", room))
      .order("desc")
      .take(100);
    return windows.map(({ session, name, seen }) => ({ session, name, seen }));
  },
});
