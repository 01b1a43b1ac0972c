// Rendering of console arguments: the same text as npm object-inspect 1.13 with the options
// {indent: 2, maxStringLength: 32768, customInspect: true}.
(function () {
  "use strict";

  const STRING_LENGTH_MAX = 32768;
  const DEPTH_MAX = 5;
  const { toString, hasOwnProperty, propertyIsEnumerable } = Object.prototype;
  const getter = (constructor, name) => Object.getOwnPropertyDescriptor(constructor.prototype, name).get;
  const mapSize = getter(Map, "size");
  const setSize = getter(Set, "size");
  const weakMapHas = WeakMap.prototype.has;
  const weakSetHas = WeakSet.prototype.has;

  /** Whether a built-in method accepts the object, which only objects of its class pass. */
  function accepts(method, object, ...args) {
    try {
      method.call(object, ...args);
      return true;
    } catch {
      return false;
    }
  }

  /** Whether the object is of a built-in class and does not pretend otherwise. */
  function is(object, className) {
    return toString.call(object) === `[object ${className}]` && object[Symbol.toStringTag] === undefined;
  }

  const escapes = { "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r" };

  function quote(string, limit) {
    if (string.length > limit) {
      const more = string.length - limit;
      return `${quote(string.slice(0, limit), limit)}... ${more} more character${more > 1 ? "s" : ""}`;
    }
    const escaped = string
      .replace(/['\\]/g, "\\$&")
      .replace(/[\x00-\x1f]/g, (c) =>
        escapes[c] ?? `\\x${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
    return `'${escaped}'`;
  }

  /**
   * @param depth how many objects enclose the value
   * @param seen the enclosing objects
   * @param flat whether all goes on one line and strings have no length limit (keys of maps)
   */
  function inspect(value, depth, seen, flat) {
    switch (typeof value) {
      case "string":
        return quote(value, flat ? Infinity : STRING_LENGTH_MAX);
      case "number":
        return Object.is(value, -0) ? "-0" : String(value);
      case "bigint":
        return `${value}n`;
      case "symbol":
        return Symbol.prototype.toString.call(value);
      case "undefined":
      case "boolean":
        return String(value);
    }
    if (value === null) return "null";
    if (typeof value === "object" && depth >= DEPTH_MAX) return is(value, "Array") ? "[Array]" : "[Object]";
    if (seen.includes(value)) return "[Circular]";

    const enclosing = [...seen, value];
    const inner = (child) => inspect(child, depth + 1, enclosing, flat);
    const block = (items) => {
      if (flat) return items.join(", ");
      if (items.length === 0) return "";
      const margin = "\n" + "  ".repeat(depth);
      return `${margin}  ${items.join(`,${margin}  `)}${margin}`;
    };

    if (typeof value === "function") {
      const fields = properties(value, inner);
      const { name } = value;
      return `[Function${name ? `: ${name}` : " (anonymous)"}]${fields.length > 0 ? ` { ${fields.join(", ")} }` : ""}`;
    }
    if (is(value, "Array")) {
      if (value.length === 0) return "[]";
      const items = [];
      for (let i = 0; i < value.length; i++) items.push(hasOwnProperty.call(value, i) ? inner(value[i]) : "");
      items.push(...properties(value, inner, value.length));
      if (!flat && items.some((item) => item.includes("\n"))) return `[${block(items)}]`;
      return `[ ${items.join(", ")} ]`;
    }
    if (is(value, "Error")) {
      const fields = properties(value, inner);
      if ("cause" in value && !propertyIsEnumerable.call(value, "cause")) {
        fields.unshift(`[cause]: ${inner(value.cause)}`);
      }
      return fields.length === 0 ? `[${value}]` : `{ [${value}] ${fields.join(", ")} }`;
    }
    if (typeof value.inspect === "function") return value.inspect();

    const prototype = Object.getPrototypeOf(value);
    const isPlain = prototype === Object.prototype;
    if (!isPlain) {
      const special = builtin(value, inner, block, enclosing, depth);
      if (special !== undefined) return special;
    }
    if (value === globalThis) return "{ [object globalThis] }";

    const fields = properties(value, inner);
    const isNull = !(value instanceof Object);
    const stringTag = !isPlain && Symbol.toStringTag in value
      ? toString.call(value).slice(8, -1)
      : isNull ? "Object" : "";
    const constructorName = !isPlain && typeof value.constructor === "function" && value.constructor.name;
    let prefix = constructorName ? `${constructorName} ` : "";
    if (stringTag || isNull) {
      prefix += `[${[stringTag, isNull ? "null prototype" : ""].filter(Boolean).join(": ")}] `;
    }
    if (fields.length === 0) return `${prefix}{}`;
    return flat ? `${prefix}{ ${fields.join(", ")} }` : `${prefix}{${block(fields)}}`;
  }

  /** Renders objects of built-in classes that have a form of their own. */
  function builtin(value, inner, block, enclosing, depth) {
    const isMap = accepts(mapSize, value);
    if (isMap) {
      const entries = [];
      Map.prototype.forEach.call(value, (item, key) => {
        entries.push(`${inspect(key, depth + 1, enclosing, true)} => ${inner(item)}`);
      });
      return `Map (${entries.length}) {${block(entries)}}`;
    }
    if (accepts(setSize, value)) {
      const items = [];
      Set.prototype.forEach.call(value, (item) => items.push(inner(item)));
      return `Set (${items.length}) {${block(items)}}`;
    }
    if (accepts(weakMapHas, value, value)) return "WeakMap { ? }";
    if (accepts(weakSetHas, value, value)) return "WeakSet { ? }";
    if (value instanceof WeakRef) return "WeakRef { ? }";
    if (is(value, "Number")) return `Object(${inner(Number(value))})`;
    if (is(value, "Boolean")) return `Object(${Boolean.prototype.valueOf.call(value)})`;
    if (is(value, "String")) return `Object(${inner(String(value))})`;
    if (accepts(BigInt.prototype.valueOf, value)) return `Object(${inner(BigInt.prototype.valueOf.call(value))})`;
    if (accepts(Symbol.prototype.toString, value)) return `Object(${Symbol.prototype.toString.call(value)})`;
    if (is(value, "Date") || is(value, "RegExp")) return String(value);
    return undefined;
  }

  /** `key: value` for each own enumerable property, indexes below `skipped` left out. */
  function properties(object, inner, skipped = 0) {
    const fields = [];
    for (const key of Object.keys(object)) {
      if (skipped > 0 && String(Number(key)) === key && Number(key) < skipped) continue;
      fields.push(`${/[^\w$]/.test(key) ? inner(key) : key}: ${inner(object[key])}`);
    }
    for (const symbol of Object.getOwnPropertySymbols(object)) {
      if (propertyIsEnumerable.call(object, symbol)) fields.push(`[${inner(symbol)}]: ${inner(object[symbol])}`);
    }
    return fields;
  }

  return { inspect: (value) => inspect(value, 0, [], false) };
})
