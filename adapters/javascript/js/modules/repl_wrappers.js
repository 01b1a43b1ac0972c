// `convex:/_system/repl/wrappers.js`: what queries are made with that run once and belong to no deployment
// (`npx convex run --inline-query`). The bundles of apps bring this with them, in npm `convex`; such a query has no bundle.

const { syscall, asyncSyscall } = globalThis.Convex;
const { stringify, parse } = JSON;
const version = "repl";
const convexError = Symbol.for("ConvexError");

// --- Values ----------------------------------------------------------------------------------------------------------

const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const bytesOf = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

function littleEndian(write) {
  const bytes = new Uint8Array(8);
  write(new DataView(bytes.buffer));
  return base64(bytes);
}

/** The encoded JSON of a value. */
function encode(value, place = "") {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "bigint") {
    if (BigInt.asIntN(64, value) !== value) throw new Error(`BigInt ${value} does not fit into a 64-bit signed integer.`);
    return { $integer: littleEndian((view) => view.setBigInt64(0, value, true)) };
  }
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    return { $float: littleEndian((view) => view.setFloat64(0, value, true)) };
  }
  if (value instanceof ArrayBuffer) {
    let text = "";
    for (const byte of new Uint8Array(value)) text += String.fromCharCode(byte);
    return { $bytes: btoa(text) };
  }
  if (Array.isArray(value)) return value.map((element, at) => encode(element, `${place}[${at}]`));
  const prototype = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype === null || prototype === Object.prototype || prototype?.constructor?.name === "Object") {
    const encoded = {};
    for (const [name, field] of Object.entries(value)) {
      if (field !== undefined) encoded[name] = encode(field, `${place}.${name}`);
    }
    return encoded;
  }
  const what = typeof value === "object" ? (prototype?.constructor?.name ?? "object") : typeof value;
  throw new Error(`${what} is not a supported Convex type${place === "" ? "" : ` (present at path ${place})`}.`);
}

/** As `encode`; the missing value has a form of its own. */
const encodeOptional = (value) => (value === undefined ? { $undefined: null } : encode(value));

function decode(json) {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map(decode);
  const names = Object.keys(json);
  if (names.length === 1 && typeof json[names[0]] === "string") {
    const text = json[names[0]];
    if (names[0] === "$integer") return new DataView(bytesOf(text).buffer).getBigInt64(0, true);
    if (names[0] === "$float") return new DataView(bytesOf(text).buffer).getFloat64(0, true);
    if (names[0] === "$bytes") return bytesOf(text).buffer;
  }
  return Object.fromEntries(names.map((name) => [name, decode(json[name])]));
}

// --- System calls ----------------------------------------------------------------------------------------------------

async function call(op, args) {
  let answer;
  try {
    answer = await asyncSyscall(op, stringify({ ...args, version }));
  } catch (thrown) {
    // Made here, so that its stack leads to whoever waits.
    const error = new Error(thrown.message);
    if (thrown.data !== undefined) {
      error.name = "ConvexError";
      error.data = decode(thrown.data);
      error[convexError] = true;
    }
    throw error;
  }
  return parse(answer);
}

const callNow = (op, args) => parse(syscall(op, stringify({ ...args, version })));

function text(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} must be a string, not ${typeof value}.`);
  return value;
}

// --- Queries of tables -----------------------------------------------------------------------------------------------

class Expression {
  constructor(json) {
    this.json = json;
  }
}

const expression = (value) => (value instanceof Expression ? value.json : { $literal: encodeOptional(value) });

const filters = {
  field: (path) => new Expression({ $field: text(path, "The path of a field") }),
  and: (...all) => new Expression({ $and: all.map(expression) }),
  or: (...all) => new Expression({ $or: all.map(expression) }),
  not: (value) => new Expression({ $not: expression(value) }),
  neg: (value) => new Expression({ $neg: expression(value) }),
};
for (const name of ["eq", "neq", "lt", "lte", "gt", "gte", "add", "sub", "mul", "div", "mod"]) {
  filters[name] = (left, right) => new Expression({ [`$${name}`]: [expression(left), expression(right)] });
}

/** Collects conditions on the fields of an index, or of a text index. */
class Conditions {
  list = [];
  #add(type, fieldPath, value) {
    this.list.push({ type, fieldPath: text(fieldPath, "The path of a field"), value });
    return this;
  }
  eq(field, value) {
    return this.#add("Eq", field, encodeOptional(value));
  }
  gt(field, value) {
    return this.#add("Gt", field, encodeOptional(value));
  }
  gte(field, value) {
    return this.#add("Gte", field, encodeOptional(value));
  }
  lt(field, value) {
    return this.#add("Lt", field, encodeOptional(value));
  }
  lte(field, value) {
    return this.#add("Lte", field, encodeOptional(value));
  }
  search(field, words) {
    return this.#add("Search", field, text(words, "What to search for"));
  }
}

const collected = (build) => (build === undefined ? [] : build(new Conditions()).list);

class Query {
  #source;
  #operators;
  #id;

  constructor(source, operators = []) {
    this.#source = source;
    this.#operators = operators;
  }

  #from(source) {
    if (this.#source.type !== "FullTableScan" || this.#operators.length > 0) {
      throw new Error("An index is chosen first, and once.");
    }
    return new Query(source);
  }
  fullTableScan() {
    return this.#from(this.#source);
  }
  withIndex(name, build) {
    const indexName = `${this.#source.tableName}.${text(name, "The name of an index")}`;
    return this.#from({ type: "IndexRange", indexName, range: collected(build), order: this.#source.order });
  }
  withSearchIndex(name, build) {
    const indexName = `${this.#source.tableName}.${text(name, "The name of an index")}`;
    return this.#from({ type: "Search", indexName, filters: collected(build) });
  }
  order(order) {
    if (this.#source.type === "Search") throw new Error("The results of a search are in the order of their relevance.");
    if (this.#source.order !== null) throw new Error("Queries may only specify order at most once");
    return new Query({ ...this.#source, order }, this.#operators);
  }
  filter(predicate) {
    return new Query(this.#source, [...this.#operators, { filter: expression(predicate(filters)) }]);
  }
  limit(count) {
    return new Query(this.#source, [...this.#operators, { limit: count }]);
  }

  #json() {
    return { source: this.#source, operators: this.#operators };
  }
  async next() {
    this.#id ??= callNow("1.0/queryStream", { query: this.#json() }).queryId;
    const { value, done } = await call("1.0/queryStreamNext", { queryId: this.#id });
    return { value: done ? undefined : decode(value), done };
  }
  async return() {
    if (this.#id !== undefined) callNow("1.0/queryCleanup", { queryId: this.#id });
    return { done: true, value: undefined };
  }
  [Symbol.asyncIterator]() {
    return new Query(this.#source, this.#operators);
  }
  async collect() {
    const rows = [];
    for await (const row of this) rows.push(row);
    return rows;
  }
  async take(count) {
    if (!Number.isInteger(count) || count < 0) throw new TypeError("`take` needs a whole number that is not negative.");
    return await this.limit(count).collect();
  }
  async first() {
    const [row = null] = await this.take(1);
    return row;
  }
  async unique() {
    const rows = await this.take(2);
    if (rows.length === 2) throw new Error(`unique() query returned more than one result: [${rows[0]._id}, ${rows[1]._id}, …]`);
    return rows[0] ?? null;
  }
  async count() {
    if (this.#source.type !== "FullTableScan" || this.#operators.length > 0) throw new Error("Only whole tables can be counted.");
    return decode(await call("1.0/count", { table: this.#source.tableName }));
  }
  async paginate({ numItems, cursor, endCursor = null, maximumRowsRead, maximumBytesRead }) {
    const page = await call("1.0/queryPage", {
      query: this.#json(), cursor, endCursor, pageSize: numItems, maximumRowsRead, maximumBytesRead,
    });
    return { ...page, page: decode(page.page) };
  }
}

function reader(isSystem) {
  return {
    async get(...args) {
      const [id, table] = args.length > 1 ? [args[1], args[0]] : [args[0], undefined];
      return decode(await call("1.0/get", { id: encode(text(id, "An ID")), isSystem, table }));
    },
    query(tableName) {
      const isSystemTable = text(tableName, "The name of a table").startsWith("_");
      if (isSystemTable && !isSystem) throw new Error("System tables can only be accessed with db.system.");
      if (!isSystemTable && isSystem) throw new Error("User tables cannot be accessed with db.system.");
      return new Query({ type: "FullTableScan", tableName, order: null });
    },
    normalizeId: (table, idString) => callNow("1.0/db/normalizeId", { table, idString }).id,
  };
}

// --- Functions -------------------------------------------------------------------------------------------------------

/** How system calls name a function: by its path, a handle, or what `api.…` made of either. */
function address(reference) {
  const name = typeof reference === "string" ? reference : reference?.[Symbol.for("functionName")];
  if (typeof name !== "string") throw new TypeError("A function is named like \"messages:list\".");
  return name.startsWith("function://") ? { functionHandle: name } : { name };
}

const context = () => ({
  db: { ...reader(false), system: reader(true) },
  auth: { getUserIdentity: () => call("1.0/getUserIdentity", {}) },
  storage: { getUrl: (storageId) => call("1.0/storageGetUrl", { storageId }) },
  runQuery: async (reference, args = {}) =>
    decode(await call("1.0/runUdf", { udfType: "query", args: encode(args), ...address(reference) })),
});

function registered(definition, visibility) {
  const handler = typeof definition === "function" ? definition : definition?.handler;
  if (typeof handler !== "function") throw new TypeError("A query needs a `handler`, which is a function.");
  const validator = (name, whole) => {
    const given = definition[name];
    if (given === undefined) return whole;
    if (given.isConvexValidator) return stringify(given.json);
    const fields = Object.entries(given).map(([field, value]) =>
      [field, { fieldType: value.json, optional: value.isOptional === "optional" }]);
    return stringify({ type: "object", value: Object.fromEntries(fields) });
  };
  const run = (...args) => handler(...args);
  return Object.assign(run, {
    isQuery: true,
    [visibility]: true,
    _handler: handler,
    exportArgs: () => validator("args", stringify({ type: "any" })),
    exportReturns: () => validator("returns", "null"),
    async invokeQuery(args) {
      try {
        const value = await handler(context(), ...decode(parse(args)));
        return stringify(value === undefined ? null : encode(value));
      } catch (error) {
        if (typeof error === "object" && error !== null && error[convexError] === true) {
          error.data = stringify(encode(error.data === undefined ? null : error.data));
          error.ConvexErrorSymbol = convexError;
        }
        throw error;
      }
    },
  });
}

/** A query that everyone may call. */
export const query = (definition) => registered(definition, "isPublic");
/** A query for admins and other functions; for one that runs once, the same. */
export const internalQuery = (definition) => registered(definition, "isInternal");
