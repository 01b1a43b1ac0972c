import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  docs: defineTable({ a: v.number(), b: v.optional(v.string()) })
    .index("by_a", ["a"])
    .index("by_b_a", ["b", "a"]),
  events: defineTable({ ts: v.commitTs(), note: v.string() }).index("by_ts", ["ts"]),
});
