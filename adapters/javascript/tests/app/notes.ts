import { queryGeneric as query, mutationGeneric as mutation, actionGeneric as action, internalMutationGeneric as internalMutation } from "convex/server";
import { v, ConvexError } from "convex/values";

let calls = 0;

export const echo = query({ args: { n: v.number() }, returns: v.any(), handler: async (_ctx, { n }) => ({ n, calls: ++calls }) });
export const get = query({ args: { id: v.id("notes") }, handler: (ctx, { id }) => ctx.db.get(id) });
export const list = query(async (ctx) => await ctx.db.query("notes").order("desc").take(2));
export const add = mutation({ args: { text: v.string() }, handler: async (ctx, { text }) => ctx.db.insert("notes", { text }) });
export const both = mutation(async (ctx) => {
  const [a, b] = await Promise.all([ctx.db.insert("notes", { text: "a" }), ctx.db.insert("notes", { text: "b" })]);
  return [a, b];
});
export const dangling = mutation(async (ctx) => { void ctx.db.insert("notes", { text: "x" }); });
export const fails = query(async () => {
  function inner() { throw new TypeError("bad thing"); }
  inner();
});
export const refuses = query(async () => { throw new ConvexError({ code: 3n, why: "no" }); });
export const nested = mutation(async (ctx) => {
  try { await ctx.runMutation("notes:refuses" as any, {}); } catch (error) {
    return { isConvexError: error instanceof ConvexError, data: (error as any).data, message: (error as Error).message };
  }
});
export const clean = internalMutation({ handler: async () => null });
export const act = action(async (ctx, { n }: { n: number }) => (await ctx.runQuery("notes:echo" as any, { n })).n + 1);
export const sleepy = action(async () => { await new Promise((resolve) => setTimeout(resolve, 5)); return "awake"; });
export const seeded = query(async () => { console.log("hi", { a: 1 }); return [Math.random(), Date.now(), crypto.randomUUID()]; });
export const helper = () => 5;
