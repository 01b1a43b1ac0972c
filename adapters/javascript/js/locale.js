// Locale-dependent text for engines without `Intl`: American English, in UTC.
(function (web) {
  "use strict";

  if (typeof web.global.Intl === "object") return;
  const method = (target, name, value) => {
    Object.defineProperty(value, "name", { value: name, configurable: true });
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
  };

  const date = (d) => `${d.getUTCMonth() + 1}/${d.getUTCDate()}/${d.getUTCFullYear()}`;
  const time = (d) => {
    const two = (number) => String(number).padStart(2, "0");
    const hours = d.getUTCHours();
    return `${hours % 12 || 12}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())} ${hours < 12 ? "AM" : "PM"}`;
  };
  const text = (render) => function () {
    return Number.isNaN(Date.prototype.getTime.call(this)) ? "Invalid Date" : render(this);
  };
  method(Date.prototype, "toLocaleString", text((d) => `${date(d)}, ${time(d)}`));
  method(Date.prototype, "toLocaleDateString", text(date));
  method(Date.prototype, "toLocaleTimeString", text(time));

  const grouped = (digits) => digits.replace(/\B(?=(?:\d{3})+$)/g, ",");
  method(Number.prototype, "toLocaleString", function (_locales, options = {}) {
    const number = Number.prototype.valueOf.call(this);
    if (Number.isNaN(number)) return "NaN";
    const sign = number < 0 || Object.is(number, -0) ? "-" : "";
    if (!Number.isFinite(number)) return `${sign}∞`;
    const least = options.minimumFractionDigits ?? 0;
    const most = options.maximumFractionDigits ?? Math.max(3, least);
    const magnitude = Math.abs(number);
    let [whole, fraction = ""] = magnitude < 1e21 ? magnitude.toFixed(most).split(".") : [String(BigInt(magnitude))];
    while (fraction.length > least && fraction.endsWith("0")) fraction = fraction.slice(0, -1);
    return `${sign}${options.useGrouping === false ? whole : grouped(whole)}${fraction ? `.${fraction}` : ""}`;
  });
  method(BigInt.prototype, "toLocaleString", function () {
    const digits = BigInt.prototype.toString.call(this);
    return digits.startsWith("-") ? `-${grouped(digits.slice(1))}` : grouped(digits);
  });
})
