import {
  a as e,
  k as t,
  l as i
} from "./_deps/TKILZRCL.js";
import "./_deps/EVCRMLF3.js";

// app/schema.ts
var f = i({ notes: t({ text: e.string() }).index("by_text", ["text"]) });
export {
  f as default
};
//# sourceMappingURL=schema.js.map
