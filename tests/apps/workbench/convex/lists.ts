import { v } from "convex/values";
import { mutation, query, type QueryCtx } from "./_generated/server";

const find = (ctx: QueryCtx, name: string) =>
  ctx.db
    .query("lists")
    .withIndex("by_name", (q) => q.eq("name", name))
    .unique();

/** The elements of several lists; one that is not there is empty. */
export const read = query({
  args: { names: v.array(v.string()) },
  handler: async (ctx, { names }) => {
    const lists = [];
    for (const name of names) lists.push((await find(ctx, name))?.elements ?? []);
    return lists;
  },
});

/** Reads some lists, then appends to some: what it read. */
export const transact = mutation({
  args: { names: v.array(v.string()), appends: v.array(v.object({ name: v.string(), element: v.number() })) },
  handler: async (ctx, { names, appends }) => {
    const lists = [];
    for (const name of names) lists.push((await find(ctx, name))?.elements ?? []);
    for (const { name, element } of appends) {
      const list = await find(ctx, name);
      if (list === null) {
        await ctx.db.insert("lists", { name, elements: [element] });
      } else {
        await ctx.db.patch(list._id, { elements: [...list.elements, element] });
      }
    }
    return lists;
  },
});
