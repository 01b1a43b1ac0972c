import {
  j as e
} from "./_deps/TKILZRCL.js";
import "./_deps/EVCRMLF3.js";

// app/convex.config.ts
var f = e();
export {
  f as default
};
//# sourceMappingURL=convex.config.js.map
