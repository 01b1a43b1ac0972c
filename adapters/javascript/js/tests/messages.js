// Headers, and what queries may do with requests and responses.
test("Headers", () => {
  const headers = new Headers({ "X-B": " 2 ", a: 1 });
  headers.append("a", "3");
  headers.append("Set-Cookie", "x=1");
  headers.append("set-cookie", "y=2");
  equal([...headers], [["a", "1, 3"], ["set-cookie", "x=1"], ["set-cookie", "y=2"], ["x-b", "2"]]);
  equal([headers.get("A"), headers.get("none"), headers.getSetCookie(), headers.has("x-B")], ["1, 3", null, ["x=1", "y=2"], true]);
  headers.set("A", "4");
  headers.delete("x-b");
  equal([headers.get("a"), headers.has("x-b")], ["4", false]);
  equal([...new Headers(headers).keys()], ["a", "set-cookie", "set-cookie"]);
  equal(new Headers([["k", "v"]]).get("k"), "v");
  throws("TypeError", "header name", () => headers.set("a b", "1"));
  throws("TypeError", "header value", () => headers.set("a", "1\n2"));
  throws("TypeError", "header value", () => headers.set("a", "€"));
  throws("TypeError", "", () => new Headers(null));
});

test("Request", async () => {
  const request = new Request("http://a/b", { method: "post", body: "hi", headers: { "X-Y": "1" } });
  equal([request.url, request.method, request.headers.get("content-type"), request.bodyUsed],
    ["http://a/b", "POST", "text/plain;charset=UTF-8", false]);
  const copy = request.clone();
  equal([await request.text(), request.bodyUsed, await copy.text(), copy.headers.get("x-y")], ["hi", true, "hi", "1"]);
  await rejects("TypeError", "body stream already read", request.text());
  throws("TypeError", "already read", () => request.clone());
  const derived = new Request(new Request("http://a", { method: "PUT", body: "x" }), { headers: { z: "1" } });
  equal([derived.method, await derived.text(), derived.headers.get("z")], ["PUT", "x", "1"]);
  throws("TypeError", "Invalid URL", () => new Request("/relative"));
  throws("TypeError", "cannot have body", () => new Request("http://a", { body: "x" }));
  throws("TypeError", "unsupported", () => new Request("http://a", { method: "TRACE" }));
  equal(new Request("http://a").body, null);
  ok(new Request("http://a").signal instanceof AbortSignal);
});

test("Response", async () => {
  const response = new Response("é", { status: 201, statusText: "Made", headers: { a: "b" } });
  equal([response.status, response.statusText, response.ok, response.type, response.headers.get("content-type")],
    [201, "Made", true, "default", "text/plain;charset=UTF-8"]);
  equal(await response.arrayBuffer(), new Uint8Array([195, 169]).buffer);
  equal([await Response.json({ n: 1 }).json(), Response.json(1).headers.get("content-type")], [{ n: 1 }, "application/json"]);
  const redirect = Response.redirect("http://a/b", 307);
  equal([redirect.status, redirect.headers.get("location")], [307, "http://a/b"]);
  equal([Response.error().type, Response.error().status], ["error", 0]);
  for (const status of [199, 600, NaN]) throws("RangeError", "status", () => new Response("", { status }));
  throws("RangeError", "", () => Response.redirect("http://a", 200));
  throws("TypeError", "null body status", () => new Response("x", { status: 204 }));
  equal([new Response(null, { status: 204 }).body, await new Response().text()], [null, ""]);
  const blob = await new Response(new Blob(["b"], { type: "x/y" })).blob();
  equal([blob.type, await blob.text()], ["x/y", "b"]);
  equal(new Response(new URLSearchParams("a=1")).headers.get("content-type"), "application/x-www-form-urlencoded;charset=UTF-8");
  await rejects("SyntaxError", "", new Response("{").json());
  equal(Object.prototype.toString.call(response), "[object Response]");
});

test("Blob and File", async () => {
  const blob = new Blob(["aé", new Uint8Array([98]), new Blob(["c"])], { type: "Text/Plain" });
  equal([blob.size, blob.type, await blob.text(), await blob.slice(-2, -1).text()], [5, "text/plain", "aébc", "b"]);
  equal(await blob.slice(0, 1, "x").arrayBuffer(), new Uint8Array([97]).buffer);
  const file = new File(["x"], "n.txt", { type: "t", lastModified: 5 });
  equal([file.name, file.lastModified, file.size, file instanceof Blob], ["n.txt", 5, 1, true]);
  throws("TypeError", "sequence", () => new Blob(1));
});

test("forms with side effects and the network are refused", async () => {
  const text = "in queries and mutations. Please consider using an action.";
  const form = new FormData();
  form.append("a", "1");
  await rejects("Error", `Can't use formData() ${text}`, new Response(form).formData());
  await rejects("Error", `Can't use fetch() ${text}`, fetch("http://here/"));
  equal((await new Response(new URLSearchParams("a=1&b=+%26")).formData()).get("b"), " &");
});
