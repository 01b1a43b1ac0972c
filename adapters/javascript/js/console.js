// `console`: renders arguments; the host keeps lines and timers and their limits.
(function (web) {
  "use strict";

  const { inspect } = web.part("inspect");
  const { rawStack } = web.part("errors");
  const { host } = web;
  const render = (values) => values.map((value) => `${inspect(value)}`);

  const console = {};
  for (const level of ["debug", "error", "info", "log", "warn"]) {
    console[level] = { [level]: (...values) => host("console/write", level, ...render(values)) }[level];
  }
  console.trace = function trace(...values) {
    // The frames of this file, and of others that were not pushed, are not shown.
    const stack = host("stack/map", rawStack(new Error())).trim();
    host("console/write", "log", ...render(values), ...(stack === "" ? [] : [stack]));
  };
  console.time = function time(label = "default") {
    host("console/time", `${label}`);
  };
  console.timeLog = function timeLog(label = "default", ...values) {
    host("console/timeLog", `${label}`, ...render(values));
  };
  console.timeEnd = function timeEnd(label = "default") {
    host("console/timeEnd", `${label}`);
  };
  web.expose("console", console);
})
