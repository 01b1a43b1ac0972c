// The last script: puts lazy parts in place and takes the natives away.
(function () {
  "use strict";

  const web = __web;
  const lazy = {
    performance: [
      "Performance", "PerformanceEntry", "PerformanceMark", "PerformanceMeasure", "performance",
    ],
    text: ["TextDecoder", "TextEncoder", "atob", "btoa"],
    url: ["URL", "URLSearchParams"],
  };
  for (const [part, names] of Object.entries(lazy)) {
    for (const name of names) web.exposeLazily(name, part);
  }
  web.expose("DOMException", web.DOMException);
  web.expose("self", web.global);
  for (const name of ["__host", "__asyncHost", "__syncHost", "__promiseHooks", "__web"]) delete web.global[name];
})();
