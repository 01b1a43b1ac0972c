import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export const callback = v.function({ fnType: "mutation", args: { text: v.string() }, returns: v.null() });

export default defineSchema({
  jobs: defineTable({ onDone: callback }),
  lines: defineTable({ text: v.string() }),
});
