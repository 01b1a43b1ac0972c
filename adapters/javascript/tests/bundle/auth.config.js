import "./_deps/EVCRMLF3.js";

// app/auth.config.ts
var e = { providers: [{ domain: process.env.ISSUER, applicationID: "web" }] };
export {
  e as default
};
//# sourceMappingURL=auth.config.js.map
