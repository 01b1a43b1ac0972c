import { query } from "./_generated/server";

declare const process: { env: Record<string, string | undefined> };

export const greeting = query({ args: {}, handler: () => process.env.GREETING ?? null });
