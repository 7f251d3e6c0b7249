/* One mode x' = λx + u, discretized: its impulse response and where λ̄ lies. The rules are Eqs. (2)
   to (4) of ssm_ref.foundations.discretization with B = C = 1. */
(() => {
  "use strict";
  const STEPS = 64;
  const mul = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
  const div = ([a, b], [c, d]) => { const n = c * c + d * d; return [(a * c + b * d) / n, (b * c - a * d) / n]; };
  const exp = ([a, b]) => [Math.exp(a) * Math.cos(b), Math.exp(a) * Math.sin(b)];
  const alpha = { forward_euler: 0, bilinear: 0.5, backward_euler: 1 };

  const discretize = (lambda, dt, rule) => {
    const z = [lambda[0] * dt, lambda[1] * dt];
    if (rule === "zoh") { const a = exp(z); return [a, div([a[0] - 1, a[1]], lambda)]; }  // (3)
    if (rule === "exponential_euler") return [exp(z), [dt, 0]];  // (4)
    const w = alpha[rule], below = [1 - w * z[0], -w * z[1]];
    return [div([1 + (1 - w) * z[0], (1 - w) * z[1]], below), div([dt, 0], below)];  // (2)
  };
  const response = ([a, b]) => {
    const found = [];
    for (let k = 0, h = b; k < STEPS; k++, h = mul(a, h)) found.push(h[0]);
    return found;
  };
  const compute = ({ dt, decay, turn, rule }) => {
    const lambda = [-decay, turn], zoh = discretize(lambda, dt, "zoh"), other = discretize(lambda, dt, rule);
    return {
      zoh: response(zoh), other: response(other), a: [zoh[0], other[0]],
      radius: Math.hypot(...zoh[0]), otherRadius: Math.hypot(...other[0]), half: Math.LN2 / (decay * dt),
    };
  };
  const say = (data, { dt, rule }, { number, fill, words }) => {
    const text = fill("says", { radius: number(data.radius), half: number(data.half), time: number(data.half * dt), rule: words[rule], other: number(data.otherRadius) });
    return data.otherRadius > 1 + 1e-12 ? `${text} ${words.out}` : text;
  };
  const draw = (data, { rule }, { element, words }) => {
    const top = Math.max(...data.zoh.map(Math.abs), 1e-9) * 1.1, x = k => 20 + k * 6.2, y = v => 105 - 85 * Math.max(-1.05, Math.min(1.05, v / top));
    const stems = data.zoh.flatMap((v, k) => [
      element("line", { class: "one", x1: x(k), x2: x(k), y1: y(0), y2: y(v) }), element("circle", { class: "one", cx: x(k), cy: y(v), r: 1.8 }),
    ]);
    const path = data.other.map((v, k) => `${x(k)},${y(v)}`).join(" ");
    const dots = data.a.map(([re, im], n) => element("circle", { class: n ? "two" : "one", r: 5 - n, cx: 520 + 70 * Math.max(-1.4, Math.min(1.4, re)), cy: 105 - 70 * Math.max(-1.4, Math.min(1.4, im)) }));
    return [
      element("line", { class: "axis", x1: 14, x2: 418, y1: y(0), y2: y(0) }), ...stems,
      element("polyline", { class: "two line", points: path }),
      element("circle", { class: "axis", cx: 520, cy: 105, r: 70 }), element("line", { class: "axis", x1: 430, x2: 610, y1: 105, y2: 105 }),
      element("line", { class: "axis", x1: 520, x2: 520, y1: 10, y2: 200 }), ...dots,
      element("text", { x: 20, y: 216 }, words.steps), element("text", { x: 520, y: 216, "text-anchor": "middle" }, words.disc),
      element("text", { x: 290, y: 14, class: "one" }, "ZOH"), element("text", { x: 290, y: 28, class: "two" }, words[rule]),
    ];
  };
  window.ssmWidget("memory", { compute, say, draw, size: "620 222" });
})();
