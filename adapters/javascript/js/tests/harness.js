// A tiny test harness for the conformance suite: `test(name, body)`, assertions, and `harness.run()`, which gives a
// promise of the report as JSON: each test's name and its error or null.
"use strict";

const harness = { tests: [] };

function test(name, body) {
  harness.tests.push([name, body]);
}

harness.run = async () => {
  const report = {};
  for (const [name, body] of harness.tests) {
    try {
      await body();
      report[name] = null;
    } catch (error) {
      report[name] = `${error}\n${error?.stack}`;
    }
  }
  return JSON.stringify(report);
};

function show(value) {
  if (value instanceof Error) return String(value);
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}[${Array.from(value)}]`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer[${Array.from(new Uint8Array(value))}]`;
  return JSON.stringify(value, (_key, inner) =>
    inner === undefined ? "<undefined>" : typeof inner === "bigint" ? `${inner}n`
      : typeof inner === "number" && (!Number.isFinite(inner) || Object.is(inner, -0)) ? `<${Object.is(inner, -0) ? "-0" : inner}>` : inner);
}

function equal(actual, expected) {
  const [a, e] = [show(actual), show(expected)];
  if (a !== e) throw new Error(`got ${a}, expected ${e}`);
}

function ok(condition, message = "not true") {
  if (!condition) throw new Error(message);
}

/** Asserts that a call throws an error of that name with that text in it. */
function throws(name, text, body) {
  let thrown;
  try {
    body();
  } catch (error) {
    thrown = error;
  }
  if (thrown === undefined) throw new Error("nothing was thrown");
  check(thrown, name, text);
}

async function rejects(name, text, promise) {
  let thrown;
  try {
    await promise;
  } catch (error) {
    thrown = error;
  }
  if (thrown === undefined) throw new Error("the promise was not rejected");
  check(thrown, name, text);
}

function check(error, name, text) {
  if (error.name !== name || !error.message.includes(text)) throw new Error(`unexpected: ${error}`);
}
