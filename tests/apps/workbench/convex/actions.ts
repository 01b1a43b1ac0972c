import { ConvexError, v } from "convex/values";
import { api } from "./_generated/api";
import { action } from "./_generated/server";

/** Sends a message and says what the room holds then. */
export const relay = action({
  args: { room: v.string(), text: v.string() },
  handler: async (ctx, { room, text }): Promise<string[]> => {
    await ctx.runMutation(api.messages.send, { room, text });
    return await ctx.runQuery(api.messages.list, { room });
  },
});

export const download = action({
  args: { url: v.string() },
  handler: async (_ctx, { url }) => {
    const response = await fetch(url, { method: "POST", headers: { "X-Test": "1" }, body: "ping" });
    return { status: response.status, body: await response.json() };
  },
});

export const fail = action({
  args: { value: v.any() },
  handler: async (_ctx, { value }) => {
    throw new ConvexError(value);
  },
});
