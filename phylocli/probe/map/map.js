"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const unpack = (text, Kind) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  };
  const ids = data.ids, n = ids.length, at = unpack(data.points, Uint16Array), FULL = 65535;
  const names = data.names || [], codes = data.codes ? unpack(data.codes, Int32Array) : null;
  const details = data.details || [], detail = data.detail ? unpack(data.detail, Int32Array) : null;
  const values = data.values ? unpack(data.values, Float32Array) : null, ranks = data.ranks ? unpack(data.ranks, Float32Array) : null;
  const LIGHT = data.colours;
  const DARK = ["#62aee8", "#f5a55a", "#62c97f", "#f1706e", "#b99be0", "#c09080", "#eea3d5", "#b4c25c", "#4fd0e0", "#e5cb55",
    "#8f8fff", "#e07b39", "#3fbf95", "#ffa19d", "#a678d8", "#e2b98c", "#e05a9a", "#c9e86b", "#9fd0ff", "#bfae3a"];
  const SCALE = ["#4b2a83", "#3c5793", "#287f90", "#239287", "#35a774", "#62b955", "#9fc63a", "#e0cc2f"];
  const groups = []; // drawn in this order: {name, colour(dark), points, on}
  const grey = (dark) => dark ? "#59626b" : "#aab1b8";
  const label = (i) => codes ? (codes[i] < 0 ? "" : names[codes[i]]) : values ? (isFinite(values[i]) ? String(+values[i].toPrecision(5)) : "") : "";
  const bins = (count, bin) => {
    const sizes = new Uint32Array(count + 1);
    for (let i = 0; i < n; i++) sizes[bin(i) + 1]++;
    for (let k = 0; k < count; k++) sizes[k + 1] += sizes[k];
    const order = new Uint32Array(n), next = sizes.slice();
    for (let i = 0; i < n; i++) order[next[bin(i)]++] = i;
    return [order, sizes];
  };
  if (codes) {
    const shown = Math.min(names.length, LIGHT.length), last = names.length > shown ? shown : -1;
    const total = shown + 2, group = (i) => codes[i] < 0 ? shown + 1 : Math.min(codes[i], shown);
    const [order, starts] = bins(total, group), part = (k) => order.subarray(starts[k], starts[k + 1]);
    for (let k = 0; k < shown; k++) groups.push({ name: names[k], colour: (dark) => (dark ? DARK : LIGHT)[k % LIGHT.length], points: part(k), on: true });
    const more = [];
    if (last >= 0) more.push({ name: `${(names.length - shown).toLocaleString("en")} other classes`, colour: grey, points: part(shown), on: true });
    if (part(shown + 1).length) more.push({ name: "without a label", colour: grey, points: part(shown + 1), on: true });
    groups.push(...more);
  } else if (ranks) {
    const [order, starts] = bins(SCALE.length + 1, (i) => ranks[i] < 0 ? SCALE.length : Math.min(SCALE.length - 1, Math.floor(ranks[i] * SCALE.length)));
    for (let k = 0; k <= SCALE.length; k++) {
      const points = order.subarray(starts[k], starts[k + 1]);
      groups.push({ name: "", colour: (dark) => k < SCALE.length ? SCALE[k] : grey(dark), points, on: true });
    }
  } else {
    groups.push({ name: "", colour: (dark) => (dark ? DARK : LIGHT)[0], points: Uint32Array.from(ids.keys()), on: true });
  }
  const member = new Uint16Array(n);
  groups.forEach((g, k) => { for (const i of g.points) member[i] = k; });

  // Edges, by decreasing weight: so many of them are drawn as are at least as strong as the threshold.
  const links = data.edges ? unpack(data.edges, Uint32Array) : new Uint32Array(0), weights = data.weights ? unpack(data.weights, Float32Array) : null;
  let strong = links.length / 2, ends = null; // ends: of each node, its edges, made when first needed
  const edgesOf = (i) => {
    if (!ends) {
      const sizes = new Uint32Array(n + 1);
      for (const end of links) sizes[end + 1]++;
      for (let k = 0; k < n; k++) sizes[k + 1] += sizes[k];
      const order = new Uint32Array(links.length), next = sizes.slice();
      links.forEach((end, k) => { order[next[end]++] = k >> 1; });
      ends = [order, sizes];
    }
    return ends[0].subarray(ends[1][i], ends[1][i + 1]).filter((edge) => edge < strong);
  };

  const CELLS = 256, cell = (v) => v >> 8;
  const [sorted, starts] = bins(CELLS * CELLS, (i) => cell(at[2 * i + 1]) * CELLS + cell(at[2 * i]));

  const canvas = $("map"), pen = canvas.getContext("2d", { alpha: true }), tip = $("tip"), root = document.documentElement;
  let width = 1, height = 1, ratio = 1, scale = 1, left = 0, top = 0, hovered = -1, picked = -1, matches = [], waiting = false, still = true, whole = true, rest = 0;
  let printed = false;
  const isDark = () => printed ? false : root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const px = (i) => at[2 * i] * scale + left, py = (i) => (FULL - at[2 * i + 1]) * scale + top;
  const fit = () => {
    scale = Math.min(width, height) * 0.94 / FULL;
    left = (width - FULL * scale) / 2;
    top = (height - FULL * scale) / 2;
    whole = true; // until the map is moved
    redraw();
  };
  const least = () => Math.min(width, height) * 0.3 / FULL;
  const zoom = (factor, x, y) => {
    const next = Math.max(least(), Math.min(60, scale * factor));
    left = x - (x - left) * next / scale;
    top = y - (y - top) * next / scale;
    scale = next;
    moved();
  };
  const ring = (i, size, colour, wide) => {
    pen.strokeStyle = colour;
    pen.lineWidth = wide;
    pen.beginPath();
    pen.arc(px(i), py(i), size, 0, 7);
    pen.stroke();
  };
  // Points and edges are drawn on canvases that are kept. A large map is moved as a picture, and drawn anew when it rests:
  // points at once, edges in parts, each an even sample, so that the page answers meanwhile. What the picture does not cover
  // is shown by that of the whole map.
  const layer = () => { const own = document.createElement("canvas"); return { own, pen: own.getContext("2d"), state: "", look: "", drawn: false }; };
  const clear = (l, state, look) => {
    Object.assign(l, { state, look, scale, left, top, width, height, drawn: false });
    if (l.own.width !== canvas.width || l.own.height !== canvas.height) { l.own.width = canvas.width; l.own.height = canvas.height; }
    l.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    l.pen.globalAlpha = 1;
    l.pen.clearRect(0, 0, width, height);
  };
  const frame = (l) => { const by = scale / l.scale; return [left - l.left * by, top - l.top * by, l.width * by, l.height * by]; };
  const show = (l, on = pen) => { if (l.state) on.drawImage(l.own, ...frame(l)); };
  const dots = layer(), overview = layer();
  let web = layer(), next = layer(), part = 0, pace = 1, woven = 0; // edges: the last complete picture, and the one being drawn
  const HEAVY = 4000, PART = 3000;
  const heavy = () => n > HEAVY || strong > HEAVY;
  const strokeEdges = (on, first, step) => {
    on.beginPath();
    for (let k = first; k < strong; k += step) {
      const a = links[2 * k], b = links[2 * k + 1];
      const x = px(a), y = py(a), u = px(b), v = py(b);
      if ((x < 0 && u < 0) || (y < 0 && v < 0) || (x > width && u > width) || (y > height && v > height)) continue;
      if (!groups[member[a]].on || !groups[member[b]].on) continue;
      on.moveTo(x, y);
      on.lineTo(u, v);
    }
    on.stroke();
  };
  const weave = (state, look, dark) => { // so many parts in a frame that it takes about 30 ms
    if (next.state !== state) { clear(next, state, look); part = 0; }
    const parts = Math.max(1, Math.ceil(strong / PART)), now = performance.now();
    if (part) pace = now - woven > 35 ? Math.max(1, pace >> 1) : Math.min(32, pace + 1);
    woven = now;
    next.pen.strokeStyle = dark ? "#8a97a3" : "#6d7a86";
    next.pen.lineWidth = 0.8;
    next.pen.globalAlpha = Math.max(0.12, 0.5 - 0.075 * Math.log10(1 + strong));
    for (let k = 0; part < parts && (k < pace || printed); k++) strokeEdges(next.pen, part++, parts);
    if (part < parts) return;
    next.drawn = true;
    [web, next] = [next, web];
    next.state = "";
  };
  const drawPoints = (on, size, dark) => {
    on.globalAlpha = n > 20000 ? 0.75 : 0.85;
    for (let k = groups.length - 1; k >= 0; k--) {
      const group = groups[k];
      if (!group.on) continue;
      on.fillStyle = group.colour(dark);
      const round = size > 3 && group.points.length < 30000;
      if (round) on.beginPath();
      for (const i of group.points) {
        const x = px(i), y = py(i);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        if (round) { on.moveTo(x + size / 2, y); on.arc(x, y, size / 2, 0, 7); } else on.fillRect(x - size / 2, y - size / 2, size, size);
      }
      if (round) on.fill();
    }
  };
  const draw = () => {
    waiting = false;
    const dark = isDark(), ink = dark ? "#fff" : "#000";
    const look = [dark, width, height, ratio, groups.map((group) => +group.on).join("")].join();
    const of = [scale, left, top, look].join(), ofEdges = [of, strong].join();
    const zoomed = Math.sqrt(scale * FULL / Math.min(width, height));
    const size = Math.max(1.4, Math.min(9, (n > 20000 ? 1.6 : n > 3000 ? 2.6 : 4.2) * zoomed));
    const picture = !still && heavy() && dots.look === look;
    if (!picture && dots.state !== of) { clear(dots, of, look); drawPoints(dots.pen, size, dark); }
    if (!picture && links.length && web.state !== ofEdges) weave(ofEdges, look, dark);
    const complete = !links.length || web.state === ofEdges;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (picture) {
      const [x, y, w, h] = frame(dots);
      if (overview.look === look && (x > 0 || y > 0 || x + w < width || y + h < height)) { show(overview); pen.clearRect(x, y, w, h); }
    }
    if (links.length) show(web.look === look ? web : next);
    show(dots);
    if (heavy() && still && whole && complete && overview.state !== ofEdges) {
      clear(overview, ofEdges, look);
      overview.pen.setTransform(1, 0, 0, 1, 0, 0);
      overview.pen.drawImage(canvas, 0, 0);
    }
    root.dataset.edgesDrawn = complete;
    if (!picture && !complete) redraw();
    if (links.length && hovered >= 0) {
      pen.strokeStyle = ink;
      pen.lineWidth = 1;
      pen.beginPath();
      for (const edge of edgesOf(hovered)) {
        const other = links[2 * edge] === hovered ? links[2 * edge + 1] : links[2 * edge];
        if (groups[member[other]].on) { pen.moveTo(px(hovered), py(hovered)); pen.lineTo(px(other), py(other)); }
      }
      pen.stroke();
    }
    for (const i of matches) if (groups[member[i]].on) ring(i, size / 2 + 3, ink, 1.2);
    if (picked >= 0) { ring(picked, 11, ink, 2.5); ring(picked, 15, dark ? "#000" : "#fff", 1.5); }
    if (hovered >= 0) ring(hovered, size / 2 + 2, ink, 2);
    place();
  };
  const place = () => { // the tip stays with its point, wherever that is moved
    const x = hovered < 0 ? -1 : px(hovered), y = hovered < 0 ? -1 : py(hovered);
    tip.hidden = x < 0 || y < 0 || x > width || y > height;
    if (tip.hidden) return;
    tip.style.left = `${Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + 14 + tip.offsetHeight < height ? y + 14 : Math.max(4, y - 14 - tip.offsetHeight)}px`;
  };
  const moved = () => {
    still = whole = false;
    clearTimeout(rest);
    rest = setTimeout(() => { still = true; redraw(); }, 150);
    redraw();
  };
  const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
  const resize = () => {
    const box = canvas.parentElement.getBoundingClientRect(), fresh = width === 1;
    const kept = [(width / 2 - left) / scale, (height / 2 - top) / scale];
    if (box.width === width && box.height === height && ratio === devicePixelRatio) return;
    width = Math.max(50, box.width); height = Math.max(50, box.height); ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    if (fresh || whole) fit(); else { left = width / 2 - kept[0] * scale; top = height / 2 - kept[1] * scale; }
    draw(); // at once: a canvas that is resized is empty
  };
  const nearest = (x, y) => {
    const reach = 9 / scale, u = (x - left) / scale, v = FULL - (y - top) / scale;
    const clamp = (w) => Math.max(0, Math.min(CELLS - 1, cell(Math.max(0, w))));
    let best = -1, least = reach * reach;
    for (let row = clamp(v - reach); row <= clamp(v + reach); row++) {
      for (let column = clamp(u - reach); column <= clamp(u + reach); column++) {
        for (let k = starts[row * CELLS + column]; k < starts[row * CELLS + column + 1]; k++) {
          const i = sorted[k], d = (at[2 * i] - u) ** 2 + (at[2 * i + 1] - v) ** 2;
          if (d < least && groups[member[i]].on) { least = d; best = i; }
        }
      }
    }
    return best;
  };
  const title = (i) => label(i) ? `${ids[i]} · ${label(i)}` : ids[i];
  const point = (i) => {
    if (i === hovered) return;
    hovered = i;
    const edges = links.length && i >= 0 ? `\n${edgesOf(i).length.toLocaleString("en")} edges` : "";
    tip.textContent = i < 0 ? "" : title(i) + (detail && details[detail[i]] ? `\n${details[detail[i]]}` : "") + edges;
    redraw();
  };
  const pointers = new Map();
  const spot = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  let pressed = [0, 0];
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); pressed = spot(event); pointers.set(event.pointerId, pressed); });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("click", (event) => { // a finger does not hover: it taps
    const [x, y] = spot(event), i = nearest(x, y);
    point(i);
    if (i >= 0 && Math.hypot(x - pressed[0], y - pressed[1]) < 5) outside.onpick?.(ids[i]); // not the end of a move
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = spot(event), before = pointers.get(event.pointerId);
    if (!before) { point(nearest(x, y)); return; }
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (other) {
      const [a, b] = other[1];
      zoom(Math.hypot(x - a, y - b) / Math.max(1, Math.hypot(before[0] - a, before[1] - b)), (x + a) / 2, (y + b) / 2);
    } else { left += x - before[0]; top += y - before[1]; moved(); }
    pointers.set(event.pointerId, [x, y]);
  });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0016), ...spot(event)); }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...spot(event)));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (step) { left += step[0]; top += step[1]; moved(); event.preventDefault(); }
    if (event.key === "+" || event.key === "=") zoom(1.4, width / 2, height / 2);
    if (event.key === "-") zoom(1 / 1.4, width / 2, height / 2);
    if (event.key === "0") fit();
  });
  $("in").onclick = () => zoom(1.6, width / 2, height / 2);
  $("out").onclick = () => zoom(1 / 1.6, width / 2, height / 2);
  $("home").onclick = fit;
  const recolour = () => { paint(); redraw(); };
  $("theme").onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; recolour(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  for (const kind of ["beforeprint", "afterprint"]) addEventListener(kind, () => { printed = kind === "beforeprint"; paint(); draw(); });

  const go = (i) => {
    picked = i;
    whole = false;
    if (!groups[member[i]].on) { groups[member[i]].on = true; mark(); }
    scale = Math.max(scale, Math.min(width, height) * 4 / FULL);
    left = width / 2 - at[2 * i] * scale;
    top = height / 2 - (FULL - at[2 * i + 1]) * scale;
    point(i);
    redraw();
  };
  const add = (list, text, kind) => { const item = document.createElement("li"); item.textContent = text; if (kind) item.className = kind; list.append(item); return item; };
  const press = (item, act) => { // by click, or by Enter and the space bar
    item.tabIndex = 0;
    item.setAttribute("role", "button");
    item.addEventListener("click", act);
    item.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } });
  };
  const lower = ids.map((id) => id.toLowerCase()), low = names.map((name) => name.toLowerCase()), about = details.map((text) => text.toLowerCase());
  const search = $("search"), found = $("found");
  const find = () => {
    const word = search.value.trim().toLowerCase();
    found.textContent = ""; matches = []; picked = -1;
    point(-1);
    if (word) {
      const hits = codes ? low.map((name) => name.includes(word)) : [], told = about.map((text) => text.includes(word)), exact = [];
      for (let i = 0; i < n; i++) {
        if (lower[i] === word) exact.push(i);
        else if (lower[i].includes(word) || (codes && codes[i] >= 0 && hits[codes[i]]) || (detail && told[detail[i]])) matches.push(i);
      }
      matches = exact.concat(matches);
      const count = matches.length;
      for (const i of matches.slice(0, 50)) press(add(found, title(i)), () => go(i));
      add(found, count ? `${count.toLocaleString("en")} found${count > 50 ? ", the first 50 listed" : ""}` : "nothing found", "quiet");
      matches = matches.slice(0, 5000);
    }
    redraw();
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => { if (event.key === "Enter" && matches.length) go(matches[0]); });

  // For a page that this one is a part of: `onpick(id)` is called for a point that is clicked; `highlight` marks a protein and
  // others, and returns how many of those are on the map.
  const outside = window.phylocliMap = {
    onpick: null,
    recolour,
    highlight: (id, others) => {
      const place = new Map(ids.map((name, i) => [name, i]));
      picked = place.get(id) ?? -1;
      matches = others.map((name) => place.get(name)).filter((i) => i !== undefined);
      point(-1);
      redraw();
      return matches.length;
    },
  };
  if (links.length) {
    const slider = $("threshold"), count = links.length / 2, high = weights[0], low = weights[count - 1];
    const show = () => {
      const least = low + (high - low) * slider.value / slider.max;
      let first = 0, last = count; // the number of edges of at least this weight
      while (first < last) { const middle = (first + last) >> 1; if (weights[middle] >= least) first = middle + 1; else last = middle; }
      strong = +slider.value === 0 ? count : first;
      $("least").textContent = `edges of weight ≥ ${+least.toPrecision(3)}: ${strong.toLocaleString("en")}`;
      web.state = web.look = ""; // the first parts are shown at once
      redraw();
    };
    slider.addEventListener("input", show);
    $("strength").hidden = high <= low;
    show();
  }
  const keys = [], items = [];
  const paint = () => { const dark = isDark(); keys.forEach((key, k) => { key.style.background = groups[k].colour(dark); }); };
  const mark = () => {
    items.forEach((item, k) => { item.classList.toggle("off", !groups[k].on); item.setAttribute("aria-pressed", groups[k].on); });
    point(-1);
    redraw();
  };
  $("column").textContent = data.column || "";
  $("switches").hidden = !codes;
  if (codes) {
    groups.forEach((group, k) => {
      const item = add($("legend"), ""), key = document.createElement("span"), name = document.createElement("span"), count = document.createElement("span");
      key.className = "key"; name.textContent = group.name; count.className = "count"; count.textContent = group.points.length.toLocaleString("en");
      item.append(key, name, count); keys.push(key); items.push(item);
      press(item, () => { group.on = !group.on; mark(); });
      item.ondblclick = () => { groups.forEach((other, j) => { other.on = j === k; }); mark(); };
    });
    $("every").onclick = () => { groups.forEach((group) => { group.on = true; }); mark(); };
    $("none").onclick = () => { groups.forEach((group) => { group.on = false; }); mark(); };
  } else if (ranks) {
    const bar = document.createElement("div");
    bar.className = "scale"; bar.style.background = `linear-gradient(90deg, ${SCALE.join(",")})`;
    add($("legend"), "", "plain").append(bar);
    const ends = add($("legend"), "", "plain");
    for (const end of data.range) { const text = document.createElement("span"); text.textContent = String(+end.toPrecision(4)); ends.append(text); }
    add($("legend"), "coloured by rank", "quiet plain");
  }
  paint();
  mark();
  new ResizeObserver(resize).observe(canvas.parentElement);
  resize();
  root.dataset.ready = String(n);
})();
