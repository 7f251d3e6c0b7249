/* The topic graph: pan, zoom, search, filters, distance, path, keyboard. Links stay links. */
(() => {
  "use strict";
  const D = window.SSM_GRAPH, box = document.querySelector(".graph"), stage = box.querySelector(".graph__stage");
  const form = box.querySelector("form"), status = box.querySelector(".graph__status"), W = window.SSM.words;
  const NS = "http://www.w3.org/2000/svg", LARGE = 500, NAMED = 40, SEEN = 2; /* SEEN: the least radius, in pixels */
  const nodes = D.nodes.map(([id, kind, title, href, family, x, y, r, about, level, up], n) => ({ n, id, kind, title, href, family, x, y, r, about, level, up, near: new Set() }));
  for (const [a, b] of D.edges) { nodes[a].near.add(b); nodes[b].near.add(a); }
  const state = { kinds: new Set(["note"]), family: "*", distance: 0, find: "", from: null, to: null, focus: null };
  let view, drawn = null;
  form.hidden = false;

  const steps = (start, limit, allowed) => {
    const far = new Map([[start, 0]]), queue = [start], via = new Map();
    for (let i = 0; i < queue.length; i++) for (const m of nodes[queue[i]].near) {
      if (far.has(m) || !allowed(nodes[m]) || far.get(queue[i]) >= limit) continue;
      far.set(m, far.get(queue[i]) + 1); via.set(m, queue[i]); queue.push(m);
    }
    return [far, via];
  };
  const look = () => {
    const allowed = v => state.kinds.has(v.kind) && (state.family === "*" || v.family === state.family);
    let shown = new Set(nodes.filter(allowed).map(v => v.n));
    if (state.distance && state.focus !== null) shown = new Set(steps(state.focus, state.distance, allowed)[0].keys());
    let lit = null, path = null;
    if (state.find) {
      const key = state.find.toLowerCase().replace(/ё/g, "е");
      lit = new Set([...shown].filter(n => nodes[n].title.toLowerCase().replace(/ё/g, "е").includes(key)));
    } else if (state.focus !== null && !state.distance) lit = new Set([state.focus, ...nodes[state.focus].near]);
    if (state.from !== null && state.to !== null) {
      const [, via] = steps(state.from, 1e9, v => state.kinds.has(v.kind));
      path = [state.to];
      while (path[0] !== state.from && via.has(path[0])) path.unshift(via.get(path[0]));
      if (path[0] !== state.from) { path = null; say(W.no_path); } else { lit = new Set(path); say(path.map(n => nodes[n].title).join(" → ")); }
    }
    return { shown, lit, path: new Set((path ?? []).slice(1).map((n, i) => `${path[i]}-${n}`)) };
  };
  const on = (path, a, b) => path.has(`${a}-${b}`) || path.has(`${b}-${a}`);
  const short = v => v.title.length > D.longest ? `${v.title.slice(0, D.longest - 1).trimEnd()}…` : v.title;
  /* a name is shown where the build found room for it, or where it is what was asked for */
  const named_at = (v, k, lit) => lit && lit.size <= NAMED ? lit.has(v.n) : v.level >= k * .98;
  const say = text => { status.textContent = text; };

  /* Small graphs: the SVG that is there already */
  class Drawing {
    constructor() {
      this.svg = stage.querySelector("svg");
      this.lines = this.svg.querySelector(".edges");
      this.dots = this.svg.querySelector(".nodes");
      const { x, y, width, height } = this.svg.viewBox.baseVal;
      this.home = [x, y, width, height];
      this.at = new Map([...this.dots.children].map(a => [+a.dataset.n, a]));
      this.edges = new Map([...this.lines.children].map(l => [`${l.dataset.a}-${l.dataset.b}`, l]));
      this.tip = document.createElementNS(NS, "text");
      this.tip.setAttribute("class", "tip"); this.tip.setAttribute("aria-hidden", "true");
      this.svg.append(this.tip);
      for (const type of ["pointerover", "focusin"]) this.dots.addEventListener(type, e => this.point_out(e.target.closest("a")));
      for (const type of ["pointerout", "focusout"]) this.dots.addEventListener(type, () => this.point_out(this.dots.querySelector("a:focus")));
      new ResizeObserver(() => this.names()).observe(stage);
    }
    add(v) {
      const a = document.createElementNS(NS, "a"), c = document.createElementNS(NS, "circle"), t = document.createElementNS(NS, "text");
      a.setAttribute("href", v.href); a.dataset.n = v.n; a.dataset.kind = v.kind; a.style.setProperty("--hue", D.hues[v.family] ?? 200);
      a.style.setProperty("--r", `${v.r}px`); a.setAttribute("aria-label", v.title);
      for (const [k, x] of [["cx", v.x], ["cy", v.y], ["r", v.r]]) c.setAttribute(k, x);
      for (const [k, x] of [["x", v.x], ["y", v.up ? v.y - v.r : v.y + v.r], ["dy", v.up ? "-.35em" : "1.05em"]]) t.setAttribute(k, x);
      t.textContent = short(v);
      a.append(c, t); this.dots.append(a); this.at.set(v.n, a);
    }
    point_out(a) { /* the whole name of the node under the pointer or the focus, above all else */
      const v = a && nodes[+a.dataset.n];
      this.tip.textContent = v ? v.title : "";
      if (v) for (const [k, x] of [["x", v.x], ["y", v.y + (v.up ? -1 : 1) * v.r * Math.max(1, this.k / 1.6)], ["dy", v.up ? "-.35em" : "1.05em"]]) this.tip.setAttribute(k, x);
    }
    names() {
      this.k = this.scale;
      this.svg.style.setProperty("--k", this.k.toFixed(3));
      if (this.what) for (const [n, a] of this.at) a.classList.toggle("quiet", !named_at(nodes[n], this.k, this.what.lit));
    }
    draw(what) {
      const { shown, lit, path } = this.what = what;
      for (const n of shown) if (!this.at.has(n)) this.add(nodes[n]);
      for (const [a, b, kind] of D.edges) if (shown.has(a) && shown.has(b) && !this.edges.has(`${a}-${b}`) && !this.edges.has(`${b}-${a}`)) {
        const l = document.createElementNS(NS, "line");
        for (const [k, v] of [["x1", nodes[a].x], ["y1", nodes[a].y], ["x2", nodes[b].x], ["y2", nodes[b].y]]) l.setAttribute(k, v);
        l.dataset.a = a; l.dataset.b = b; l.dataset.kind = kind;
        this.lines.append(l); this.edges.set(`${a}-${b}`, l);
      }
      for (const [n, a] of this.at) { a.classList.toggle("off", !shown.has(n)); a.classList.toggle("dim", lit !== null && !lit.has(n)); }
      for (const l of this.edges.values()) {
        const a = +l.dataset.a, b = +l.dataset.b;
        l.classList.toggle("off", !shown.has(a) || !shown.has(b));
        l.classList.toggle("dim", lit !== null && !(lit.has(a) && lit.has(b)));
        l.classList.toggle("path", on(path, a, b));
      }
      this.names();
    }
    get frame() { const v = this.svg.viewBox.baseVal; return [v.x, v.y, v.width, v.height]; }
    set frame(f) {
      const wider = Math.abs(f[2] / this.frame[2] - 1) > 1e-3;
      this.svg.setAttribute("viewBox", f.map(v => v.toFixed(1)).join(" "));
      if (wider) this.names();
    }
    get scale() { const [, , w, h] = this.frame, r = this.svg.getBoundingClientRect(); return Math.max(w / r.width, h / r.height); }
    point(e) { const p = new DOMPoint(e.clientX, e.clientY).matrixTransform(this.svg.getScreenCTM().inverse()); return [p.x, p.y]; }
    focus(n) { this.at.get(n)?.focus({ preventScroll: true }); }
    get target() { return this.svg; }
  }

  /* Large graphs: a canvas of the same places; the table below keeps every link */
  class Painting {
    constructor() {
      this.canvas = Object.assign(document.createElement("canvas"), { tabIndex: 0 });
      this.canvas.setAttribute("role", "application");
      this.canvas.setAttribute("aria-label", stage.querySelector("svg").getAttribute("aria-label"));
      stage.querySelector("svg").remove(); stage.append(this.canvas);
      const xs = nodes.map(v => v.x), ys = nodes.map(v => v.y), low = a => a.reduce((p, q) => Math.min(p, q)), high = a => a.reduce((p, q) => Math.max(p, q));
      this.home = [low(xs) - 60, low(ys) - 60, high(xs) - low(xs) + 120, high(ys) - low(ys) + 120];
      this.box = this.home;
      this.layer = document.createElement("canvas"); this.spare = document.createElement("canvas");
      new ResizeObserver(() => { this.stale = true; this.paint(); }).observe(stage);
      const again = () => { this.what && this.draw(this.what); };
      new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
      this.canvas.addEventListener("click", e => { const v = this.nearest(e); if (v && !moved) location.href = v.href; });
      this.canvas.addEventListener("pointermove", e => {
        if (pointers.size) return;
        const v = this.nearest(e);
        if (v !== this.over) { this.over = v; this.canvas.style.cursor = v ? "pointer" : ""; this.paint(); }
      });
    }
    /* What is drawn, cut into short jobs: edges by the thousand, nodes by their colour */
    draw(what) {
      const { shown, lit, path } = this.what = what, css = getComputedStyle(document.documentElement), get = n => css.getPropertyValue(n);
      const bits = new Map(), part = (key, make) => { if (!bits.has(key)) bits.set(key, { ...make, path: new Path2D(), dots: new Path2D() }); return bits.get(key); };
      const faint = Math.min(.6, Math.max(.04, 2400 / D.edges.length)); /* thousands would hide the nodes */
      D.edges.forEach(([a, b], n) => {
        if (!shown.has(a) || !shown.has(b)) return;
        const kind = on(path, a, b) ? 2 : lit && !(lit.has(a) && lit.has(b)) ? 0 : 1;
        const p = part(`${kind} ${kind > 1 ? 0 : n >> 10}`, { line: [1, 1, 3][kind], colour: get(kind > 1 ? "--amber" : "--line"), alpha: [Math.min(.3, faint), lit ? 1 : faint, 1][kind], order: kind }).path;
        p.moveTo(nodes[a].x, nodes[a].y); p.lineTo(nodes[b].x, nodes[b].y);
      });
      for (const n of shown) {
        const v = nodes[n], dim = lit && !lit.has(n), hue = D.hues[v.family] ?? 200;
        const p = part(`n ${hue} ${dim}`, { colour: `hsl(${hue} ${get("--node-s")} ${get("--node-l")})`, alpha: dim ? .18 : 1, order: dim ? 3 : 4 });
        p.path.moveTo(v.x + v.r, v.y); p.path.arc(v.x, v.y, v.r, 0, 7);
        p.dots.moveTo(v.x, v.y); p.dots.lineTo(v.x + .01, v.y);
      }
      this.bits = [...bits.values()].sort((p, q) => p.order - q.order);
      this.ink = get("--ink"); this.ground = get("--raised"); this.font = get("--sans");
      this.byRank = [...shown].map(n => nodes[n]).sort((p, q) => q.level - p.level);
      this.stale = true; this.paint();
    }
    paint() { if (!this.due) this.due = requestAnimationFrame(() => { this.due = 0; this.now(); }); }
    /* Each frame shows the layer that is there, moved and scaled; a new one is drawn in the pauses */
    now() {
      const r = stage.getBoundingClientRect(), dpr = devicePixelRatio || 1, c = this.canvas;
      if (!this.what || !r.width) return;
      const w = Math.round(r.width * dpr), h = Math.round(r.height * dpr);
      if (c.width !== w || c.height !== h) { c.width = w; c.height = h; }
      const s = 1 / this.scale, x0 = this.box[0] + this.box[2] / 2 - r.width / 2 / s, y0 = this.box[1] + this.box[3] / 2 - r.height / 2 / s;
      const g = c.getContext("2d"), have = this.have;
      this.map = [x0, y0, s];
      g.setTransform(1, 0, 0, 1, 0, 0); g.clearRect(0, 0, w, h);
      if (have) g.drawImage(this.layer, (have[0] - x0) * s * dpr, (have[1] - y0) * s * dpr, this.layer.width * s / have[2], this.layer.height * s / have[2]);
      const v = this.over ?? (state.focus === null ? null : nodes[state.focus]);
      if (v) {
        g.setTransform(dpr, 0, 0, dpr, 0, 0);
        this.name(g, v.title, (v.x - x0) * s, (v.y - y0) * s + v.r * s, "bold ");
        g.strokeStyle = "#d18a2c"; g.lineWidth = 2.5; g.beginPath(); g.arc((v.x - x0) * s, (v.y - y0) * s, Math.max(4, v.r * s), 0, 7); g.stroke();
      }
      const near = have && Math.abs(s / have[2] - 1) < 1e-6 && x0 >= have[0] && y0 >= have[1] && x0 + r.width / s <= have[0] + have[3] && y0 + r.height / s <= have[1] + have[4];
      if (!near || this.stale) {
        clearTimeout(this.wait);
        this.jobs = null;
        this.wait = setTimeout(() => this.begin(x0, y0, s, r, dpr), have && !this.stale ? 120 : 0);
        this.stale = false;
      }
    }
    begin(x0, y0, s, r, dpr) {
      const l = this.spare, mx = r.width * .25, my = r.height * .25;
      l.width = (r.width + 2 * mx) * dpr; l.height = (r.height + 2 * my) * dpr;
      const have = [x0 - mx / s, y0 - my / s, s, (r.width + 2 * mx) / s, (r.height + 2 * my) / s], g = l.getContext("2d");
      const jobs = this.jobs = [...this.bits.map(bit => () => {
        g.setTransform(dpr * s, 0, 0, dpr * s, -have[0] * s * dpr, -have[1] * s * dpr);
        g.globalAlpha = bit.alpha;
        if (bit.line) { g.strokeStyle = bit.colour; g.lineWidth = bit.line / s; g.stroke(bit.path); }
        else {
          g.fillStyle = g.strokeStyle = bit.colour; g.fill(bit.path);
          if (5 * s < SEEN) { g.lineCap = "round"; g.lineWidth = 2 * SEEN / s; g.stroke(bit.dots); } /* far away, but seen */
        }
      }), () => {
        g.setTransform(dpr, 0, 0, dpr, 0, 0); g.globalAlpha = 1;
        let left = 220;
        for (const v of this.byRank) {
          if (!left || !this.what.lit && v.level < .98 / s) break;
          if (!named_at(v, 1 / s, this.what.lit) || v.x < have[0] || v.x > have[0] + have[3] || v.y < have[1] || v.y > have[1] + have[4]) continue;
          left--;
          this.name(g, short(v), (v.x - have[0]) * s, (v.y - have[1]) * s + (v.up ? -v.r * s - 18 : v.r * s), "");
        }
        [this.layer, this.spare] = [this.spare, this.layer]; this.have = have;
        this.paint();
      }];
      const step = () => {
        if (this.jobs !== jobs) return;
        for (const end = performance.now() + 7; jobs.length && performance.now() < end;) jobs.shift()();
        if (jobs.length) requestAnimationFrame(step); else this.jobs = null;
      };
      step();
    }
    name(g, text, x, y, weight) {
      g.font = `${weight}12.5px ${this.font}`; g.textAlign = "center"; g.lineJoin = "round";
      g.strokeStyle = this.ground; g.lineWidth = 3.5; g.strokeText(text, x, y + 13);
      g.fillStyle = this.ink; g.fillText(text, x, y + 13);
    }
    get frame() { return this.box; }
    set frame(f) { this.box = f; this.paint(); }
    get scale() { const r = stage.getBoundingClientRect(); return Math.max(this.box[2] / r.width, this.box[3] / r.height); }
    point(e) { const r = this.canvas.getBoundingClientRect(), [x, y, s] = this.map; return [x + (e.clientX - r.left) / s, y + (e.clientY - r.top) / s]; }
    nearest(e) {
      if (!this.map) return null;
      const [x, y] = this.point(e);
      let best = null, least = 14 / this.map[2];
      for (const n of this.what.shown) { const d = Math.hypot(nodes[n].x - x, nodes[n].y - y) - nodes[n].r; if (d < least) { least = d; best = nodes[n]; } }
      return best;
    }
    focus() { this.canvas.focus({ preventScroll: true }); this.paint(); }
    get target() { return this.canvas; }
  }

  let moved = false;
  const pointers = new Map(), redraw = () => { drawn = look(); view.draw(drawn); };
  const zoom = (by, x, y) => {
    const [l, t, w, h] = view.frame;
    x ??= l + w / 2; y ??= t + h / 2;
    const width = Math.min(view.home[2] * 3, Math.max(120, w / by)), k = width / w;
    view.frame = [x - (x - l) * k, y - (y - t) * k, w * k, h * k];
  };
  const fit = () => { view.frame = [...view.home]; };
  const centre = v => { const [, , w, h] = view.frame; view.frame = [v.x - w / 2, v.y - h / 2, w, h]; };
  view = nodes.filter(v => v.kind === "note").length > LARGE ? new Painting() : new Drawing();
  const area = view.target;

  area.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * .0016), ...view.point(e)); }, { passive: false });
  area.addEventListener("pointerdown", e => { pointers.set(e.pointerId, [e.clientX, e.clientY]); moved = false; });
  area.addEventListener("dragstart", e => e.preventDefault());
  addEventListener("pointermove", e => {
    const last = pointers.get(e.pointerId);
    if (!last) return;
    const spread = () => { const [p, q] = [...pointers.values()]; return Math.hypot(p[0] - q[0], p[1] - q[1]); };
    const before = pointers.size === 2 ? spread() : 0, dx = e.clientX - last[0], dy = e.clientY - last[1];
    if (Math.hypot(dx, dy) < 3 && !moved) return;
    moved = true;
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
    if (before) { zoom(spread() / before); return; }
    const s = view.scale, [l, t, w, h] = view.frame;
    view.frame = [l - dx * s, t - dy * s, w, h];
  });
  for (const type of ["pointerup", "pointercancel"]) addEventListener(type, e => pointers.delete(e.pointerId));
  area.addEventListener("click", e => { if (moved) { e.preventDefault(); e.stopPropagation(); } }, true);

  const pick = (n, move = true) => {
    state.focus = n; redraw();
    const v = nodes[n];
    say(`${v.title}${v.about ? ` — ${v.about}` : ""}`);
    if (move) { centre(v); view.focus(n); }
  };
  area.addEventListener("focusin", e => { const n = e.target.closest?.("a")?.dataset.n; if (n !== undefined && +n !== state.focus) pick(+n, false); });
  stage.addEventListener("keydown", e => {
    const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (e.key === "+" || e.key === "=") zoom(1.3);
    else if (e.key === "-") zoom(.77);
    else if (e.key === "0") fit();
    else if (e.key === "Escape") { state.focus = null; redraw(); }
    else if (e.key === "Enter" && view instanceof Painting && state.focus !== null) location.href = nodes[state.focus].href;
    else if (ways[e.key]) {
      e.preventDefault();
      if (state.focus === null) { pick([...drawn.shown][0]); return; }
      const [ux, uy] = ways[e.key], here = nodes[state.focus];
      let best = null, score = 0;
      for (const pool of [[...here.near].filter(n => drawn.shown.has(n)), [...drawn.shown]]) {
        for (const n of pool) {
          const dx = nodes[n].x - here.x, dy = nodes[n].y - here.y, d = Math.hypot(dx, dy), c = (dx * ux + dy * uy) / d;
          if (n !== here.n && c > .3 && c / d > score) { score = c / d; best = n; }
        }
        if (best !== null) break;
      }
      if (best !== null) pick(best);
    }
  });

  const named = text => { const v = nodes.find(x => x.title === text || x.id === text); return v ? v.n : null; };
  form.addEventListener("submit", e => e.preventDefault());
  form.addEventListener("input", () => {
    const value = name => form.elements[name].value;
    state.find = value("find").trim(); state.family = value("family"); state.distance = +value("distance");
    state.from = named(value("from")); state.to = named(value("to"));
    state.kinds = new Set(["note", ...[...form.querySelectorAll("[data-kind]:checked")].map(c => c.dataset.kind)]);
    const exact = named(state.find);
    if (exact !== null) state.focus = exact;
    redraw();
    if (state.find && drawn.lit) say(W.search_one + drawn.lit.size);
  });
  form.addEventListener("keydown", e => {
    if (e.key !== "Enter" || e.target.name !== "find" || !drawn.lit?.size) return;
    e.preventDefault(); pick([...drawn.lit][0]);
  });
  form.addEventListener("reset", () => setTimeout(() => {
    Object.assign(state, { kinds: new Set(["note"]), family: "*", distance: 0, find: "", from: null, to: null, focus: null });
    say(""); fit(); redraw();
  }));
  form.addEventListener("click", e => {
    const { zoom: by, fit: all } = e.target.dataset;
    if (by) zoom(+by);
    if (all !== undefined) fit();
  });
  redraw();
  const asked = decodeURIComponent(location.hash.slice(1)), start = nodes.find(v => v.kind === "note" && v.id.replaceAll(" ", "-") === asked);
  if (asked && start) pick(start.n);
  box.dataset.ready = "";
})();
