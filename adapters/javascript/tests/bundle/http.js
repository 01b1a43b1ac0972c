import {
  g as t,
  i as o
} from "./_deps/TKILZRCL.js";
import "./_deps/EVCRMLF3.js";

// app/http.ts
var e = o();
e.route({ path: "/hook", method: "POST", handler: t(async (n, a) => new Response("got " + await a.text(), { status: 201, headers: { "x-a": "b" } })) });
e.route({ pathPrefix: "/p/", method: "GET", handler: t(async () => new Response(null)) });
var p = e;
export {
  p as default
};
//# sourceMappingURL=http.js.map
