// URL and URLSearchParams.
test("parts", () => {
  const url = new URL("../d?q=1#h", "https://u:p@Example.com:8080/a/b/c");
  equal(
    [url.href, url.origin, url.protocol, url.username, url.password, url.host, url.hostname, url.port, url.pathname, url.search, url.hash],
    ["https://u:p@example.com:8080/a/d?q=1#h", "https://example.com:8080", "https:", "u", "p", "example.com:8080",
      "example.com", "8080", "/a/d", "?q=1", "#h"],
  );
  equal([`${url}`, JSON.stringify({ url })], [url.href, `{"url":"${url.href}"}`]);
});

test("invalid", () => {
  throws("TypeError", "Invalid URL", () => new URL("/a"));
  throws("TypeError", "Invalid URL", () => new URL("/a", "b"));
  equal([URL.canParse("x:y"), URL.canParse("/a"), URL.parse("/a"), URL.parse("/a", "http://b").href], [true, false, null, "http://b/a"]);
});

test("setters", () => {
  const url = new URL("http://a.com/x?y#z");
  url.protocol = "https";
  url.username = "me";
  url.password = "pä";
  url.hostname = "b.org";
  url.port = "81";
  url.pathname = "p q";
  url.search = "s=t";
  url.hash = "";
  equal(url.href, "https://me:p%C3%A4@b.org:81/p%20q?s=t");
  url.host = "c.net:82";
  equal(url.host, "c.net:82");
  url.port = "nonsense";
  equal(url.port, "82");
  url.href = "http://d/";
  equal([url.href, url.searchParams.size], ["http://d/", 0]);
  throws("TypeError", "Invalid URL", () => (url.href = "nonsense"));
});

test("searchParams and search follow each other", () => {
  const url = new URL("http://a/?x=1&x=2&y=a+b%21");
  const params = url.searchParams;
  ok(params === url.searchParams);
  equal([params.get("x"), params.getAll("x"), params.get("y"), params.get("z")], ["1", ["1", "2"], "a b!", null]);
  params.append("z", "ü&");
  equal(url.search, "?x=1&x=2&y=a+b%21&z=%C3%BC%26");
  params.set("x", "3");
  params.delete("y");
  equal(url.href, "http://a/?x=3&z=%C3%BC%26");
  url.search = "?n=1";
  equal([...params], [["n", "1"]]);
  params.delete("n");
  equal(url.href, "http://a/");
});

test("URLSearchParams", () => {
  equal(new URLSearchParams("?a=1&b").toString(), "a=1&b=");
  equal(new URLSearchParams({ a: 1, b: "x y" }).toString(), "a=1&b=x+y");
  equal(new URLSearchParams([["a", "1"], ["a", "2"]]).getAll("a"), ["1", "2"]);
  equal(new URLSearchParams(new URLSearchParams("c=d")).get("c"), "d");
  equal(new URLSearchParams(new Map([["k", "v"]])).get("k"), "v");
  const params = new URLSearchParams("b=2&a=1&b=1");
  params.sort();
  equal(params.toString(), "a=1&b=2&b=1");
  equal([[...params.keys()], [...params.values()]], [["a", "b", "b"], ["1", "2", "1"]]);
  equal([params.has("b", "1"), params.has("b", "3"), params.size], [true, false, 3]);
  const seen = [];
  params.forEach((value, name) => seen.push(name + value));
  equal(seen, ["a1", "b2", "b1"]);
  throws("TypeError", "pair", () => new URLSearchParams([["a"]]));
  equal(Object.prototype.toString.call(params), "[object URLSearchParams]");
});
