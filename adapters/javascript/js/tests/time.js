// Timers, in actions.
test("setTimeout runs once, with its arguments", async () => {
  const seen = await new Promise((resolve) => setTimeout((...args) => resolve(args), 10, 1, "b"));
  equal(seen, [1, "b"]);
});

test("clearTimeout prevents", async () => {
  let ran = false;
  clearTimeout(setTimeout(() => (ran = true), 1));
  await new Promise((resolve) => setTimeout(resolve, 5));
  equal(ran, false);
});

test("setInterval repeats until cleared", async () => {
  let count = 0;
  await new Promise((resolve) => {
    const id = setInterval(() => {
      count += 1;
      if (count === 3) {
        clearInterval(id);
        setTimeout(resolve, 1);
      }
    }, 1);
    equal(typeof id, "number");
  });
  equal(count, 3);
});
