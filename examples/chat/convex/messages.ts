import { paginationOptsValidator } from "convex/server";
import { ConvexError, v } from "convex/values";
import { mutation, query } from "./_generated/server";

const TEXT_LENGTH_MAX = 1000;
const NAME_LENGTH_MAX = 40;

/** The newest messages of a room, newest first. */
export const list = query({
  args: { room: v.string() },
  handler: (ctx, { room }) =>
    ctx.db
      .query("messages")
      .withIndex("by_room", (q) => q.eq("room", room))
      .order("desc")
      .take(50),
});

/** All messages of a room, newest first, page by page. */
export const page = query({
  args: { room: v.string(), paginationOpts: paginationOptsValidator },
  handler: (ctx, { room, paginationOpts }) =>
    ctx.db
      .query("messages")
      .withIndex("by_room", (q) => q.eq("room", room))
      .order("desc")
      .paginate(paginationOpts),
});

/** Says something in a room. The error's data has a `code` for programs and a `message` for people. */
export const send = mutation({
  args: { room: v.string(), author: v.string(), text: v.string() },
  handler: async (ctx, args) => {
    const author = args.author.trim();
    const text = args.text.trim();
    if (!/^[a-z0-9-]{1,30}$/.test(args.room)) {
      throw new ConvexError({ code: "BadRoom", message: "Room names are short: a-z, 0-9 and dashes." });
    }
    if (author === "" || author.length > NAME_LENGTH_MAX) {
      throw new ConvexError({ code: "BadName", message: `Choose a name of 1 to ${NAME_LENGTH_MAX} characters.` });
    }
    if (text === "") {
      throw new ConvexError({ code: "EmptyMessage", message: "Write something first." });
    }
    if (text.length > TEXT_LENGTH_MAX) {
      throw new ConvexError({
        code: "MessageTooLong",
        message: `That is ${text.length} characters; ${TEXT_LENGTH_MAX} is the most.`,
      });
    }
    const room = await ctx.db
      .query("rooms")
      .withIndex("by_name", (q) => q.eq("name", args.room))
      .unique();
    if (room === null) {
      await ctx.db.insert("rooms", { name: args.room });
    }
    return await ctx.db.insert("messages", { room: args.room, author, text });
  },
});
