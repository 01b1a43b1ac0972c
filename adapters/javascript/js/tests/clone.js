// structuredClone.
test("values of all kinds", () => {
  const source = {
    n: 1, b: 2n, s: "x", u: undefined, z: null, d: new Date(5), r: /a/gi, m: new Map([[{ k: 1 }, new Set([1])]]),
    a: [1, , 3], t: new Uint16Array([1, 2]), nested: { deep: [{}] }, boxed: Object(3),
  };
  const copy = structuredClone(source);
  equal(copy, source);
  ok(copy !== source && copy.d !== source.d && copy.d instanceof Date && copy.r.flags === "gi");
  equal([...copy.m][0][0], { k: 1 });
  ok([...copy.m][0][1].has(1) && !(1 in copy.a) && copy.t !== source.t && copy.t.buffer !== source.t.buffer);
  equal(typeof copy.boxed, "object");
});

test("cycles and shared parts", () => {
  const source = { list: [] };
  source.self = source;
  source.list.push(source.list);
  const copy = structuredClone(source);
  ok(copy.self === copy && copy.list[0] === copy.list && copy !== source);
  const buffer = new ArrayBuffer(8);
  const [a, b] = structuredClone([new Uint8Array(buffer, 1, 2), new DataView(buffer)]);
  ok(a.buffer === b.buffer && a.buffer !== buffer && a.byteOffset === 1 && a.length === 2);
});

test("errors", () => {
  const copy = structuredClone(new RangeError("far", { cause: { n: 1 } }));
  ok(copy instanceof RangeError);
  equal([copy.message, copy.cause, Object.keys(copy)], ["far", { n: 1 }, []]);
  class Custom extends Error {}
  equal(structuredClone(new Custom("c")).constructor === Error, true);
});

test("classes lose their prototype", () => {
  class Point { x = 1; #hidden = 2; get y() { return this.#hidden; } }
  const copy = structuredClone(new Point());
  equal([Object.getPrototypeOf(copy) === Object.prototype, copy], [true, { x: 1 }]);
});

test("what cannot be cloned", () => {
  for (const value of [() => {}, Symbol("s"), { f() {} }, Promise.resolve(), new WeakMap()]) {
    throws("DataCloneError", "could not be cloned", () => structuredClone(value));
  }
});
