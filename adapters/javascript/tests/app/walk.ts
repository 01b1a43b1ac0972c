// Goes through all that npm `convex` exports for use inside of functions. Each walk gives what is not as it should be;
// an export that no walk knows is among that.
import * as browser from "convex/browser";
import * as server from "convex/server";
import * as values from "convex/values";

type Check = () => unknown;

const text = (value: unknown): string =>
  JSON.stringify(value, (_key, inner) => (typeof inner === "bigint" ? `${inner}n` : inner)) ?? "undefined";

/** Runs each export's checks: pairs of what is found and what is expected; a function is expected to throw that text. */
async function walk(module: Record<string, unknown>, checks: Record<string, [Check, unknown][]>) {
  const wrong: string[] = [];
  for (const name of Object.keys(module)) {
    if (!Object.hasOwn(checks, name)) wrong.push(`${name} is new: say here what it does`);
  }
  for (const [name, pairs] of Object.entries(checks)) {
    if (!Object.hasOwn(module, name)) continue;
    for (const [found, expected] of pairs) {
      let result: string;
      try {
        result = text(await found());
      } catch (error) {
        result = `throws ${(error as Error).message}`;
      }
      const matches = expected instanceof RegExp ? expected.test(result) : result === text(expected);
      if (!matches) wrong.push(`${name}: ${result} instead of ${expected instanceof RegExp ? expected : text(expected)}`);
    }
  }
  return wrong;
}

const { v, convexToJson, jsonToConvex, ConvexError } = values;
const anyV = v as any;

/** A validator's JSON. */
const json = (validator: any) => () => validator.json;

export const valuesWalk = server.queryGeneric(async () => {
  const bytes = new Uint8Array([1, 2, 255]).buffer;
  const object = { a: 1n, b: [1.5, -0, NaN, "é", true, null], c: bytes, d: { e: undefined } };
  return await walk(values as any, {
    Base64: [
      [() => values.Base64.fromByteArray(new Uint8Array(bytes)), "AQL/"],
      [() => [...values.Base64.toByteArray("AQL/")], [1, 2, 255]],
    ],
    CommitTsPlaceholder: [[() => typeof (values as any).CommitTsPlaceholder, "function"]],
    ConvexError: [
      [() => new ConvexError({ n: 1n }).data, { n: 1n }],
      [() => new ConvexError("m").message, "m"],
      [() => new ConvexError({ n: 1n }).message, '{"n":"1n"}'],
      [() => `${new ConvexError("m")}`, "ConvexError: m"],
      [() => new ConvexError("m") instanceof Error, true],
    ],
    asObjectValidator: [[() => (values.asObjectValidator({ a: v.null() }) as any).kind, "object"]],
    compareValues: [
      [() => [3, "a", null, 2n, true, undefined, 1].sort((x: any, y: any) => values.compareValues(x, y)), [null, "2n", 1, 3, true, "a", null]],
      [() => values.compareValues([1, 2], [1, 3]), -1],
      [() => values.compareValues({ a: 1 }, { a: 1 }), 0],
      [() => values.compareValues(bytes, new Uint8Array([1, 3]).buffer), -1],
    ],
    convexToJson: [
      [
        () => convexToJson(object as any),
        {
          a: { $integer: "AQAAAAAAAAA=" },
          b: [1.5, { $float: "AAAAAAAAAIA=" }, { $float: "AAAAAAAA+H8=" }, "é", true, null],
          c: { $bytes: "AQL/" },
          d: {},
        },
      ],
      [() => convexToJson(new Date(0) as any), /^throws .*Date/],
      [() => convexToJson({ $a: 1 }), /^throws .*starts with a '\$'/],
      [() => convexToJson({ é: 1 }), /^throws /],
      [() => convexToJson(2n ** 64n), /^throws .*64-bit/],
      [() => convexToJson({ ["👍".slice(0, 1)]: 1 }), /^throws .*\ufffd|^throws .*\\ud83d|^throws /],
    ],
    getConvexSize: [
      [() => (values as any).getConvexSize(object), 61],
      [() => (values as any).getConvexSize("é".repeat(300)), 602],
    ],
    getDocumentSize: [[() => typeof (values as any).getDocumentSize({ a: "b" }), "number"]],
    jsonToConvex: [
      [() => jsonToConvex(convexToJson(object as any)), { a: "1n", b: [1.5, -0, NaN, "é", true, null], c: {}, d: {} }],
      [() => Object.is((jsonToConvex({ $float: "AAAAAAAAAIA=" }) as any) as number, -0), true],
      [() => jsonToConvex({ $integer: "x" } as any), /^throws /],
    ],
    v: [
      [
        () => Object.keys(v).filter((name) => !kinds.includes(name)),
        [],
      ],
      [json(v.id("t")), { type: "id", tableName: "t" }],
      [json(v.null()), { type: "null" }],
      [json(v.number()), { type: "number" }],
      [json(v.float64()), { type: "number" }],
      [json(v.bigint()), { type: "bigint" }],
      [json(v.int64()), { type: "bigint" }],
      [json(v.boolean()), { type: "boolean" }],
      [json(v.string()), { type: "string" }],
      [json(v.bytes()), { type: "bytes" }],
      [json(v.literal(1n)), { type: "literal", value: { $integer: "AQAAAAAAAAA=" } }],
      [json(v.array(v.any())), { type: "array", value: { type: "any" } }],
      [
        json(v.object({ a: v.optional(v.string()) })),
        { type: "object", value: { a: { fieldType: { type: "string" }, optional: true } } },
      ],
      [
        json(v.record(v.string(), v.null())),
        { type: "record", keys: { type: "string" }, values: { fieldType: { type: "null" }, optional: false } },
      ],
      [json(v.union(v.null(), v.string())), { type: "union", value: [{ type: "null" }, { type: "string" }] }],
      [json(anyV.nullable(v.string())), { type: "union", value: [{ type: "string" }, { type: "null" }] }],
      [() => anyV.commitTs().json, { type: "commitTs" }],
      [() => (anyV.function ? anyV.function({ fnType: "query" }).json : { type: "function", fnType: "query" }), { type: "function", fnType: "query" }],
      [() => (v.object({ a: v.string(), b: v.null() }) as any).pick("a").json, { type: "object", value: { a: { fieldType: { type: "string" }, optional: false } } }],
      [() => (v.object({ a: v.string() }) as any).extend({ b: v.null() }).kind, "object"],
    ],
  });
});

const kinds = [
  "id", "null", "number", "float64", "bigint", "int64", "boolean", "string", "bytes", "literal", "array", "object", "record",
  "union", "any", "optional", "nullable", "commitTs", "function",
];

export const serverWalk = server.queryGeneric(async (ctx) => {
  const reference = server.makeFunctionReference<"query">("dir/file:fn");
  const builders: [string, any][] = [
    ["isQuery", server.queryGeneric(async () => 1)], ["isQuery", server.internalQueryGeneric(async () => 1)],
    ["isMutation", server.mutationGeneric(async () => 1)], ["isMutation", server.internalMutationGeneric(async () => 1)],
    ["isAction", server.actionGeneric(async () => 1)], ["isAction", server.internalActionGeneric(async () => 1)],
    ["isHttp", server.httpActionGeneric(async () => new Response())],
  ];
  const isMade = (index: number): [Check, unknown][] => [[() => builders[index]![1][builders[index]![0]], true]];
  const table = server.defineTable({ a: v.string() }).index("by_a", ["a"]);
  const router = () => {
    const http = server.httpRouter();
    http.route({ path: "/a", method: "GET", handler: server.httpActionGeneric(async () => new Response()) });
    http.route({ pathPrefix: "/b/", method: "POST", handler: server.httpActionGeneric(async () => new Response()) });
    return http;
  };
  return await walk(server as any, {
    HttpRouter: [[() => router() instanceof server.HttpRouter, true]],
    httpRouter: [
      [() => router().getRoutes().map(([path, method]) => [path, method]), [["/a", "GET"], ["/b/*", "POST"]]],
      [() => router().lookup("/b/c", "POST")?.[2], "/b/*"],
      [() => router().lookup("/c", "GET"), null],
    ],
    ROUTABLE_HTTP_METHODS: [[() => server.ROUTABLE_HTTP_METHODS, ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]]],
    SearchFilter: [[() => typeof server.SearchFilter, "function"]],
    queryGeneric: isMade(0),
    internalQueryGeneric: isMade(1),
    mutationGeneric: isMade(2),
    internalMutationGeneric: isMade(3),
    actionGeneric: isMade(4),
    internalActionGeneric: isMade(5),
    httpActionGeneric: isMade(6),
    anyApi: [[() => server.getFunctionName(server.anyApi.a!.b as any), "a:b"]],
    componentsGeneric: [[() => typeof server.componentsGeneric(), "object"]],
    createFunctionHandle: [[() => server.createFunctionHandle(reference), "answer of 1.0/createFunctionHandle"]],
    cronJobs: [
      [
        () => {
          const crons = server.cronJobs();
          crons.interval("a", { minutes: 1 }, reference as any);
          return JSON.parse(crons.export()).a.schedule;
        },
        { minutes: 1, type: "interval" },
      ],
    ],
    currentSystemUdfInComponent: [[() => typeof server.currentSystemUdfInComponent, "function"]],
    defineApp: [[() => (server.defineApp() as any).export().definitionType, { type: "app" }]],
    defineComponent: [[() => (server.defineComponent("c") as any).export().name, "c"]],
    defineSchema: [[() => JSON.parse((server.defineSchema({ t: table }) as any).export()).tables[0].tableName, "t"]],
    defineTable: [[() => (table as any).export().indexes[0].indexDescriptor, "by_a"]],
    docValidator: [[() => Object.keys((server as any).docValidator("t", table).fields), ["a", "_id", "_creationTime"]]],
    filterApi: [[() => typeof server.filterApi(server.anyApi as any, {} as any), "object"]],
    getFunctionAddress: [[() => server.getFunctionAddress(reference), { name: "dir/file:fn" }]],
    getFunctionName: [[() => server.getFunctionName(reference), "dir/file:fn"]],
    // Hosted services say so when they are used, not before.
    getServiceToken: [[() => typeof (server as any).getServiceToken, "function"]],
    getServiceUrl: [[() => typeof (server as any).getServiceUrl, "function"]],
    log: [[() => (server as any).log.audit({ a: 1 }), undefined]],
    makeFunctionReference: [[() => ctx.runQuery(reference, {}), "answer of 1.0/runUdf"]],
    paginationOptsValidator: [[() => Object.keys(server.paginationOptsValidator.fields), ["numItems", "cursor", "endCursor", "id", "maximumRowsRead", "maximumBytesRead"]]],
    paginationResultValidator: [[() => (server as any).paginationResultValidator(v.string()).kind, "object"]],
  });
});

export const browserWalk = server.actionGeneric(async () => {
  const { ConvexHttpClient, ConvexClient, BaseConvexClient } = browser;
  return await walk(browser as any, {
    BaseConvexClient: [[() => new BaseConvexClient("https://x.convex.cloud", () => {}), /^throws .*WebSocket/]],
    ConvexClient: [[() => new ConvexClient("https://x.convex.cloud"), /^throws .*WebSocket/]],
    ConvexHttpClient: [
      [() => new ConvexHttpClient("https://x.convex.cloud").query("a:b" as any, { n: 1n }), "answer of https://x.convex.cloud/api/query"],
      [() => new ConvexHttpClient("https://x.convex.cloud").mutation("a:b" as any, {}), "answer of https://x.convex.cloud/api/mutation"],
      [() => new ConvexHttpClient("https://x.convex.cloud").action("a:b" as any, {}), "answer of https://x.convex.cloud/api/action"],
      [() => new ConvexHttpClient("https://fails.convex.cloud").query("a:b" as any, {}), /^throws no/],
    ],
    convexQueryOptions: [[() => (browser as any).convexQueryOptions({ query: 1 }), { query: 1 }]],
  });
});
