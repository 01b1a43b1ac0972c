import { v } from "convex/values";
import { mutation, query } from "./_generated/server";

/** Writes an entry and its receipt: both or neither. */
export const record = mutation({
  args: { batch: v.string(), n: v.number() },
  handler: async (ctx, { batch, n }) => {
    const entry = await ctx.db.insert("entries", { batch, n });
    await ctx.db.insert("receipts", { batch, n, entry });
  },
});

/** All entries and receipts of a batch, as numbers in ascending order, and the entries which receipts point to. */
export const audit = query({
  args: { batch: v.string() },
  handler: async (ctx, { batch }) => {
    const entries = await ctx.db
      .query("entries")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect();
    const receipts = await ctx.db
      .query("receipts")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect();
    return {
      entries: entries.map((entry) => entry.n),
      receipts: receipts.map((receipt) => receipt.n),
      entryIds: entries.map((entry) => entry._id),
      receiptEntryIds: receipts.map((receipt) => receipt.entry),
    };
  },
});

export const entries = query({
  args: { batch: v.string() },
  handler: async (ctx, { batch }) => {
    const entries = await ctx.db
      .query("entries")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect();
    return entries.map((entry) => entry.n);
  },
});

export const receipts = query({
  args: { batch: v.string() },
  handler: async (ctx, { batch }) => {
    const receipts = await ctx.db
      .query("receipts")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect();
    return receipts.map((receipt) => receipt.n);
  },
});
