import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  values: defineTable({ value: v.any() }),
  messages: defineTable({ room: v.string(), text: v.string() }).index("by_room", ["room"]),
  counters: defineTable({ name: v.string(), count: v.number() }).index("by_name", ["name"]),
  lists: defineTable({ name: v.string(), elements: v.array(v.number()) }).index("by_name", ["name"]),
  // Every mutation of `ledger.ts` writes one document to each of these.
  entries: defineTable({ batch: v.string(), n: v.number() }).index("by_batch", ["batch", "n"]),
  receipts: defineTable({ batch: v.string(), n: v.number(), entry: v.id("entries") }).index("by_batch", ["batch", "n"]),
});
