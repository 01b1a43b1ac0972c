// `fetch`: redirects and cancellation over the host's single exchanges.
(function (web) {
  "use strict";

  const { host, asyncHost } = web;
  const { Request, responseFrom, redirectStatuses, hasBody, isStreamed } = web.part("body");
  const { Headers } = web.part("headers");
  const { URL } = web.part("url");
  const REDIRECTS_MAX = 20;

  /** One exchange. */
  async function exchange(url, method, headers, body) {
    const answer = await asyncHost("host/fetch", JSON.stringify({
      url, method, headers: [...headers], body: body === null ? null : host("base64/encode", body),
    }));
    return JSON.parse(answer);
  }

  /** Settles like the promise, or rejects when the signal aborts first. */
  function abortable(promise, signal) {
    if (!signal) return promise;
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason);
      signal.addEventListener("abort", onAbort);
      promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    });
  }

  async function fetch(input, init = undefined) {
    web.permit("fetch()");
    const request = new Request(input, init);
    const { signal } = request;
    signal.throwIfAborted();
    const streamed = isStreamed(request);
    let body = hasBody(request) ? await abortable(request.arrayBuffer(), signal) : null;
    let { method } = request;
    const headers = new Headers(request.headers);
    if (!headers.has("accept")) headers.set("accept", "*/*");
    let url = new URL(request.url);

    for (let redirects = 0; ; redirects++) {
      if (url.protocol !== "http:" && url.protocol !== "https:") {
        throw new TypeError(`fetch: the scheme of ${url.href} is not supported, only http and https are`);
      }
      const { hash } = url;
      url.hash = "";
      const answer = await abortable(exchange(url.href, method, headers, body), signal);
      const { status } = answer;
      const answerHeaders = new Headers(answer.headers);
      const location = redirectStatuses.includes(status) ? answerHeaders.get("location") : null;
      if (location === null || request.redirect === "manual") {
        const bytes = host("base64/decode", answer.body ?? "");
        url.hash = hash;
        return responseFrom({
          status, statusText: answer.statusText ?? "", headers: answerHeaders, bytes, url: url.href,
          redirected: redirects > 0,
        });
      }
      if (request.redirect === "error") throw new TypeError(`fetch: ${url.href} redirects, which is not allowed`);
      if (redirects === REDIRECTS_MAX) throw new TypeError(`fetch: more than ${REDIRECTS_MAX} redirects`);
      const target = new URL(location, url);
      target.hash ||= hash;
      if (streamed && status !== 303) throw new TypeError("fetch: a streamed body cannot follow a redirect");
      if ((method === "POST" && (status === 301 || status === 302)) ||
          (status === 303 && method !== "GET" && method !== "HEAD")) {
        method = "GET";
        body = null;
        for (const name of ["content-encoding", "content-language", "content-length", "content-location", "content-type"]) {
          headers.delete(name);
        }
      }
      if (target.origin !== url.origin) {
        for (const name of ["authorization", "cookie", "host", "proxy-authorization"]) headers.delete(name);
      }
      url = target;
    }
  }

  return { fetch };
})
