// Records what npm object-inspect prints: `npm i object-inspect@1.13.4 && node inspect_record.cjs > inspect.json`.
// The suite compares console lines with the recording.
const inspect = require("object-inspect");

const expressions = [
  // Primitives.
  "undefined", "null", "true", "'hi'", "3", "-0", "0", "NaN", "-Infinity", "1e21", "0.1", "1n", "-5n",
  "Symbol('s')", "Symbol.iterator", "'it\\'s\\n\\t\\x01\\x7f\\\\ \"q\" é😀'", "''",
  // Arrays.
  "[]", "[1, 2]", "['a', [1, []]]", "[{ a: 1 }]", "[, 1, ,]", "[undefined, null]", "Object.assign([1], { x: 2, 7: 3 })",
  "[1, { a: [2, { b: 3 }] }]", "['line\\nbreak']", "[() => {}, function named() {}]",
  // Objects.
  "({})", "({ a: 1n, b: 'x' })", "({ a: { b: { c: {} } } })", "({ 'a-b': 1, $c: 2, '': 3, 1: 4, 'é': 5 })",
  "({ [Symbol('k')]: 1, [Symbol.toStringTag]: 'Tag' })", "Object.create(null)",
  "Object.assign(Object.create(null), { a: 1 })", "({ get a() { return 1; } })", "({ u: undefined, f() {} })",
  "Object.defineProperty({}, 'hidden', { value: 1 })", "({ __proto__: { inherited: 1 }, own: 2 })",
  "({ a: { b: { c: { d: { e: { f: 1 } } } } } })", "[[[[[[[1]]]]]]]", "({ a: [[[[[1]]]]] })",
  "(() => { const o = { n: 1 }; o.self = o; o.list = [o]; return o; })()",
  "(() => { const shared = { s: 1 }; return [shared, shared]; })()",
  "({ inspect() { return 'CUSTOM'; } })", "({ inspect: 1 })", "({ constructor: 1 })", "({ constructor: { name: 'x' } })",
  // Classes.
  "new (class Point { x = 1; #y = 2; })()", "new (class Empty {})()", "new (class {})()",
  "new (class A extends (class B { b = 1; }) { a = 2; })()", "new (class extends Array {})()",
  "new (class T { get [Symbol.toStringTag]() { return 'Tag'; } x = 1; })()", "class Named {}", "class {}",
  // Functions.
  "() => {}", "(() => { const named = () => {}; return named; })()", "function f() {}", "async () => {}", "Math.max",
  "Object.assign(function g() {}, { a: 1, b: [2] })",
  // Errors.
  "new Error('x')", "new TypeError('bad')", "new Error()", "new Error('x', { cause: 'why' })",
  "new Error('x', { cause: { a: 1 } })", "Object.assign(new Error('x'), { code: 'E1', n: 2 })",
  "new (class MyError extends Error { name = 'MyError'; })('m')", "({ e: new RangeError('r') })", "[new Error('in list')]",
  "Object.assign(new Error('x', { cause: new Error('y') }), { data: { k: 1 } })", "new AggregateError([], 'all')",
  // Built-in objects.
  "new Map([['a', 1]])", "new Map()", "new Set([1, 'b', { c: 3 }])", "new Set()",
  "new Map([[{ key: [1, { k: 2 }] }, new Map([[1, { deep: true }]])]])", "({ m: new Map([['a', new Set([1])]]) })",
  "new WeakMap()", "new WeakSet()", "new WeakRef({})", "new Date(0)", "new Date(NaN)", "/a\\/b/gi", "[/x/]",
  "Object(1)", "Object('s')", "Object(true)", "Object(1n)", "Object(Symbol('b'))", "new Uint8Array([1, 2])",
  "new Float64Array(1)", "new ArrayBuffer(2)", "new DataView(new ArrayBuffer(1))", "Promise.resolve(1)",
  "(function () { return arguments; })(1, 2)", "JSON", "Math", "new Proxy({ p: 1 }, {})", "new Proxy([1], {})",
  "(function* gen() {})()", "[new Date(0), new Map([[1, 2]])]", "Reflect", "[1n, -0, Symbol('x')]",
  // Long strings.
  "'x'.repeat(32769).slice(0, 5) + 'y'", "({ s: 'z'.repeat(200) })",
];

const cases = expressions.map((expression) => [
  expression,
  inspect((0, eval)(`(${expression})`), { indent: 2, maxStringLength: 32768, customInspect: true }),
]);
process.stdout.write(`${JSON.stringify(cases, null, 1)}\n`);
