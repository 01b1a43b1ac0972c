import { httpRouter, httpActionGeneric as httpAction } from "convex/server";
const http = httpRouter();
http.route({ path: "/hook", method: "POST", handler: httpAction(async (_ctx, request) => new Response("got " + await request.text(), { status: 201, headers: { "x-a": "b" } })) });
http.route({ pathPrefix: "/p/", method: "GET", handler: httpAction(async () => new Response(null)) });
export default http;
