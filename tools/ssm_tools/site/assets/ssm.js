/* Everything a page does by script: theme, contents, copy, language, previews, search. */
(() => {
  "use strict";
  const S = window.SSM, W = S.words, root = document.documentElement;
  const $ = (q, e = document) => e.querySelector(q), $$ = (q, e = document) => [...e.querySelectorAll(q)];
  const make = (tag, props = {}, ...kids) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...kids);
    return e;
  };
  const load = name => load[name] ??= new Promise((done, fail) => {
    document.head.append(make("script", { src: S.root + S.prefix + name, onload: done, onerror: fail }));
  });

  /* Theme and drawer */
  $("[data-theme-toggle]")?.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("ssm-theme", root.dataset.theme); } catch { /* private mode: the choice lasts for this page */ }
  });
  const drawer = $("[data-drawer]"), nav = $("#sitenav");
  drawer?.addEventListener("click", e => {
    e.preventDefault();
    const shown = nav.classList.toggle("open");
    drawer.setAttribute("aria-expanded", String(shown));
    if (shown) $("a, summary", nav)?.focus();
  });
  const shut = () => {
    if (!nav?.classList.contains("open")) return;
    nav.classList.remove("open");
    drawer.setAttribute("aria-expanded", "false"); drawer.focus();
  };
  $("[aria-current]", nav)?.scrollIntoView({ block: "nearest" });
  if (matchMedia("(max-width: 56rem)").matches) $$(".fold--toc").forEach(d => { d.open = false; });

  /* The section on screen: marked in the contents, kept when the language is switched */
  const spots = $$(".toc a").map(a => [a, document.getElementById(decodeURIComponent(a.hash.slice(1)))]).filter(p => p[1]);
  let here = "";
  const spy = () => {
    const line = 0.3 * innerHeight; // well below where a link to a section leaves its heading
    let last = null;
    for (const pair of spots) if (pair[1].getBoundingClientRect().top < line) last = pair;
    for (const [a] of spots) a.classList.toggle("here", last !== null && a === last[0]);
    here = last ? last[1].id : "";
  };
  for (const type of ["scroll", "load", "hashchange"]) addEventListener(type, spy, { passive: true });
  spy();
  for (const a of $$("[data-switch]")) {
    const plain = a.getAttribute("href");
    const aim = () => a.setAttribute("href", here && !a.classList.contains("sitehead__lang--missing") ? `${plain}#${here}` : plain);
    for (const type of ["pointerenter", "focus", "click"]) a.addEventListener(type, aim);
  }

  /* Copy */
  for (const block of $$(".code")) {
    const button = make("button", { className: "copy", type: "button", textContent: W.copy });
    button.addEventListener("click", async () => {
      const text = $("code", block).innerText.replace(/\n$/, "");
      try { await navigator.clipboard.writeText(text); }
      catch {
        const area = make("textarea", { value: text });
        document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
      }
      button.textContent = W.copied;
      setTimeout(() => { button.textContent = W.copy; }, 1500);
    });
    block.append(button);
  }

  /* Sortable tables */
  for (const table of $$("table.sortable")) $$("thead th", table).forEach((th, column) => {
    const button = make("button", { type: "button", className: "sort" }, ...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") !== "ascending";
      $$("th", th.parentNode).forEach(x => x.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].sort((a, b) => key(a).localeCompare(key(b), S.lang, { numeric: true }));
      table.tBodies[0].append(...(up ? rows : rows.reverse()));
    });
  });

  /* Previews */
  let card = null, timer = 0;
  const hide = () => { clearTimeout(timer); card?.remove(); card = null; };
  const base = new URL(S.root + S.prefix, location.href).href;
  const show = async link => {
    const [path, hash = ""] = link.href.split("#");
    if (!path.startsWith(base) || path === location.href.split("#")[0]) return;
    try { await load("previews.js"); } catch { return; }
    const found = window.SSM_PREVIEWS[decodeURIComponent(path.slice(base.length))];
    if (!found || !(link.matches(":hover") || link === document.activeElement)) return;
    const [title, about, heads] = found, head = heads[decodeURIComponent(hash)];
    hide();
    card = make("div", { className: "preview", id: "preview", role: "tooltip" },
      make("b", { textContent: head ? `${title} › ${head[0]}` : title }), make("span", { textContent: head ? head[1] : about }));
    document.body.append(card);
    const box = link.getBoundingClientRect(), below = box.bottom + card.offsetHeight + 12 < innerHeight;
    card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - card.offsetWidth - 12)) + scrollX}px`;
    card.style.top = `${(below ? box.bottom + 8 : box.top - card.offsetHeight - 8) + scrollY}px`;
    link.setAttribute("aria-describedby", "preview");
  };
  const scope = $(".page__body");
  for (const [type, wait] of [["mouseover", 280], ["focusin", 350]]) scope?.addEventListener(type, e => {
    const link = e.target.closest("a[href]");
    if (!link || link.closest("svg") || link.classList.contains("headerlink")) return;
    clearTimeout(timer);
    timer = setTimeout(show, wait, link);
  });
  for (const type of ["mouseout", "focusout"]) scope?.addEventListener(type, hide);

  /* Search */
  const dialog = $("dialog.search"), input = $("input", dialog), list = $(".search__results"), count = $(".search__count");
  const fold = w => w.toLowerCase().replace(/ё/g, "е");
  const plain = text => fold(text).match(/[\p{L}\p{N}]+/gu) ?? [];
  const index = { post: new Map(), forms: new Map(), roots: [] };
  const prepare = () => {
    if (index.data || !window.SSM_INDEX) return;
    index.data = window.SSM_INDEX;
    index.forms = new Map(Object.entries(index.data.forms));
    index.post = new Map(Object.entries(index.data.post));
    index.roots = [...index.post.keys()].sort();
    index.named = new Set(Object.keys(index.data.same).flatMap(name => name.split(" ")));
  };
  const starting = prefix => {
    let low = 0, high = index.roots.length;
    while (low < high) { const mid = (low + high) >> 1; if (index.roots[mid] < prefix) low = mid + 1; else high = mid; }
    const found = [];
    while (low < index.roots.length && found.length < 40 && index.roots[low].startsWith(prefix)) found.push(index.roots[low++]);
    return found;
  };
  const rootsOf = (word, last) => {
    const exact = index.forms.get(word) ?? (index.post.has(word) ? word : null), found = new Map();
    if (exact) found.set(exact, 1);
    if (last && word.length > 2) for (const r of starting(word)) if (!found.has(r)) found.set(r, .6);
    /* a form that no page has: the longest beginning that is some stem, or else that begins one */
    const least = Math.max(3, word.length - 5);
    for (let n = word.length - 1; !found.size && n >= least; n--) if (index.post.has(word.slice(0, n))) found.set(word.slice(0, n), .7);
    for (let n = word.length - 1; !found.size && n >= Math.max(5, least); n--) for (const r of starting(word.slice(0, n))) found.set(r, .4);
    return found;
  };
  const small = new Set("а в во для до за и из или как к на не о об по с со у чего что это a an and are by does for how in is of on the to what with".split(" "));
  const scored = roots => {
    const sum = new Map();
    for (const [r, factor] of roots) {
      const flat = index.post.get(r) ?? [], rare = Math.log(1 + index.data.docs.length / (1 + flat.length / 2));
      for (let i = 0, doc = 0; i < flat.length; i += 2) {
        doc += flat[i];
        sum.set(doc, Math.max(sum.get(doc) ?? 0, factor * flat[i + 1] * rare));
      }
    }
    return sum;
  };
  const all = asked => {
    let total = null;
    const said = asked.filter(word => !small.has(word)), words = said.length ? said : asked;
    words.forEach((word, i) => {
      const one = scored(rootsOf(word, i === words.length - 1));
      if (total === null) { total = one; return; }
      const both = new Map();
      for (const [doc, s] of one) if (total.has(doc)) both.set(doc, s + total.get(doc));
      total = both;
    });
    return total ?? new Map();
  };
  /* a form of a name from the other language's text, which this index has not met */
  const nameRoot = word => {
    if (index.forms.has(word)) return index.forms.get(word);
    for (let n = word.length; n >= Math.max(4, word.length - 5); n--) if (index.named.has(word.slice(0, n))) return word.slice(0, n);
    return word;
  };
  /* the page that is called so, in whatever form, comes first; then the one whose name says little else */
  const called = (doc, names) => {
    const [, id, title, , ...also] = index.data.docs[doc], name = id ? [] : plain(title).map(nameRoot);
    return Math.max(...names.map(asked => [name.join(" "), ...also].includes(asked.join(" ")) ? 3 : asked.every(r => name.includes(r)) ? 1 + asked.length / name.length : 1));
  };
  const find = query => {
    const words = plain(query);
    if (!words.length) return [];
    const total = all(words), key = words.map(nameRoot), names = [key];
    for (let from = 0; from < key.length; from++) for (let to = from + 1; to <= key.length; to++) {
      for (const other of index.data.same[key.slice(from, to).join(" ")] ?? []) {
        const parts = other.split(" ").map(r => scored(new Map([[r, .8]])));
        if (to - from === key.length) names.push(other.split(" "));
        for (const [doc, s] of parts[0]) {
          if (parts.every(p => p.has(doc))) total.set(doc, Math.max(total.get(doc) ?? 0, s));
        }
      }
    }
    for (const [doc, s] of total) total.set(doc, s * called(doc, names));
    return [...total].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 30).map(([doc]) => index.data.docs[doc]);
  };
  let chosen = -1;
  const choose = n => {
    const rows = [...list.children];
    chosen = rows.length ? (n + rows.length) % rows.length : -1;
    rows.forEach((row, i) => row.setAttribute("aria-selected", String(i === chosen)));
    if (chosen >= 0) { rows[chosen].scrollIntoView({ block: "nearest" }); input.setAttribute("aria-activedescendant", rows[chosen].id); }
    else input.removeAttribute("aria-activedescendant");
  };
  const update = () => {
    prepare();
    if (!index.data) return;
    const rows = find(input.value);
    list.replaceChildren(...rows.map(([path, id, title, text], n) => make("li", { id: `hit-${n}`, role: "option" },
      make("a", { href: `${S.root}${S.prefix}${path.split("/").map(encodeURIComponent).join("/")}${id ? `#${encodeURIComponent(id)}` : ""}`, tabIndex: -1 },
        make("b", { textContent: title }), make("small", { textContent: text.slice(0, 130) })))));
    count.textContent = input.value.trim() ? (rows.length ? W.search_one + rows.length : W.search_none) : "";
    input.setAttribute("aria-expanded", String(rows.length > 0));
    choose(rows.length ? 0 : -1);
  };
  const open = () => { if (!dialog.open) dialog.showModal(); input.select(); load("search-index.js").then(update); };
  $("[data-search-open]").addEventListener("click", open);
  $("[data-search-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", e => { if (e.target === dialog || e.target.closest("li a")) dialog.close(); });
  for (const type of ["input", "keyup"]) input.addEventListener(type, e => {
    if (!["ArrowDown", "ArrowUp", "Enter"].includes(e.key)) update();
  });
  input.addEventListener("keydown", e => {
    if (e.key === "ArrowDown" || e.key === "ArrowUp") { e.preventDefault(); choose(chosen + (e.key === "ArrowDown" ? 1 : -1)); }
    else if (e.key === "Enter" && chosen >= 0) { e.preventDefault(); $("a", list.children[chosen]).click(); }
  });
  addEventListener("keydown", e => {
    if (e.key === "Escape") { hide(); shut(); }
    if (e.ctrlKey || e.metaKey || e.altKey || dialog.open) return;
    /* The field of the closed search may still hold the focus for a moment. */
    if (e.target !== input && e.target.closest("input, textarea, select, [contenteditable]")) return;
    if (["/", "s", "f", "ы", "а"].includes(e.key)) { e.preventDefault(); open(); }
  });

  /* The page that `ssm-notes serve` shows asks when it was built, and reloads when that changes */
  if (window.SSM_LIVE) {
    const ask = async () => {
      try {
        const now = await (await fetch(`/__built?${location.pathname}`)).text();
        if (now && now !== window.SSM_LIVE) location.reload();
      } catch { /* the server is away */ }
    };
    setInterval(ask, 700);
  }
})();
