/* The chunked algorithm over the mask of SSD: Eqs. (5) to (8) of ssm_ref.selective.ssd, for one head
   with p = 1 and n = 2 and operands that a formula gives. */
(() => {
  "use strict";
  const L = 16, places = [...Array(L).keys()];
  const x = t => Math.cos(0.7 * t), B = t => [Math.cos(t), Math.sin(t)], C = t => [1, Math.sin(t / 2)];
  const dot = ([a, b], [c, d]) => a * c + b * d;

  const compute = ({ size, decay }) => {
    const a = places.map(t => -decay * (1 + Math.sin(t))), between = (s, t) => { let sum = 0; for (let i = s + 1; i <= t; i++) sum += a[i]; return sum; };
    const mask = places.map(t => places.map(s => s <= t ? Math.exp(between(s, t)) : 0));  // (5)
    const chunks = Math.ceil(L / size), walk = [], y = [];
    let state = [0, 0];
    for (let c = 0; c < chunks; c++) {
      const first = c * size, last = Math.min(L, first + size) - 1, own = places.slice(first, last + 1);
      for (const t of own) {
        y[t] = own.reduce((sum, s) => sum + mask[t][s] * dot(C(t), B(s)) * x(s), 0);
        y[t] += Math.exp(between(first - 1, t)) * dot(C(t), state);  // (8)
      }
      const kept = Math.exp(between(first - 1, last));
      state = state.map((h, n) => kept * h + own.reduce((sum, s) => sum + mask[last][s] * B(s)[n] * x(s), 0));  // (6), (7)
      walk.push({ kind: "own", c, first, last });
      if (c) walk.push({ kind: "carry", c, first, last });
      if (c < chunks - 1) walk.push({ kind: "hand", c, first, last });
    }
    let h = [0, 0], error = 0;
    for (const t of places) {
      h = h.map((one, n) => Math.exp(a[t]) * one + B(t)[n] * x(t));
      error = Math.max(error, Math.abs(dot(C(t), h) - y[t]));
    }
    return { mask, y, state, walk, chunks, error };
  };
  const power = value => {
    const [digit, exponent] = value.toExponential(0).split("e");
    return value ? `${digit}·10${[...exponent].map(c => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)] ?? "").join("")}` : "0";
  };
  const done = (walk, step) => walk.slice(0, step);
  const cells = ({ kind, first, last }) => {
    const q = last - first + 1;
    return kind === "own" ? q * (q + 1) / 2 : kind === "carry" ? q * first : 1;
  };
  const say = (data, { step }, { fill }) => {
    const { walk, chunks } = data;
    if (!step) return fill("start", { steps: walk.length });
    const count = kind => done(walk, step).filter(one => one.kind === kind).reduce((sum, one) => sum + cells(one), 0);
    const now = walk[step - 1];
    const parts = [fill(now.kind, { chunk: now.c + 1, chunks }), fill("so_far", { direct: count("own"), carried: count("carry"), hands: count("hand") })];
    if (step === walk.length) parts.push(fill("done", { error: power(data.error) }));
    return parts.join(" ");
  };
  const draw = (data, { step }, { element, words }) => {
    const w = 15, left = 60, top = 24, at = (t, s) => ({ x: left + w * s, y: top + w * t, width: w - 1, height: w - 1 });
    const steps = done(data.walk, step), now = steps.at(-1);
    const kind = (t, s) => steps.find(({ kind, first, last }) => first <= t && t <= last && (kind === "own" ? s >= first : kind === "carry" && s < first))?.kind;
    const squares = places.flatMap(t => places.slice(0, t + 1).map(s => {
      const by = kind(t, s);
      return element("rect", { ...at(t, s), class: by === "own" ? "one" : by ? "two" : "axis", "fill-opacity": by ? 0.12 + 0.88 * data.mask[t][s] : 0 });
    }));
    const states = [...Array(data.chunks - 1).keys()].map(c => {
      const lit = steps.some(one => one.kind === "hand" && one.c === c), y = top + w * data.walk.find(one => one.c === c).last + w;
      return element("circle", { class: lit ? "two" : "axis", cx: left + w * L + 24, cy: y, r: 7, "fill-opacity": lit ? 1 : 0 });
    });
    const frame = now ? [element("rect", { class: "now", x: now.kind === "carry" ? left : left + w * now.first, y: top + w * now.first, width: w * (now.kind === "carry" ? now.first : now.last - now.first + 1), height: w * (now.last - now.first + 1) })] : [];
    return [
      ...squares, ...states, ...frame, element("text", { x: left, y: 14 }, `${words.wrote} →`),
      element("text", { x: left + w * L + 38, y: top + 12 }, words.state),
      element("text", { x: -top - 130, y: left - 12, transform: "rotate(-90)" }, `← ${words.read}`),
    ];
  };
  const before = ({ size, decay }, form) => {
    const slider = form.elements.step, steps = compute({ size, decay }).walk.length, whole = slider.value === slider.max;
    slider.max = steps;
    if (whole) slider.value = steps;
  };
  window.ssmWidget("chunk_walk", { compute, say, draw, before, size: "420 275" });
})();
