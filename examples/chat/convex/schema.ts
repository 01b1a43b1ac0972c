import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  // A room is created by the first message sent to it.
  rooms: defineTable({ name: v.string() }).index("by_name", ["name"]),

  messages: defineTable({ room: v.string(), author: v.string(), text: v.string() }).index("by_room", ["room"]),

  // One document per open window. `seen` is when it last reported, in milliseconds since the epoch.
  presence: defineTable({ session: v.string(), room: v.string(), name: v.string(), seen: v.number() })
    .index("by_session", ["session"])
    .index("by_room", ["room", "seen"]),
});
