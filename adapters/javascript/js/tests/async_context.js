// AsyncLocalStorage and AsyncResource.
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("stores are seen inside of run, and nowhere else", () => {
  const als = new AsyncLocalStorage();
  equal(als.getStore(), undefined);
  equal(als.run(1, (a) => [als.getStore(), a, als.run(2, () => als.getStore()), als.getStore()], "x"), [1, "x", 2, 1]);
  equal(als.getStore(), undefined);
  als.run(1, () => als.exit(() => equal(als.getStore(), undefined)));
  throws("Error", "out", () => als.run(1, () => { throw new Error("out"); }));
  equal(als.getStore(), undefined);
});

test("stores follow callbacks", async () => {
  const als = new AsyncLocalStorage();
  const seen = await als.run("s", () => Promise.resolve().then(() => sleep(1)).then(() => als.getStore()));
  equal(seen, "s");
  const timer = await new Promise((resolve) => als.run("t", () => setTimeout(() => resolve(als.getStore()), 1)));
  equal(timer, "t");
});

test("stores follow await", async () => {
  const [a, b] = [new AsyncLocalStorage(), new AsyncLocalStorage()];
  const inner = async () => {
    await sleep(1);
    return [a.getStore(), b.getStore()];
  };
  const result = await a.run(1, async () => {
    await null;
    const first = await b.run(2, inner);
    await sleep(1);
    return [first, a.getStore(), b.getStore()];
  });
  equal(result, [[1, 2], 1, undefined]);
  equal(a.getStore(), undefined);
});

test("code side by side does not see its neighbour's store", async () => {
  const als = new AsyncLocalStorage();
  const task = (name) => als.run(name, async () => {
    await sleep(1);
    return [name, als.getStore()];
  });
  for (const [name, seen] of await Promise.all([task("x"), task("y"), task("z")])) {
    ok(seen === undefined || seen === name, `${name} saw ${seen}`);
  }
});

test("bind, snapshot and AsyncResource", () => {
  const als = new AsyncLocalStorage();
  const [bound, snapshot, resource] = als.run(1, () => [
    AsyncLocalStorage.bind(() => als.getStore()), AsyncLocalStorage.snapshot(), new AsyncResource("r"),
  ]);
  equal([bound(), snapshot(() => als.getStore()), resource.runInAsyncScope(() => als.getStore())], [1, 1, 1]);
  als.run(0, () => {
    als.enterWith(2);
    equal(als.getStore(), 2);
  });
  equal(als.getStore(), undefined);
});
