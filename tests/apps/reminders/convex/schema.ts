import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  written: defineTable({ batch: v.string(), n: v.number(), at: v.number(), user: v.union(v.string(), v.null()) }).index(
    "by_batch",
    ["batch"],
  ),
  // Remembers which job was scheduled for what.
  scheduled: defineTable({ batch: v.string(), job: v.id("_scheduled_functions") }).index("by_batch", ["batch"]),
});
