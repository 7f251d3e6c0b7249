/* The topic graph: pan, zoom, search, filters, distance, path, keyboard. Links stay links. */
(() => {
  "use strict";
  const D = window.SSM_GRAPH, box = document.querySelector(".graph"), stage = box.querySelector(".graph__stage");
  const form = box.querySelector("form"), status = box.querySelector(".graph__status"), W = window.SSM.words;
  const NS = "http://www.w3.org/2000/svg", LARGE = 500;
  const nodes = D.nodes.map(([id, kind, title, href, family, x, y, r, about], n) => ({ n, id, kind, title, href, family, x, y, r, about, near: new Set() }));
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
    }
    add(v) {
      const a = document.createElementNS(NS, "a"), c = document.createElementNS(NS, "circle"), t = document.createElementNS(NS, "text");
      a.setAttribute("href", v.href); a.dataset.n = v.n; a.dataset.kind = v.kind; a.style.setProperty("--hue", D.hues[v.family] ?? 200);
      c.setAttribute("cx", v.x); c.setAttribute("cy", v.y); c.setAttribute("r", v.r);
      t.setAttribute("x", v.x); t.setAttribute("y", v.y + v.r + 9); t.textContent = v.title;
      a.append(c, t); this.dots.append(a); this.at.set(v.n, a);
    }
    draw({ shown, lit, path }) {
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
    }
    get frame() { const v = this.svg.viewBox.baseVal; return [v.x, v.y, v.width, v.height]; }
    set frame(f) { this.svg.setAttribute("viewBox", f.map(v => v.toFixed(1)).join(" ")); }
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
      new ResizeObserver(() => this.paint()).observe(stage);
      new MutationObserver(() => this.paint()).observe(document.documentElement, { attributes: true });
      this.canvas.addEventListener("click", e => { const v = this.nearest(e); if (v && !moved) location.href = v.href; });
      this.canvas.addEventListener("pointermove", e => { const v = this.nearest(e); this.canvas.style.cursor = v ? "pointer" : ""; this.canvas.title = v ? v.title : ""; });
    }
    draw(what) { this.what = what; this.paint(); }
    paint() { if (!this.due) this.due = requestAnimationFrame(() => { this.due = 0; this.now(); }); }
    now() {
      const r = stage.getBoundingClientRect(), dpr = devicePixelRatio || 1, c = this.canvas;
      if (!this.what || !r.width) return;
      c.width = r.width * dpr; c.height = r.height * dpr;
      const g = c.getContext("2d"), css = getComputedStyle(document.documentElement), s = 1 / this.scale, { shown, lit, path } = this.what;
      const x0 = this.box[0] + this.box[2] / 2 - r.width / 2 / s, y0 = this.box[1] + this.box[3] / 2 - r.height / 2 / s;
      this.map = [x0, y0, s];
      g.setTransform(dpr * s, 0, 0, dpr * s, -x0 * s * dpr, -y0 * s * dpr);
      const bright = new Path2D(), faint = new Path2D(), way = new Path2D();
      for (const [a, b] of D.edges) {
        if (!shown.has(a) || !shown.has(b)) continue;
        const p = on(path, a, b) ? way : lit && !(lit.has(a) && lit.has(b)) ? faint : bright;
        p.moveTo(nodes[a].x, nodes[a].y); p.lineTo(nodes[b].x, nodes[b].y);
      }
      g.lineWidth = 1 / s; g.strokeStyle = css.getPropertyValue("--line");
      g.globalAlpha = .35; g.stroke(faint); g.globalAlpha = lit ? 1 : .6; g.stroke(bright);
      g.globalAlpha = 1; g.lineWidth = 3 / s; g.strokeStyle = css.getPropertyValue("--amber"); g.stroke(way);
      const light = css.getPropertyValue("--node-l"), sat = css.getPropertyValue("--node-s"), names = [];
      for (const n of shown) {
        const v = nodes[n];
        g.globalAlpha = lit && !lit.has(n) ? .18 : 1;
        g.fillStyle = `hsl(${D.hues[v.family] ?? 200} ${sat} ${light})`;
        g.beginPath(); g.arc(v.x, v.y, v.r, 0, 7); g.fill();
        if (n === state.focus || (lit ? lit.has(n) && lit.size < 60 : v.r * s > 7)) names.push(v);
      }
      g.globalAlpha = 1; g.fillStyle = css.getPropertyValue("--ink"); g.font = `${12 / s}px ${css.getPropertyValue("--sans")}`; g.textAlign = "center";
      for (const v of names.slice(0, 160)) g.fillText(v.title, v.x, v.y + v.r + 13 / s);
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
    focus() { this.paint(); }
    get target() { return this.canvas; }
  }

  let moved = false;
  const redraw = () => { drawn = look(); view.draw(drawn); };
  const zoom = (by, x, y) => {
    const [l, t, w, h] = view.frame;
    x ??= l + w / 2; y ??= t + h / 2;
    const width = Math.min(view.home[2] * 3, Math.max(120, w / by)), k = width / w;
    view.frame = [x - (x - l) * k, y - (y - t) * k, w * k, h * k];
  };
  const fit = () => { view.frame = [...view.home]; };
  const centre = v => { const [, , w, h] = view.frame; view.frame = [v.x - w / 2, v.y - h / 2, w, h]; };
  view = nodes.filter(v => v.kind === "note").length > LARGE ? new Painting() : new Drawing();
  const area = view.target, pointers = new Map();

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
  const asked = decodeURIComponent(location.hash.slice(1)), start = nodes.find(v => v.kind === "note" && (v.id === asked || v.id.endsWith(`/${asked}`)));
  if (asked && start) pick(start.n);
  box.dataset.ready = "";
})();
