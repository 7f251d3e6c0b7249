/* What sixteen tokens leave in a state with A = -1 and B = 1: token t leaves Δ_t exp(A Σ Δ_s), the
   sum over later s, by Eqs. (2) to (4) of ssm_ref.selective.selective_scan. */
(() => {
  "use strict";
  const left = dt => {
    let later = 0;
    const found = [];
    for (let t = dt.length - 1; t >= 0; t--) { found[t] = dt[t] * Math.exp(-later); later += dt[t]; }
    return found;
  };
  const total = all => all.reduce((sum, one) => sum + one, 0);
  const share = (all, marks) => total(all.filter((_, t) => marks[t])) / total(all);

  const compute = ({ marked, rest, fixed, marks }) => {
    const selective = left(marks.map(mark => mark ? marked : rest)), constant = left(marks.map(() => fixed));
    return { selective, constant, share: [share(selective, marks), share(constant, marks)] };
  };
  const say = (data, values, { number, fill }) =>
    fill("says", { selective: number(100 * data.share[0], 2), constant: number(100 * data.share[1], 2) });
  const draw = (data, { marks }, { element, words }) => {
    const rows = [["selective", 20], ["constant", 125]].flatMap(([key, top]) => {
      const all = data[key], sum = total(all), most = Math.max(...all) / sum;
      return [
        element("text", { x: 10, y: top }, words[key]), element("line", { class: "axis", x1: 10, x2: 610, y1: top + 80, y2: top + 80 }),
        ...all.map((value, t) => {
          const height = 68 * value / sum / most;
          return element("rect", { class: marks[t] ? "two" : "none", x: 14 + 37.3 * t, y: top + 80 - height, width: 26, height });
        }),
      ];
    });
    const names = marks.map((mark, t) => element("text", { x: 27 + 37.3 * t, y: 222, "text-anchor": "middle", class: mark ? "two" : "" }, t + 1));
    return [...rows, ...names];
  };
  window.ssmWidget("selectivity", { compute, say, draw, size: "620 230" });
})();
