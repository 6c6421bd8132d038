
// The list of branches, kept up to date. Without it the page is whole; it only does not change by itself.
(() => {
  "use strict";
  const RETRY_MS = [2000, 15000]; // the first and the longest pause before another try, each twice the one before
  const LOST_MS = 4000; // a reload of nginx ends every stream; who is back by then says nothing of it
  const HIDDEN_MS = 60000; // nobody looks: do not make anybody work for it
  const AGES_MS = 15000;
  const PIECES = ["alarms", "counts", "left-out", "frontends"];

  const by = (id) => document.getElementById(id);
  const board = by("board");
  const table = by("branches");
  const input = by("q");
  const live = by("live");
  const found = by("found");
  let version = board.dataset.version;
  let isFiltered = "filtered" in board.dataset; // by the server: other branches are not in the page
  let stream = null;
  let pause = RETRY_MS[0];
  let lost = 0;
  let again = 0;
  let hidden = 0;

  // --- times ---

  const ago = (at) => {
    const passed = (Date.now() - at) / 1000;
    if (Number.isNaN(passed)) return "";
    if (passed < 60) return "just now";
    const [unit, name] = passed < 3600 ? [60, "min"] : passed < 172800 ? [3600, "h"] : [86400, "days"];
    return `${Math.floor(passed / unit)} ${name} ago`;
  };
  const age = (root) => {
    for (const time of root.querySelectorAll("time[title]")) {
      const text = ago(Date.parse(time.dateTime));
      if (text && time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(() => document.hidden || age(document), AGES_MS);
  document.addEventListener("pointerover", (event) => {
    const time = event.target.closest?.("time[title]");
    const at = time ? Date.parse(time.dateTime) : NaN;
    if (!Number.isNaN(at)) time.title = new Date(at).toLocaleString();
  });

  // --- search ---

  const searched = (row) => row.dataset.q ?? (row.dataset.q = row.textContent.toLowerCase());
  // an address of a branch is searched as well, as it was copied from somewhere
  const wordOf = (word) => word.replace(/^https?:\/\//, "").split(`.${board.dataset.domain}`)[0];
  const words = () => input.value.toLowerCase().split(/\s+/).map(wordOf).filter(Boolean);
  const matches = (row, wanted) => wanted.every((word) => searched(row).includes(word));
  let telling = 0;

  function filter() {
    const wanted = words();
    let shown = 0;
    for (const row of table.tBodies) {
      const isShown = matches(row, wanted);
      shown += isShown;
      if (row.hidden === isShown) row.hidden = !isShown;
    }
    const count = table.tBodies.length;
    by("empty").hidden = count > 0;
    table.hidden = shown === 0;
    for (const link of by("counts").querySelectorAll("a")) {
      const isCurrent = wanted.length === 1 && queryOf(link) === wanted[0];
      if (isCurrent) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    clearTimeout(telling);
    // ears hear of it when the typing has paused
    telling = setTimeout(() => {
      const text = wanted.length && count ? `${shown || "None"} of ${count} branches` : "";
      if (found.textContent !== text) found.textContent = text;
      const query = input.value.trim();
      history.replaceState(null, "", query ? `/?q=${encodeURIComponent(query)}` : "/");
    }, 300);
  }

  function search() {
    if (isFiltered) fetchAnew();
    else filter();
  }

  const queryOf = (link) => new URL(link.href).searchParams.get("q") ?? "";
  input.addEventListener("input", search);
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    if (!input.value) input.blur();
    input.value = "";
    search();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
  board.addEventListener("click", (event) => {
    const link = event.target.closest("#counts a, #alarms a[href^='/?q='], #found a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    // unlike typing, a click is a step that one can go back
    history.pushState(null, "", link.href);
    input.value = queryOf(link);
    search();
  });
  addEventListener("popstate", () => {
    input.value = new URL(location.href).searchParams.get("q") ?? "";
    search();
  });

  // --- changes ---

  const stops = "a, summary, input, [tabindex]";
  // puts one element in another's place; what was open stays open, what had the focus keeps it
  function replace(old, fresh) {
    for (const open of old.querySelectorAll("details[open]")) {
      const id = open.closest("[id]").id;
      const same = fresh.querySelector(`#${CSS.escape(id)} details`);
      if (same) same.open = true;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const id = focused?.closest("[id]").id;
    const place = focused ? [...focused.closest("[id]").querySelectorAll(stops)].indexOf(focused) : -1;
    old.replaceWith(fresh);
    if (focused) (by(id)?.querySelectorAll(stops)[place] ?? table).focus({ preventScroll: true });
  }

  function made(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  }

  function showPiece(id, html) {
    const fresh = by(id).cloneNode(false);
    fresh.innerHTML = html;
    replace(by(id), fresh);
  }

  function showRow({ id, after, html }) {
    const fresh = made(html);
    const old = by(id);
    if (old) return replace(old, fresh);
    fresh.classList.add("new");
    const before = after ? by(after) : table.tHead;
    // its place is not in sight if the server has filtered
    if (before) before.after(fresh);
    else table.append(fresh);
  }

  function showTraffic(id, [requests, errors, last]) {
    const row = by(id);
    if (!row) return;
    row.querySelector(".rate").textContent = requests;
    row.querySelector(".errors").textContent = errors;
    const cell = row.querySelector(".last");
    let time = cell.querySelector("time");
    if (!last) return cell.replaceChildren();
    if (!time) cell.append((time = document.createElement("time")));
    time.dateTime = last;
    time.title = last;
    time.textContent = ago(Date.parse(last));
  }

  function show(parts) {
    const wanted = isFiltered ? words() : [];
    for (const row of parts.rows ?? []) {
      if (!isFiltered || by(row.id) || matches(made(row.html), wanted)) showRow(row);
    }
    for (const id of parts.gone ?? []) by(id)?.remove();
    for (const [id, cells] of Object.entries(parts.traffic ?? {})) showTraffic(id, cells);
    for (const [id, html] of Object.entries(parts.pieces ?? {})) if (by(id)) showPiece(id, html);
    if (isFiltered) table.hidden = !table.tBodies.length;
    else if (parts.rows || parts.gone || parts.pieces) filter();
  }

  // the whole page, for who has missed too much
  let isFetching = false;
  async function fetchAnew() {
    if (isFetching) return;
    isFetching = true;
    try {
      const response = await fetch("/", { headers: { Accept: "text/html" }, cache: "no-store" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("board");
      if (!response.ok || !fresh) throw new Error(`status ${response.status}`);
      for (const id of PIECES) replace(by(id), document.adoptNode(page.getElementById(id)));
      const rows = document.adoptNode(page.getElementById("branches"));
      const kept = document.createElement("table");
      kept.append(...table.tBodies);
      table.append(...rows.tBodies);
      keep(kept);
      version = fresh.dataset.version || version;
      board.dataset.version = version;
      isFiltered = false;
      filter();
    } catch {
      // what stands here stays; the stream tells whether anybody is there
    } finally {
      isFetching = false;
    }
  }

  // open details stay open when all rows have come anew
  function keep(kept) {
    for (const open of kept.querySelectorAll("details[open]")) {
      const same = by(open.closest("[id]")?.id)?.querySelector("details");
      if (same) same.open = true;
    }
  }

  // --- the stream ---

  function say(text, kind) {
    if (live.textContent !== text) live.textContent = text;
    live.className = `live ${kind}`;
  }

  function heard() {
    clearTimeout(lost);
    lost = 0;
    pause = RETRY_MS[0];
    say("Live", "on");
  }

  function missed() {
    lost ||= setTimeout(() => say("Connection lost", "off"), LOST_MS);
    if (stream.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    stop();
    again = setTimeout(start, pause * (0.75 + Math.random() / 2));
    pause = Math.min(2 * pause, RETRY_MS[1]);
  }

  function start() {
    if (stream) return;
    clearTimeout(again);
    stream = new EventSource(`/events?since=${encodeURIComponent(version)}`);
    stream.onopen = heard;
    stream.onerror = missed;
    stream.addEventListener("parts", (event) => {
      version = event.lastEventId || version;
      show(JSON.parse(event.data));
    });
    stream.addEventListener("anew", () => setTimeout(fetchAnew, 1000 * Math.random()));
  }

  function stop() {
    clearTimeout(again);
    stream?.close();
    stream = null;
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (!document.hidden) {
      age(document);
      start();
    } else {
      hidden = setTimeout(() => {
        stop();
        clearTimeout(lost);
        lost = 0;
        say("Paused", "");
      }, HIDDEN_MS);
    }
  });
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
  age(document);
  if (input.value && !isFiltered) filter();
})();
