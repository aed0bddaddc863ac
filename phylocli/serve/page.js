"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent), root = document.documentElement;
  history.replaceState(null, "", location.pathname + location.hash); // the token stays out of the history: a cookie has it

  const make = (tag, text = "", kind = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const say = (text, bad = false) => { $("message").textContent = text; $("message").classList.toggle("bad", bad); };
  const ask = async (path, body) => {
    const answer = await fetch(path, body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
    throw new Error([told.error, told.why, told.fix].filter(Boolean).join("\n"));
  };
  const trouble = (error) => say(error instanceof TypeError ? "No answer: 'phylocli serve' has ended." : error.message, true);
  const few = (value, digits = 3) => value === null || value === undefined ? "–"
    : value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? value.toExponential(digits - 1) : String(+value.toPrecision(digits));
  const link = (id) => { const anchor = make("a", id); anchor.href = `#protein=${encodeURIComponent(id)}`; return anchor; };

  // What is shown: `request` is what was sent, `answer` the hits, `query` the number of the query whose hits are listed.
  // `wanted` is the last search, answered or not.
  let wanted = null, request = null, answer = null, query = 0, aligned = null, latest = 0;

  const options = () => {
    const number = Number($("number").value), limit = $("evalue").value.trim();
    if (!Number.isInteger(number) || number < 1 || number > Number($("number").max)) throw new Error(`The number of hits must be a whole number from 1 to ${$("number").max}.`);
    if (limit && !(Number(limit) >= 0)) throw new Error("The maximum E-value must be a number, such as 0.001.");
    return { number, max_evalue: limit ? Number(limit) : null, align: $("align").value, translate: $("translate").checked };
  };
  const busy = (on) => { $("results").setAttribute("aria-busy", on); if (on) say("Searching…"); };

  const fail = (error) => { // what was asked for before is no longer shown
    request = null; answer = null;
    closeAlignment();
    clear("Results");
    highlight(null, []);
    trouble(error);
  };

  const search = async (what) => {
    const turn = ++latest;
    wanted = what;
    try {
      const sent = { ...what, ...options() };
      busy(true);
      const found = await (await ask("/api/search", sent)).json();
      if (turn !== latest) return;
      request = sent; answer = found; query = 0;
      closeAlignment();
      show();
    } catch (error) { if (turn === latest) fail(error); } finally { if (turn === latest) busy(false); }
  };
  const find = async (text) => {
    const turn = ++latest;
    wanted = null;
    try {
      const found = await (await ask(`/api/find?text=${encodeURIComponent(text)}`)).json();
      if (turn !== latest) return;
      if (found.total === 1) { location.hash = `protein=${encodeURIComponent(found.proteins[0].id)}`; return; }
      request = null; answer = null;
      closeAlignment();
      list(text, found);
    } catch (error) { if (turn === latest) fail(error); }
  };

  const head = (columns) => {
    const row = make("tr");
    for (const [name, kind] of columns) { const cell = make("th", name, kind); cell.scope = "col"; row.append(cell); }
    $("table").tHead.replaceChildren(row);
  };
  const clear = (title) => {
    $("results-title").textContent = title;
    $("intro").hidden = true; $("about").hidden = true; $("export").hidden = true; $("table").hidden = true;
    $("about").replaceChildren(); $("table").tBodies[0].replaceChildren(); $("notes").textContent = "";
  };
  const texts = (row, known) => { for (const name of data.columns) row.append(make("td", known[name] || "", "text")); };

  const list = (text, found) => { // proteins by id, description, species or family
    clear("Proteins");
    if (!found.total) {
      say(`No protein with '${text}'.`);
      const again = make("button", "Search for it as a sequence");
      again.type = "button";
      again.onclick = () => search({ sequences: text });
      $("about").append(again);
      $("about").hidden = false;
    } else {
      const shown = found.proteins.length;
      say(`${found.total.toLocaleString("en")} proteins with '${text}'${shown < found.total ? `; the first ${shown} are listed` : ""}. Choose one to see its neighbours.`);
      head([["protein", ""], ...data.columns.map((name) => [name.replaceAll("_", " "), ""])]);
      for (const protein of found.proteins) {
        const row = make("tr"), cell = make("td");
        cell.append(link(protein.id));
        row.append(cell);
        texts(row, protein.known);
        $("table").tBodies[0].append(row);
      }
      $("table").hidden = false;
    }
    highlight(null, found.proteins.map((protein) => protein.id));
  };

  const NUMBERS = { // columns of hits: heading, and how they are shown
    cosine: ["cosine", (value) => value.toFixed(4)], evalue: ["E-value", few], residues_evalue: ["E-value, residues", few],
    align_evalue: ["E-value, phmmer", few], bits: ["bits", (value) => value === null ? "–" : value.toFixed(1)],
    identity: ["identity", (value) => value === null ? "–" : `${(100 * value).toFixed(0)} %`],
  };
  const place = (hit, side) => hit[`${side}_start`] == null ? "–" : `${hit[`${side}_start`]}–${hit[`${side}_end`]}`;

  const show = () => { // the hits of one query
    const asked = answer.queries[query], hits = answer.hits.filter((hit) => hit.query === asked.id);
    clear(request.protein ? `Neighbours of ${asked.id}` : `Hits of ${asked.id}`);
    const about = $("about");
    if (answer.queries.length > 1) {
      const label = make("label", "Query "), choice = make("select");
      answer.queries.forEach((one, k) => { const item = make("option", one.id); item.value = k; item.selected = k === query; choice.append(item); });
      choice.onchange = () => { query = Number(choice.value); closeAlignment(); show(); };
      label.append(choice);
      about.append(label);
    }
    const facts = [asked.length ? `${asked.length.toLocaleString("en")} residues` : "", ...data.columns.map((name) => asked.known?.[name])].filter(Boolean);
    if (facts.length) about.append(make("span", `${answer.queries.length > 1 ? " " : ""}${facts.join(" · ")}`));
    about.hidden = !about.childNodes.length;
    const distinct = new Set(hits.map((hit) => hit.target));
    say(hits.length ? `${distinct.size} ${distinct.size === 1 ? "hit" : "hits"}.` : "No hits within these limits.");
    $("notes").textContent = answer.notes.join("\n");
    highlight(request.protein, [...distinct]);
    if (!hits.length) return;
    const numbers = Object.keys(NUMBERS).filter((name) => name in hits[0]), isAligned = "query_start" in hits[0];
    head([["", "number"], ["protein", ""], ...(data.aligns ? [["", "act"]] : []), ...numbers.map((name) => [NUMBERS[name][0], "number"]),
      ...(isAligned ? [["query", "number"], ["target", "number"]] : []),
      ...data.columns.map((name) => [name.replaceAll("_", " "), ""])]);
    for (const hit of hits) {
      const row = make("tr"), cell = make("td");
      row.append(make("td", String(hit.rank), "number"));
      cell.append(link(hit.target));
      row.append(cell);
      if (data.aligns) {
        const act = make("td", "", "act"), button = make("button", "Align");
        button.type = "button";
        button.setAttribute("aria-label", `align with ${hit.target}`);
        button.onclick = () => align(hit.target, row);
        act.append(button);
        row.append(act);
      }
      for (const name of numbers) {
        const number = make("td", NUMBERS[name][1](hit[name]), "number");
        number.title = hit[name] === null ? "unknown" : String(hit[name]);
        row.append(number);
      }
      if (isAligned) row.append(make("td", place(hit, "query"), "number"), make("td", place(hit, "target"), "number"));
      texts(row, hit.known);
      $("table").tBodies[0].append(row);
    }
    $("table").hidden = false;
    $("export").hidden = false;
    $("scroll").scrollTop = 0;
  };

  for (const button of $("export").querySelectorAll("button")) button.onclick = async () => {
    try {
      const file = await (await ask(`/api/${button.dataset.format}`, request)).blob(), anchor = make("a");
      anchor.href = URL.createObjectURL(file);
      anchor.download = `${(request.protein || "hits").replace(/[^\w.-]+/g, "_")}.${button.dataset.format}`;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
    } catch (error) { trouble(error); }
  };

  // Alignments: residues coloured by class, identities in bold with | between them, similar ones with :
  const CLASSES = { aliphatic: "AILMV", aromatic: "FHWY", positive: "KR", negative: "DE", polar: "NQST", glycine: "G", proline: "P", cysteine: "C" };
  const classOf = {};
  for (const [name, letters] of Object.entries(CLASSES)) for (const letter of letters) classOf[letter] = name;
  for (const [name, letters] of Object.entries(CLASSES)) $("key").append(make("span", `${name} ${letters}`, name));
  $("key").append(document.createTextNode(" | identical, : of the same class"));
  const middle = (a, b) => a === b && a !== "X" && a !== "*" ? "|" : classOf[a] && classOf[a] === classOf[b] ? ":" : " ";
  const residues = (row, other) => {
    const line = make("span");
    for (let k = 0; k < row.length; k++) {
      const kinds = [classOf[row[k]], middle(row[k], other[k]) === "|" ? "same" : ""].filter(Boolean).join(" ");
      line.append(kinds ? make("span", row[k], kinds) : document.createTextNode(row[k]));
    }
    return line;
  };
  let printed = false;
  const drawn = () => { // blocks as wide as the page, on paper of 60 columns
    const box = $("alignments");
    box.replaceChildren();
    if (!aligned) return;
    const { target, found } = aligned, asked = answer.queries[query].id;
    if (!found.alignments.length) box.append(make("p", "The two sequences do not align."));
    const letter = make("span", "M".repeat(10), "block");
    letter.style.display = "inline-block";
    box.append(letter);
    const size = letter.getBoundingClientRect().width / 10, narrow = innerWidth <= 860;
    letter.remove();
    const columns = printed ? 60 : Math.max(10, Math.min(120, Math.floor((box.clientWidth / size - (narrow ? 8 : 16) - 14) / 10) * 10));
    found.alignments.forEach((one, number) => {
      const gaps = one.query.length - [...one.query].filter((c, k) => c !== "-" && one.target[k] !== "-").length;
      const words = [number === 0 && found.evalue !== null ? `E-value ${few(found.evalue)}` : "", one.bits !== null ? `${one.bits.toFixed(1)} bits` : "",
        `${one.identical} of ${one.length} columns identical (${(100 * one.identical / one.length).toFixed(0)} %)`, gaps ? `${gaps} in gaps` : "no gaps"];
      box.append(make("p", `${found.alignments.length > 1 ? `${number + 1}. ` : ""}${words.filter(Boolean).join(", ")}`, "summary"));
      let i = one.query_start, j = one.target_start;
      for (let start = 0; start < one.query.length; start += columns) {
        const top = one.query.slice(start, start + columns), bottom = one.target.slice(start, start + columns);
        const count = (row) => row.replaceAll("-", "").length, block = make("div", "", "block");
        const side = (name, from, row, other) => {
          const end = from + count(row) - 1, label = make("span", name, "name");
          label.title = name;
          block.append(label, make("span", String(Math.min(from, Math.max(end, 1))), "at"), residues(row, other), make("span", String(end), "at"));
          return end + 1;
        };
        block.setAttribute("role", "group");
        block.setAttribute("aria-label", `columns ${start + 1} to ${start + top.length}`);
        i = side(asked, i, top, bottom);
        block.append(make("span"), make("span"), make("span", [...top].map((c, k) => middle(c, bottom[k])).join("")), make("span"));
        j = side(target, j, bottom, top);
        box.append(block);
      }
    });
  };
  const align = async (target, row) => {
    const asked = answer.queries[query];
    try {
      say("Aligning…");
      const who = request.protein ? { protein: request.protein } : { sequence: asked.sequence };
      const found = await (await ask("/api/align", { ...who, target, method: $("method").value })).json();
      aligned = { target, found, row };
      for (const other of $("table").querySelectorAll("tr.aligned")) other.classList.remove("aligned");
      row?.classList.add("aligned");
      $("alignment-title").textContent = `${asked.id} and ${target}`;
      $("alignment").hidden = false;
      drawn();
      say("");
      $("alignment-title").focus();
      $("alignment").scrollIntoView({ block: "nearest" });
    } catch (error) { trouble(error); }
  };
  const closeAlignment = () => { aligned = null; $("alignment").hidden = true; for (const row of $("table").querySelectorAll("tr.aligned")) row.classList.remove("aligned"); };
  $("method").onchange = () => { if (aligned) align(aligned.target, aligned.row); };
  $("close").onclick = () => { const row = aligned?.row; closeAlignment(); row?.querySelector("button")?.focus(); };
  for (const kind of ["beforeprint", "afterprint"]) addEventListener(kind, () => { printed = kind === "beforeprint"; drawn(); });
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawn, 150); });

  // The map is a page of its own in a frame; see `phylocliMap` in its script.
  let marks = [null, []];
  const map = () => $("map").hidden ? null : $("map").contentWindow?.phylocliMap;
  const highlight = (id, others) => {
    marks = [id, others];
    const shown = map()?.highlight(id, others);
    if (shown !== undefined) $("map-message").textContent = others.length && shown < others.length ? `${shown} of ${others.length} are on the map.` : "";
  };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const recolour = () => {
    const inner = $("map").contentDocument?.documentElement;
    if (!inner || !root.dataset.theme) return;
    inner.dataset.theme = root.dataset.theme;
    map()?.recolour();
  };
  $("theme").onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; recolour(); };
  $("map").onload = () => {
    const inner = map();
    if (!inner) return;
    inner.onpick = (id) => { location.hash = `protein=${encodeURIComponent(id)}`; };
    recolour();
    highlight(...marks);
  };
  let version = 0;
  const watch = async () => {
    try {
      const status = await (await ask("/api/status")).json();
      $("map-message").textContent = status.message;
      if (status.version !== version) { // principal components may come first
        version = status.version;
        $("map").hidden = false;
        $("map").src = `/map?version=${version}`;
      }
      if (status.state === "working") setTimeout(watch, 1000);
    } catch (error) { $("map-message").textContent = error instanceof TypeError ? "" : error.message; }
  };

  // Text that is certainly a sequence: FASTA, several lines of letters, or many letters without blanks.
  const isSequence = (text) => /^\s*>/.test(text) || /^[A-Za-z*\-.\s\d]*$/.test(text) && (/^[A-Za-z*\-.]{25,}$/.test(text) || /[A-Za-z]{10,}\s*\n\s*[A-Za-z\d]/.test(text));
  const submit = () => {
    const text = $("text").value.trim();
    if (!text) { say("Type a name, or paste a sequence.", true); return; }
    if (isSequence(text)) {
      history.replaceState(null, "", location.pathname);
      search({ sequences: text });
    } else if (location.hash === `#find=${encodeURIComponent(text)}`) go();
    else location.hash = `find=${encodeURIComponent(text)}`;
  };
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  $("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
  });
  for (const id of ["number", "evalue", "align", "translate"]) $(id).addEventListener("change", () => {
    if (wanted && (id !== "translate" || wanted.sequences)) search(wanted);
  });
  $("text").placeholder = data.example;
  const go = () => { // the address says what is shown, so that links and the back button work
    const [, kind, value] = location.hash.match(/^#(protein|find)=(.*)$/) || [];
    if (!kind) return;
    let text = "";
    try { text = decodeURIComponent(value); } catch {
      latest++;
      wanted = null;
      fail(new Error(`The address ends with '${location.hash}', in which a % is not followed by the code of a character.`));
      return;
    }
    if (kind === "protein") search({ protein: text }); else { $("text").value = text; find(text); }
  };
  addEventListener("hashchange", go);
  watch();
  go();
  root.dataset.ready = "yes";
})();
