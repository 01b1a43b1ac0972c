import { cronJobs } from "convex/server";
const crons = cronJobs();
crons.interval("tidy", { minutes: 5 }, "notes:clean" as any, {});
export default crons;
