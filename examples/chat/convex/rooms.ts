import { query } from "./_generated/server";

/** The names of all rooms that have messages, in alphabetical order. */
export const list = query({
  args: {},
  handler: async (ctx) => {
    const rooms = await ctx.db.query("rooms").withIndex("by_name").take(100);
    return rooms.map((room) => room.name);
  },
});
