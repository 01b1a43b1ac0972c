// Values of every type, with the edges of each, and what they look like inside a function (see values.ts of the app).

const bytes = (...list) => new Uint8Array(list).buffer;
const allBytes = bytes(...Array.from({ length: 256 }, (_, byte) => byte));

/** `[value, type, description]`; the type as the official Rust client names it. */
export const VALUES = [
  [null, "Null", "object null"],
  [true, "Boolean", "boolean true"],
  [false, "Boolean", "boolean false"],
  [0, "Float64", "number 0"],
  [-0, "Float64", "number -0"],
  [3, "Float64", "number 3"],
  [-1.5, "Float64", "number -1.5"],
  [0.1 + 0.2, "Float64", "number 0.30000000000000004"],
  [5e-324, "Float64", "number 5e-324"],
  [-1.7976931348623157e308, "Float64", "number -1.7976931348623157e+308"],
  [2 ** 53, "Float64", "number 9007199254740992"],
  [1e21, "Float64", "number 1e+21"],
  [NaN, "Float64", "number NaN"],
  [Infinity, "Float64", "number Infinity"],
  [-Infinity, "Float64", "number -Infinity"],
  [0n, "Int64", "bigint 0"],
  [42n, "Int64", "bigint 42"],
  [-1n, "Int64", "bigint -1"],
  [2n ** 63n - 1n, "Int64", "bigint 9223372036854775807"],
  [-(2n ** 63n), "Int64", "bigint -9223372036854775808"],
  ["", "String", "string 0"],
  ["plain", "String", "string 5"],
  ['nul \0, quote ", backslash \\, newline \n', "String", "string 38"],
  ["ünïcödé 世界 😀", "String", "string 13"],
  ["x".repeat(100_000), "String", "string 100000"],
  [bytes(), "Bytes", "bytes 0"],
  [allBytes, "Bytes", "bytes 256"],
  [[], "Array", "array []"],
  [
    [1, 1n, "1", null, [true, [bytes(1)]]],
    "Array",
    "array [number 1, bigint 1, string 1, object null, array [boolean true, array [bytes 1]]]",
  ],
  [{}, "Object", "object {}"],
  [
    { b: 1n, a: -0, "": null, "with space": "x" },
    "Object",
    "object {: object null, a: number -0, b: bigint 1, with space: string 1}",
  ],
  [
    { a: { b: { c: [{ d: bytes(7, 8) }] } } },
    "Object",
    "object {a: object {b: object {c: array [object {d: bytes 2}]}}}",
  ],
];
