// What module code sees while it is imported.
test("the clock and randomness work", () => {
  equal(Date.now(), 1700000000123);
  ok(Math.random() >= 0);
  equal(process.env.GREETING, "hello");
});

test("asynchronous operations are refused", () => {
  throws("Error", "setTimeout unsupported at import time", () => setTimeout(() => {}, 1));
});
