// What queries and mutations see of their own writes, what they may use, and what is told of a request.

import { paginator } from "convex-helpers/server/pagination";
import { mergedStream, stream } from "convex-helpers/server/stream";
import {
  actionGeneric as action,
  anyApi,
  mutationGeneric as mutation,
  paginationOptsValidator,
  queryGeneric as query,
} from "convex/server";
import { v } from "convex/values";
import schema from "./schema";

const api = anyApi.docs;

export const fill = mutation({
  args: { docs: v.array(v.object({ a: v.number(), b: v.optional(v.string()) })) },
  handler: async (ctx, { docs }) => {
    for await (const doc of ctx.db.query("docs")) await ctx.db.delete(doc._id);
    for (const doc of docs) await ctx.db.insert("docs", doc);
  },
});

export const all = query({ handler: (ctx) => ctx.db.query("docs").collect() });

export const count = query({ handler: (ctx) => (ctx.db.query("docs") as any).count() });

/** Doubles every document while it reads them. */
export const double = mutation({
  handler: async (ctx) => {
    for await (const doc of ctx.db.query("docs")) await ctx.db.insert("docs", { a: doc.a, b: doc.b });
  },
});

/** Moves every document further along the index that it is found by; gives what it came by. */
export const move = mutation({
  args: { order: v.union(v.literal("asc"), v.literal("desc")), by: v.number() },
  handler: async (ctx, { order, by }) => {
    const seen = [];
    for await (const doc of ctx.db.query("docs").withIndex("by_a").order(order)) {
      seen.push(doc.a);
      await ctx.db.patch(doc._id, { a: doc.a + by });
    }
    return seen;
  },
});

/** Deletes the others at the first one; gives what it came by. */
export const deleteOthers = mutation({
  handler: async (ctx) => {
    const seen = [];
    for await (const doc of ctx.db.query("docs").withIndex("by_a")) {
      if (seen.length === 0) {
        for (const other of await ctx.db.query("docs").collect()) {
          if (other._id !== doc._id) await ctx.db.delete(other._id);
        }
      }
      seen.push(doc.a);
    }
    return seen;
  },
});

const index = v.union(v.literal("by_a"), v.literal("by_b_a"), v.literal("by_creation_time"), v.literal("by_id"));
const order = v.union(v.literal("asc"), v.literal("desc"));

export const paginated = query({
  args: { index, order, opts: paginationOptsValidator },
  handler: (ctx, { index, order, opts }) =>
    (paginator(ctx.db as any, schema) as any).query("docs").withIndex(index).order(order).paginate(opts),
});

export const streamed = query({
  args: { order, opts: paginationOptsValidator },
  handler: (ctx, { order, opts }) => {
    const of = (b: string | undefined) =>
      (stream(ctx.db as any, schema) as any)
        .query("docs")
        .withIndex("by_b_a", (q: any) => q.eq("b", b))
        .order(order);
    return mergedStream([of(undefined), of("x"), of("y")], ["a"]).paginate(opts);
  },
});

/** Inserts so many documents, schedules as many functions and then fails. */
export const undone = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let n = 0; n < count; n++) await ctx.db.insert("docs", { a: n });
    await ctx.scheduler.runAfter(1e6, api.undone, { count: 0 });
    throw new Error("undone");
  },
});

export const insert = mutation({
  args: { count: v.number() },
  handler: async (ctx, { count }) => {
    for (let n = 0; n < count; n++) await ctx.db.insert("docs", { a: n });
    return await ctx.meta.getTransactionMetrics();
  },
});

/** Calls `undone` so often and catches what it throws. */
export const catchUndone = mutation({
  args: { times: v.number(), count: v.number() },
  handler: async (ctx, { times, count }) => {
    for (let n = 0; n < times; n++) await ctx.runMutation(api.undone, { count }).catch(() => null);
    return await ctx.meta.getTransactionMetrics();
  },
});

export const limited = mutation({
  args: { count: v.number(), limits: v.any() },
  handler: async (ctx, { count, limits }) => {
    const result = await ctx
      .runMutation(api.insert, { count }, { transactionLimits: limits })
      .catch((error) => error.message);
    return { result, left: await ctx.runQuery(api.count, {}) };
  },
});

export const stale = mutation({
  handler: async (ctx) => {
    const before = await ctx.runQuery(api.count, {});
    await ctx.db.insert("docs", { a: 1 });
    return {
      stale: (await ctx.runQuery(api.count, {}, { useStaleSnapshot: true })) - before,
      own: (await ctx.runQuery(api.count, {})) - before,
    };
  },
});

export const page = query({
  args: { opts: paginationOptsValidator },
  handler: (ctx, { opts }) => ctx.db.query("docs").paginate(opts),
});

export const twoPages = query({
  handler: async (ctx) => {
    const opts = { numItems: 1, cursor: null };
    await ctx.runQuery(api.page, { opts });
    await ctx.runQuery(api.page, { opts });
  },
});

/** Notes its own commit's timestamp twice. */
export const note = mutation({
  args: { note: v.string() },
  handler: async (ctx, { note }) => {
    const ts = ctx.db.vars.commitTs;
    const id = await ctx.db.insert("events", { ts, note });
    await ctx.runMutation(api.noteAt, { ts, note });
    const own = await ctx.db.get(id);
    const last = await ctx.db.query("events").withIndex("by_ts").order("desc").first();
    return {
      ts: own.ts,
      isSame: own.ts === ts,
      isLast: last.ts === ts,
      isAbove: ctx.meta.getSnapshotTs(),
    };
  },
});

export const noteAt = mutation({
  args: { ts: v.commitTs(), note: v.string() },
  handler: (ctx, { ts, note }) => ctx.db.insert("events", { ts, note }),
});

export const scheduleAt = mutation({
  handler: (ctx) => ctx.scheduler.runAfter(0, api.noteAt, { ts: ctx.db.vars.commitTs, note: "never" }),
});

export const events = query({
  handler: (ctx) => ctx.db.query("events").withIndex("by_ts").collect(),
});

export const echo = query({ args: { value: v.any() }, handler: (_, { value }) => value });

export const request = mutation({ handler: (ctx) => ctx.meta.getRequestMetadata() });

export const requestOfAction = action({
  handler: async (ctx): Promise<any> => [await ctx.meta.getRequestMetadata(), await ctx.runMutation(api.request, {})],
});

const call = { op: v.string(), sync: v.boolean() };

/** Make a system call as the package would, with no arguments; give what is thrown. */
export const callInQuery = query({ args: call, handler: (_, args) => attempt(args) });
export const callInMutation = mutation({ args: call, handler: (_, args) => attempt(args) });
export const callInAction = action({ args: call, handler: (_, args) => attempt(args) });

async function attempt({ op, sync }: { op: string; sync: boolean }) {
  const { Convex } = globalThis as any;
  try {
    await (sync ? Convex.syscall(op, "{}") : Convex.asyncSyscall(op, "{}"));
    return null;
  } catch (error: any) {
    return error.message as string;
  }
}
