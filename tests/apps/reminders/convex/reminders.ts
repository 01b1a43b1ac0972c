import { v } from "convex/values";
import { internal } from "./_generated/api";
import type { Id } from "./_generated/dataModel";
import { action, internalAction, internalMutation, mutation, query } from "./_generated/server";

type Job = Id<"_scheduled_functions">;

const reminder = { batch: v.string(), n: v.number() };

export const write = internalMutation({
  args: reminder,
  handler: async (ctx, { batch, n }) => {
    const user = await ctx.auth.getUserIdentity();
    await ctx.db.insert("written", { batch, n, at: Date.now(), user: user?.tokenIdentifier ?? null });
  },
});

/** What was written in a batch, in order. */
export const written = query({
  args: { batch: v.string() },
  handler: (ctx, { batch }) =>
    ctx.db
      .query("written")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect(),
});

export const remindAfter = mutation({
  args: { ...reminder, delay: v.number() },
  handler: async (ctx, { delay, ...args }): Promise<{ job: Job; now: number }> => {
    const job = await ctx.scheduler.runAfter(delay, internal.reminders.write, args);
    await ctx.db.insert("scheduled", { batch: args.batch, job });
    return { job, now: Date.now() };
  },
});

export const remindAt = mutation({
  args: { ...reminder, at: v.number(), asDate: v.boolean() },
  handler: (ctx, { at, asDate, ...args }): Promise<Job> =>
    ctx.scheduler.runAt(asDate ? new Date(at) : at, internal.reminders.write, args),
});

export const remindFromAction = action({
  args: { ...reminder, delay: v.number() },
  handler: async (ctx, { delay, ...args }): Promise<Job> =>
    ctx.scheduler.runAfter(delay, internal.reminders.write, args),
});

export const remindAndThrow = mutation({
  args: { ...reminder, cancel: v.id("_scheduled_functions") },
  handler: async (ctx, { cancel, ...args }) => {
    await ctx.scheduler.runAfter(0, internal.reminders.write, args);
    await ctx.scheduler.cancel(cancel);
    throw new Error("on purpose");
  },
});

export const cancel = mutation({
  args: { job: v.id("_scheduled_functions") },
  handler: (ctx, { job }) => ctx.scheduler.cancel(job),
});

export const cancelFromAction = action({
  args: { job: v.id("_scheduled_functions") },
  handler: (ctx, { job }) => ctx.scheduler.cancel(job),
});

export const job = query({
  args: { job: v.id("_scheduled_functions") },
  handler: (ctx, { job }) => ctx.db.system.get(job),
});

/** The states of the jobs of a batch, in order of scheduling. */
export const states = query({
  args: { batch: v.string() },
  handler: async (ctx, { batch }) => {
    const scheduled = await ctx.db
      .query("scheduled")
      .withIndex("by_batch", (q) => q.eq("batch", batch))
      .collect();
    return Promise.all(scheduled.map(async ({ job }) => (await ctx.db.system.get(job))?.state.kind));
  },
});

/** All jobs with that argument, newest first. */
export const jobsOf = query({
  args: { batch: v.string() },
  handler: async (ctx, { batch }) => {
    const jobs = await ctx.db.system.query("_scheduled_functions").order("desc").collect();
    return jobs.filter(({ args }) => args[0].batch === batch);
  },
});

/** Writes `n`, then schedules itself with one less. */
export const countDown = internalMutation({
  args: reminder,
  handler: async (ctx, { batch, n }) => {
    await ctx.db.insert("written", { batch, n, at: Date.now(), user: null });
    if (n > 0) await ctx.scheduler.runAfter(0, internal.reminders.countDown, { batch, n: n - 1 });
  },
});

export const startCountDown = mutation({
  args: reminder,
  handler: (ctx, args): Promise<Job> => ctx.scheduler.runAfter(0, internal.reminders.countDown, args),
});

/** Writes `n`, waits, writes `n + 1`. */
export const slow = internalAction({
  args: { ...reminder, wait: v.number() },
  handler: async (ctx, { batch, n, wait }) => {
    await ctx.runMutation(internal.reminders.write, { batch, n });
    await new Promise((resolve) => setTimeout(resolve, wait));
    await ctx.runMutation(internal.reminders.write, { batch, n: n + 1 });
  },
});

export const startSlow = mutation({
  args: { ...reminder, wait: v.number() },
  handler: (ctx, args): Promise<Job> => ctx.scheduler.runAfter(0, internal.reminders.slow, args),
});

export const fails = internalMutation({
  args: reminder,
  handler: async (ctx, { batch, n }) => {
    console.log("about to fail");
    await ctx.db.insert("written", { batch, n, at: Date.now(), user: null });
    throw new Error(`failing ${batch}`);
  },
});

export const startFails = mutation({
  args: reminder,
  handler: (ctx, args): Promise<Job> => ctx.scheduler.runAfter(0, internal.reminders.fails, args),
});

export const scheduleMany = mutation({
  args: { batch: v.string(), count: v.number() },
  handler: async (ctx, { batch, count }) => {
    for (let n = 0; n < count; n++) await ctx.scheduler.runAfter(0, internal.reminders.write, { batch, n });
  },
});
