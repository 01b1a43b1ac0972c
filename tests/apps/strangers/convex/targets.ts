// Functions that anybody may call, as strangers find them.

import { v } from "convex/values";
import { query } from "./_generated/server";

export const echo = query({ args: { value: v.any() }, handler: (_ctx, { value }) => value });
