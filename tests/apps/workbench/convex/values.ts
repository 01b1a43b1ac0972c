import { ConvexError, v } from "convex/values";
import { action, mutation, query } from "./_generated/server";

const args = { value: v.any() };

export const echo = query({ args, handler: (_ctx, { value }) => value });
export const echoInMutation = mutation({ args, handler: (_ctx, { value }) => value });
export const echoInAction = action({ args, handler: (_ctx, { value }) => value });

export const store = mutation({ args, handler: (ctx, { value }) => ctx.db.insert("values", { value }) });
export const load = query({
  args: { id: v.id("values") },
  handler: async (ctx, { id }) => (await ctx.db.get(id))!.value,
});

/** A result of that many MiB. */
export const large = query({
  args: { parts: v.number() },
  handler: (_ctx, { parts }) => new Array(parts).fill("x".repeat(1 << 20)),
});

export const fail = query({
  args,
  handler: (_ctx, { value }) => {
    throw new ConvexError(value);
  },
});

/** What a value looks like to the function, so that two mistakes on the way cannot cancel out. */
export const describe = query({ args, handler: (_ctx, { value }) => describeValue(value) });

function describeValue(value: unknown): string {
  if (typeof value === "number") return Object.is(value, -0) ? "number -0" : `number ${value}`;
  if (typeof value === "string") return `string ${value.length}`;
  if (value instanceof ArrayBuffer) return `bytes ${value.byteLength}`;
  if (Array.isArray(value)) return `array [${value.map(describeValue).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `object {${fields.map(([name, field]) => `${name}: ${describeValue(field)}`).join(", ")}}`;
  }
  return `${typeof value} ${value}`;
}

/** Stores something, and returns that many arrays within each other. */
export const storeAndNest = mutation({
  args: { levels: v.number() },
  handler: async (ctx, { levels }) => {
    await ctx.db.insert("values", { value: levels });
    let nested: unknown[] = [];
    for (let level = 1; level < levels; level++) nested = [nested];
    return nested;
  },
});
