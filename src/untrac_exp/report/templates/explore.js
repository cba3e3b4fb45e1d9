// Explore: one test set, subset, method and step at a time.
(() => {
  const data = JSON.parse(document.getElementById("details").textContent);
  const section = document.getElementById("explore");
  const form = section.querySelector("form");
  const { testset, subset, panel, reading } = form.elements;
  const output = form.querySelector("output");
  const figure = section.querySelector("figure");
  const svg = figure.querySelector("svg");
  const body = section.querySelector("tbody");
  const number = (x) => {
    if (x === null) return "–";
    if (x === 0) return "0";
    const size = Math.abs(x);
    const plain = size >= 1e-4 && size < 1e5;
    return (x < 0 ? "−" : "+") + (plain ? size.toFixed(Math.max(0, 2 - Math.floor(Math.log10(size)))) : size.toExponential(1));
  };
  const isTruth = (one) => one.label === "truth" || one.label.startsWith("truth · ");

  const fill = (select, names, chosen) => {
    const before = chosen ?? select.value;
    select.replaceChildren(...names.map((name, i) => new Option(name, i)));
    select.value = [...select.options].some((option) => option.value === before) ? before : "0";
  };
  // Influence of a corpus at a step: on one subset, or the mean over all.
  const influence = (one, at, corpus) => {
    const row = one.values[at][corpus];
    if (subset.value !== "0") return row[subset.value - 1];
    return row.includes(null) ? null : row.reduce((a, b) => a + b, 0) / row.length;
  };
  const element = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const draw = (one, corpora, order, at) => {
    const width = Math.max(280, figure.clientWidth);
    svg.setAttribute("viewBox", `0 0 ${width} 300`);
    const [left, right, top, bottom] = [76, width - 20, 15, 255];
    const lines = corpora.map((_, c) => one.steps.map((_, i) => influence(one, i, c)));
    const known = lines.flat().filter((y) => y !== null);
    let [low, high] = [Math.min(0, ...known), Math.max(0, ...known)];
    if (low === high) high = low + 1;
    const x = (i) => left + ((right - left) * i) / Math.max(1, one.steps.length - 1);
    const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
    svg.replaceChildren();
    svg.setAttribute("aria-label", `Influence of each corpus along the steps of ${one.label}; the table has the numbers of the selected step`);
    let lowest = Infinity;
    for (const value of [low, high, 0].filter((v, i, all) => all.indexOf(v) === i)) {
      svg.append(element("line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" }));
      if (value === 0 && [low, high].some((v) => v !== 0 && Math.abs(y(v) - y(0)) < 16)) continue;
      svg.append(element("text", { x: left - 8, y: y(value) + 5, "text-anchor": "end" }, number(value)));
    }
    for (let i = one.steps.length - 1; i >= 0; i--) {
      if (lowest - x(i) < 48) continue;
      lowest = x(i);
      svg.append(element("text", { x: x(i), y: bottom + 22, "text-anchor": "middle" }, one.steps[i]));
    }
    svg.append(element("text", { x: (left + right) / 2, y: bottom + 42, "text-anchor": "middle" }, "step"));
    const marked = Math.min(at, one.steps.length - 1);
    svg.append(element("line", { x1: x(marked), x2: x(marked), y1: top, y2: bottom, class: "cursor" }));
    for (const [rank, c] of [...order.entries()].reverse()) {
      const points = lines[c].map((value, i) => (value === null ? "" : `${x(i)},${y(value)}`));
      const line = element("polyline", {
        points: points.join(" ").trim(),
        ...(rank < data.colours.length
          ? { style: `stroke:${data.colours[rank]}`, "stroke-dasharray": ["", "8 3", "2 3", "8 3 2 3"][rank % 4] }
          : { class: "other" }),
      });
      line.append(element("title", {}, corpora[c]));
      svg.append(line);
    }
  };

  const show = () => {
    const { corpora, panels } = data.testsets[Object.keys(data.testsets)[testset.value]];
    const one = panels[panel.value];
    const at = Number(reading.value);
    const last = one.values.length - 1;
    output.textContent = at === last ? "the last step" : `step ${one.steps[at]}`;
    reading.setAttribute("aria-valuetext", output.textContent);
    const truth = panels.find(isTruth);
    const now = corpora.map((_, c) => influence(one, at, c));
    // Colours follow the order of the final result, so they are stable across steps.
    const final = corpora.map((_, c) => influence(one, last, c) ?? -Infinity);
    const order = [...corpora.keys()].sort((a, b) => final[b] - final[a]);
    const colour = new Map(order.map((c, rank) => [c, data.colours[rank] ?? "transparent"]));
    const largest = Math.max(...now.map((value) => Math.abs(value ?? 0))) || 1;
    const sorted = [...corpora.keys()].sort((a, b) => (now[b] ?? -Infinity) - (now[a] ?? -Infinity));
    body.replaceChildren(
      ...sorted.map((c) => {
        const row = document.createElement("tr");
        const name = document.createElement("th");
        name.scope = "row";
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = one.steps.length ? colour.get(c) : "transparent";
        name.append(swatch, corpora[c]);
        const value = document.createElement("td");
        value.className = "number";
        value.textContent = number(now[c]);
        const bar = document.createElement("span");
        bar.className = "bar";
        const inner = document.createElement("i");
        inner.className = now[c] < 0 ? "less" : "more";
        inner.style.cssText = `${now[c] < 0 ? "right" : "left"}:50%;width:${(50 * Math.abs(now[c] ?? 0)) / largest}%`;
        bar.append(inner);
        value.append(bar);
        const told = document.createElement("td");
        told.className = "number";
        told.textContent = truth ? number(influence(truth, truth.values.length - 1, c)) : "–";
        row.append(name, value, told);
        return row;
      }),
    );
    figure.hidden = one.steps.length === 0;
    if (one.steps.length) draw(one, corpora, order, at);
  };
  const choose = () => {
    const chosen = data.testsets[Object.keys(data.testsets)[testset.value]];
    fill(subset, ["all, their mean", ...chosen.subsets]);
    const moving = chosen.panels.findIndex((one) => one.steps.length);
    fill(panel, chosen.panels.map((one) => one.label), panel.value || String(Math.max(0, moving)));
    const { steps, values } = chosen.panels[panel.value];
    reading.max = values.length - 1;
    reading.value = reading.max;
    reading.closest("label").hidden = steps.length === 0;
    show();
  };
  fill(testset, Object.keys(data.testsets));
  testset.closest("label").hidden = testset.options.length === 1;
  for (const control of [testset, panel]) control.addEventListener("change", choose);
  for (const control of [subset, reading]) control.addEventListener("input", show);
  addEventListener("resize", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  section.hidden = false;
  choose();
})();
