// `performance`: time since the call began, which stands still outside of actions, and user timing entries.
(function (web) {
  "use strict";

  const { host } = web;
  const internal = Symbol("internal");
  const now = () => host("time/elapsed");

  class PerformanceEntry {
    #fields;
    constructor(key, fields) {
      if (key !== internal) throw new TypeError("Illegal constructor");
      this.#fields = fields;
    }
    get name() {
      return this.#fields.name;
    }
    get entryType() {
      return this.#fields.entryType;
    }
    get startTime() {
      return this.#fields.startTime;
    }
    get duration() {
      return this.#fields.duration;
    }
    get detail() {
      return this.#fields.detail;
    }
    toJSON() {
      const { name, entryType, startTime, duration, detail } = this.#fields;
      return { name, entryType, startTime, duration, detail };
    }
  }

  class PerformanceMark extends PerformanceEntry {
    constructor(name, { startTime = now(), detail = null } = {}) {
      if (startTime < 0) throw new TypeError("PerformanceMark: startTime must not be negative");
      super(internal, { name: `${name}`, entryType: "mark", startTime, duration: 0, detail });
    }
  }

  class PerformanceMeasure extends PerformanceEntry {}

  class Performance {
    #entries = [];
    constructor(key) {
      if (key !== internal) throw new TypeError("Illegal constructor");
    }
    get timeOrigin() {
      return host("time/now") - Math.floor(now());
    }
    now() {
      return now();
    }
    mark(name, options) {
      const mark = new PerformanceMark(name, options);
      this.#entries.push(mark);
      return mark;
    }
    measure(name, options, endMark) {
      const { start, end, duration, detail = null } =
        typeof options === "object" && options !== null ? options : { start: options, end: endMark };
      const endTime = end !== undefined ? this.#time(end)
        : start !== undefined && duration !== undefined ? this.#time(start) + duration : now();
      const startTime = start !== undefined ? this.#time(start) : duration !== undefined ? endTime - duration : 0;
      const measure = new PerformanceMeasure(internal, {
        name: `${name}`, entryType: "measure", startTime, duration: endTime - startTime, detail,
      });
      this.#entries.push(measure);
      return measure;
    }
    #time(mark) {
      if (typeof mark === "number") return mark;
      const entry = this.getEntriesByName(mark, "mark").at(-1);
      if (!entry) throw new web.DOMException(`The mark '${mark}' does not exist.`, "SyntaxError");
      return entry.startTime;
    }
    getEntries() {
      return this.#entries.toSorted((a, b) => a.startTime - b.startTime);
    }
    getEntriesByType(type) {
      return this.getEntries().filter((entry) => entry.entryType === type);
    }
    getEntriesByName(name, type = undefined) {
      return this.getEntries().filter(
        (entry) => entry.name === name && (type === undefined || entry.entryType === type),
      );
    }
    clearMarks(name = undefined) {
      this.#clear("mark", name);
    }
    clearMeasures(name = undefined) {
      this.#clear("measure", name);
    }
    #clear(type, name) {
      this.#entries = this.#entries.filter(
        (entry) => entry.entryType !== type || (name !== undefined && entry.name !== name),
      );
    }
    toJSON() {
      return { timeOrigin: this.timeOrigin };
    }
  }

  for (const op of [
    "clearResourceTimings", "eventCounts", "eventLoopUtilization", "navigation", "setResourceTimingBufferSize",
    "timerify", "timing",
  ]) {
    Object.defineProperty(Performance.prototype, op, { get: () => web.unsupported(op, "Performance"), configurable: true });
  }
  for (const constructor of [Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure]) {
    web.tag(constructor);
  }
  return { Performance, PerformanceEntry, PerformanceMark, PerformanceMeasure, performance: new Performance(internal) };
})
