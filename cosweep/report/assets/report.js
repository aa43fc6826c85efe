"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const fail = (text) => { byId("trouble").hidden = false; byId("trouble").textContent = text; };
  window.addEventListener("error", (event) => fail(`This page's script failed: ${event.message}`));
  window.addEventListener("unhandledrejection", (event) => fail(`This page's script failed: ${event.reason}`));
  if (typeof DecompressionStream === "undefined") {
    fail("This browser is too old for the diagrams (it lacks DecompressionStream); see the figures and tables beside this page.");
    return;
  }
  const library = document.createElement("script");
  library.textContent = await unpack("plotly-packed");
  document.head.append(library);
  const data = JSON.parse(await unpack("data-packed"));
  const CONFIG = { responsive: true, displaylogo: false, plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "sendChartToCloud"] };

  const bar = { orientation: "h", y: 1.02, yanchor: "bottom", thickness: 10, len: 1, title: { text: "P(CO)", side: "top" } };
  const narrow = (trace) => {
    if (trace.colorbar) return { ...trace, colorbar: bar };
    return trace.marker && trace.marker.colorbar ? { ...trace, marker: { ...trace.marker, colorbar: bar } } : trace;
  };
  const draw = (id, figure) => {
    const traces = innerWidth < 600 ? figure.data.map(narrow) : figure.data;
    return Plotly.react(id, traces, figure.layout, CONFIG);
  };
  const option = (label, value) => new Option(label, value);
  const shown = (kind, value) => {
    if (value === null || value === undefined) return "-";
    if (kind === "pixels") return value === 0 ? "0" : `${+(value * 255).toFixed(2)}/255`;
    return typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(4)) : String(value);
  };
  const column = Object.fromEntries(data.columns.map((c, i) => [c.name, i]));
  const rowOf = new Map(data.trials.map((row) => [row[column.trial_id], row]));
  const plain = new Set(["state", "status", "co_step", "co_epoch", "clean_acc", "fgsm_acc", "pgd_acc", "robust_acc", "wall_seconds"]);
  const named = (row) => data.columns
    .map((c, i) => (plain.has(c.name) || row[i] === null ? null : c.name === "trial_id" ? row[i] : `${c.name} ${shown(c.kind, row[i])}`))
    .filter((text) => text !== null).join(", ");

  // --- where ---
  const showSlice = () => {
    const slice = data.diagrams[byId("axes").value].slices[byId("slice").value];
    draw("phase", slice.figure);
    byId("caption").textContent = slice.caption;
    byId("picked").replaceChildren();
  };
  const showCrossings = ({ slices, default: inFile }) => {
    const texts = slices.flatMap((slice) => slice.crossings);
    byId("crossings").hidden = !texts.length;
    byId("crossings").open = texts.length <= 12;
    byId("crossings").querySelector("ul").replaceChildren(...texts.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    byId("crossings").querySelector(".note span").hidden = !inFile;
    byId("no-crossings").hidden = Boolean(texts.length) || !slices.some((slice) => slice.sought);
  };
  const showAxes = () => {
    const { slices } = data.diagrams[byId("axes").value];
    showCrossings(data.diagrams[byId("axes").value]);
    byId("slice").replaceChildren(...slices.map((s, i) => option(s.where || "all trials", i)));
    byId("slice-label").hidden = slices.length < 2;
    showSlice();
  };
  const link = (id) => {
    const anchor = document.createElement("a");
    anchor.href = `#trial=${id}`;
    anchor.textContent = id;
    anchor.onclick = () => { if (location.hash === anchor.hash) fromAddress(true); };
    return anchor;
  };
  if (data.diagrams.length) {
    byId("axes").replaceChildren(...data.diagrams.map((d, i) => option(d.label, i)));
    byId("axes").onchange = showAxes;
    byId("slice").onchange = showSlice;
    showAxes();
    byId("phase").on("plotly_click", (event) => {
      const [, ...ids] = event.points[0].customdata || [""];
      byId("picked").replaceChildren(document.createTextNode(`${ids.length} ${ids.length === 1 ? "trial" : "trials"}: `), ...ids.map(link));
    });
  } else {
    byId("where").querySelector(".controls").remove();
    byId("phase").textContent = data.trials.length ? "All trials failed." : "No trial has finished yet.";
  }

  // --- when ---
  const showGroups = () => {
    const chosen = data.survival[byId("groups").value];
    draw("onset", chosen.figure);
    byId("logrank").textContent = chosen.note;
  };
  if (data.survival.length) {
    byId("groups").replaceChildren(...data.survival.map((s, i) => option(s.label, i)));
    byId("groups").onchange = showGroups;
    showGroups();
  } else {
    byId("when").querySelector(".controls").remove();
    byId("onset").textContent = "No trial yet that broke or stayed healthy to its end.";
  }

  // --- one trial ---
  const STYLES = {
    clean_acc: { color: "#9a9a9a", dash: "dot" }, fgsm_acc: { color: "#e0a100", dash: "dash" },
    pgd_acc: { color: "#00234e", dash: "solid" }, grad_cos: { color: "#7a7a7a", dash: "dashdot" },
  };
  const FRACTIONS = /_acc$|_share$|_cos$/;
  const showCurves = (id) => {
    const curve = data.curves[id] || { step: [] };
    const names = Object.keys(curve).filter((n) => n !== "step" && curve[n].some((v) => v !== null));
    const others = names.filter((n) => !FRACTIONS.test(n));
    const kept = byId("right").value;
    byId("right").replaceChildren(option("nothing", ""), ...others.map((n) => option(n, n)));
    byId("right").value = others.includes(kept) ? kept : "";
    const right = byId("right").value;
    const traces = names.filter((n) => FRACTIONS.test(n) || n === right).map((n) => ({
      type: "scatter", mode: "lines", name: n, x: curve.step, y: curve[n], yaxis: n === right ? "y2" : "y",
      line: { width: 2.2, ...(STYLES[n] || { dash: "longdash" }) },
      visible: ["clean_acc", "fgsm_acc", "pgd_acc", right].includes(n) ? true : "legendonly",
    }));
    const shapes = [];
    const annotations = [];
    if (data.breaks[id]) {
      const [low, step, high] = data.breaks[id];
      const tall = { yref: "paper", y0: 0, y1: 1 };
      shapes.push({ type: "rect", ...tall, x0: low, x1: high, fillcolor: "#dddddd", line: { width: 0 }, layer: "below" });
      shapes.push({ type: "line", ...tall, x0: step, x1: step, line: { width: 2 } });
      annotations.push({ x: step, y: 1, yref: "paper", yanchor: "top", xanchor: step > curve.step.at(-1) / 2 ? "right" : "left",
        text: `<b>CO at step ${step}</b>`, showarrow: false, bgcolor: "rgba(255,255,255,0.8)" });
    }
    const layout = {
      height: 420, margin: { l: 55, r: right ? 65 : 20, t: 30, b: 50 }, shapes, annotations, hovermode: "x unified",
      font: { family: "system-ui, sans-serif", size: 13 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "normal" }, showlegend: true,
      xaxis: { title: { text: "step" } }, yaxis: { title: { text: "fraction" }, range: [-0.03, 1.03] },
    };
    if (right) layout.yaxis2 = { overlaying: "y", side: "right", showgrid: false, title: { text: right } };
    draw("curves", { data: traces, layout });
  };
  const showTrial = (id) => {
    const row = rowOf.get(id);
    if (!row) return;
    byId("which").value = id;
    const reason = data.reasons[id] ? `: ${data.reasons[id].split("\n")[0]}` : "";
    byId("verdict").textContent = `${row[column.status]}, ${shown("text", row[column.state])}${reason}`;
    showCurves(id);
    const picture = data.examples[id];
    byId("examples").hidden = !picture;
    if (picture) byId("examples").querySelector("img").src = picture;
    const some = Object.keys(data.examples);
    byId("no-examples").hidden = Boolean(picture);
    byId("no-examples").replaceChildren(...(some.length
      ? [document.createTextNode("Example images are drawn for "), ...some.flatMap((t) => [link(t), document.createTextNode(" ")])]
      : [document.createTextNode("No example images were kept; probe.snapshots: 2 in the definition keeps two a trial.")]));
    byId("spec").textContent = data.specs[id] ? JSON.stringify(data.specs[id], null, 1) : "see spec_json in trials.csv";
    for (const line of byId("table").tBodies[0].rows) line.classList.toggle("chosen", line.dataset.id === id);
  };
  const fromAddress = (scroll) => {
    const match = location.hash.match(/^#trial=(.+)$/);
    if (match && rowOf.has(match[1])) {
      showTrial(match[1]);
      if (scroll) byId("trial").scrollIntoView();
    }
  };
  const go = (id) => { location.hash = `trial=${id}`; };
  const move = (by) => {
    const list = byId("which");
    const place = (list.selectedIndex + by + list.length) % list.length;
    history.replaceState(null, "", `#trial=${list.options[place].value}`);
    showTrial(list.options[place].value);
  };
  byId("which").replaceChildren(...data.trials.map((row) => option(`${named(row)}: ${shown("text", row[column.state])}`, row[column.trial_id])));
  byId("which").onchange = (event) => { history.replaceState(null, "", `#trial=${event.target.value}`); showTrial(event.target.value); };
  byId("right").onchange = () => showCurves(byId("which").value);
  byId("previous").onclick = () => move(-1);
  byId("next").onclick = () => move(1);
  byId("thinned").hidden = !data.thinned;
  window.addEventListener("hashchange", () => fromAddress(true));

  // --- all trials ---
  const PAGE = 30;
  const state = { sort: null, down: false, filters: data.columns.map(() => ""), all: false };
  const number = (text) => {
    const parts = text.split("/").map((part) => (part.trim() === "" ? NaN : Number(part)));
    return parts.length === 2 ? parts[0] / parts[1] : parts.length === 1 ? parts[0] : NaN;
  };
  const matches = (filter, kind, value) => {
    if (filter === "-") return value === null;
    const compared = filter.match(/^(<=|>=|<|>|=)(.*)$/);
    if (compared && kind !== "text") {
      const limit = number(compared[2]);
      if (Number.isNaN(limit)) return true;
      if (value === null) return false;
      const gap = value - limit;
      const same = Math.abs(gap) <= 1e-9 * Math.abs(limit);
      return { "<": gap < 0 && !same, ">": gap > 0 && !same, "<=": gap < 0 || same, ">=": gap > 0 || same, "=": same }[compared[1]];
    }
    const text = shown(kind, value).toLowerCase();
    return compared && compared[1] === "=" ? text === compared[2].trim().toLowerCase() : text.includes(filter.toLowerCase());
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
    return state.down ? -order : order;
  };
  const found = () => {
    const rows = data.trials.filter((row) => data.columns.every((c, i) => !state.filters[i] || matches(state.filters[i], c.kind, row[i])));
    if (state.sort !== null) rows.sort((a, b) => compare(a[state.sort], b[state.sort]));
    return rows;
  };
  const body = byId("table").tBodies[0];
  const fill = () => {
    const rows = found();
    const visible = state.all ? rows : rows.slice(0, PAGE);
    body.replaceChildren(...visible.map((row) => {
      const line = document.createElement("tr");
      line.dataset.id = row[column.trial_id];
      line.classList.toggle("chosen", line.dataset.id === byId("which").value);
      data.columns.forEach((c, i) => {
        const cell = line.insertCell();
        if (c.name === "trial_id") cell.append(link(row[i]));
        else cell.textContent = shown(c.kind, row[i]);
        if (c.kind !== "text") cell.className = "number";
      });
      line.onclick = () => go(line.dataset.id);
      return line;
    }));
    byId("count").textContent = `${rows.length} of ${data.trials.length} ${data.trials.length === 1 ? "trial" : "trials"}. `;
    byId("more").hidden = visible.length === rows.length;
    byId("more").textContent = `show all ${rows.length}`;
  };
  const head = byId("table").tHead;
  const names = head.insertRow();
  const filters = head.insertRow();
  data.columns.forEach((c, i) => {
    const cell = document.createElement("th");
    cell.textContent = c.name;
    cell.tabIndex = 0;
    cell.setAttribute("aria-sort", "none");
    const sort = () => {
      state.down = state.sort === i ? !state.down : false;
      state.sort = i;
      [...names.cells].forEach((other, k) => {
        other.textContent = data.columns[k].name + (k === i ? (state.down ? " \u25be" : " \u25b4") : "");
        other.setAttribute("aria-sort", k === i ? (state.down ? "descending" : "ascending") : "none");
      });
      fill();
    };
    cell.onclick = sort;
    cell.onkeydown = (event) => { if (event.key === "Enter") sort(); };
    names.append(cell);
    const place = document.createElement("th");
    const input = document.createElement("input");
    input.setAttribute("aria-label", `filter ${c.name}`);
    input.size = 1; // its column sets its width
    input.oninput = () => { state.filters[i] = input.value.trim(); fill(); };
    place.append(input);
    filters.append(place);
  });
  byId("clear").onclick = () => {
    state.filters.fill("");
    filters.querySelectorAll("input").forEach((input) => { input.value = ""; });
    fill();
  };
  byId("more").onclick = () => { state.all = true; fill(); };
  fill();

  if (data.trials.length) {
    showTrial((data.trials.find((row) => data.breaks[row[column.trial_id]]) || data.trials[0])[column.trial_id]);
    fromAddress(false);
  } else {
    byId("trial").querySelector(".controls").remove();
    byId("curves").textContent = "No trial has finished yet.";
  }
  document.body.dataset.ready = "true";
})();
