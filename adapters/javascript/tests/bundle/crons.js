import {
  h as n
} from "./_deps/TKILZRCL.js";
import "./_deps/EVCRMLF3.js";

// app/crons.ts
var o = n();
o.interval("tidy", { minutes: 5 }, "notes:clean", {});
var e = o;
export {
  e as default
};
//# sourceMappingURL=crons.js.map
