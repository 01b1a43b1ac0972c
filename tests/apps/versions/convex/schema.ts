import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  items: defineTable({ list: v.string(), text: v.string() }).index("by_list", ["list"]),
});
