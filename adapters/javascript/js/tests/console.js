// That console methods exist and do not throw on odd values; the rendering is compared with npm object-inspect's
// in src/conformance/inspect.json.
test("all methods print", () => {
  for (const method of ["debug", "error", "info", "log", "warn", "trace"]) console[method](1, "two", { three: [3] });
  console.time("t");
  console.timeLog("t", 1);
  console.timeEnd("t");
});

test("odd values do not throw", () => {
  const cyclic = { name: "c" };
  cyclic.self = cyclic;
  console.log(cyclic, Object.create(null), new Proxy({}, {}), Symbol("s"), new (class X {})(), globalThis);
});
