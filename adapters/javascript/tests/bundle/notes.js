import {
  a,
  b as s,
  c as o,
  d as i,
  e as r,
  f as c
} from "./_deps/TKILZRCL.js";
import {
  a as t
} from "./_deps/EVCRMLF3.js";

// app/notes.ts
var y = 0, x = r({ args: { n: a.number() }, returns: a.any(), handler: /* @__PURE__ */ t(async (e, { n }) => ({ n, calls: ++y }), "handler") }), p = r({ args: { id: a.id("notes") }, handler: /* @__PURE__ */ t((e, { id: n }) => e.db.get(n), "handler") }), h = r(async (e) => await e.db.query("notes").order("desc").take(2)), m = o({ args: { text: a.string() }, handler: /* @__PURE__ */ t(async (e, { text: n }) => e.db.insert("notes", { text: n }), "handler") }), w = o(async (e) => {
  let [n, d] = await Promise.all([e.db.insert("notes", { text: "a" }), e.db.insert("notes", { text: "b" })]);
  return [n, d];
}), b = o(async (e) => {
  e.db.insert("notes", { text: "x" });
}), g = r(async () => {
  function e() {
    throw new TypeError("bad thing");
  }
  t(e, "inner"), e();
}), f = r(async () => {
  throw new s({ code: 3n, why: "no" });
}), v = o(async (e) => {
  try {
    await e.runMutation("notes:refuses", {});
  } catch (n) {
    return { isConvexError: n instanceof s, data: n.data, message: n.message };
  }
}), E = i({ handler: /* @__PURE__ */ t(async () => null, "handler") }), G = c(async (e, { n }) => (await e.runQuery("notes:echo", { n })).n + 1), M = c(async () => (await new Promise((e) => setTimeout(e, 5)), "awake")), q = r(async () => (console.log("hi", { a: 1 }), [Math.random(), Date.now(), crypto.randomUUID()])), k = /* @__PURE__ */ t(() => 5, "helper");
export {
  G as act,
  m as add,
  w as both,
  E as clean,
  b as dangling,
  x as echo,
  g as fails,
  p as get,
  k as helper,
  h as list,
  v as nested,
  f as refuses,
  q as seeded,
  M as sleepy
};
//# sourceMappingURL=notes.js.map
