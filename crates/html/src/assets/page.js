// Draws curves, histograms and groups from the data of this page. All text goes in as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const svg = (name, attributes = {}, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const shown = (x) => {
    if (x === null || x === undefined) return "–";
    const size = Math.abs(x);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return x.toExponential(2);
    return String(Number(x.toPrecision(4)));
  };

  // Round numbers that cover a range in about `count` steps.
  const ticks = (low, high, count) => {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? raw;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  };

  const WIDTH = 460, HEIGHT = 220, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 24;
  const all = [];
  const view = { range: null, smooth: 0 };
  const ends = () => {
    let low = Infinity, high = -Infinity;
    for (const panel of data.panels) for (const curve of panel.curves) {
      low = Math.min(low, curve.points[0][0]);
      high = Math.max(high, curve.points[curve.points.length - 1][0]);
    }
    return [low, high === low ? low + 1 : high];
  };
  const whole = data.panels.length ? ends() : [0, 1];

  // Exponential moving average without the bias of its start.
  const smoothed = (points) => {
    let mean = 0, weight = 0;
    return points.map(([x, y]) => {
      mean = view.smooth * mean + (1 - view.smooth) * y;
      weight = view.smooth * weight + (1 - view.smooth);
      return [x, mean / weight];
    });
  };
  const colour = (curve) => `var(--c${(data.runs.length > 1 ? curve.run : curve.kind) % 6})`;
  const dashes = (curve) => (data.runs.length > 1 && curve.kind ? `${2 + 2 * curve.kind} 3` : "none");

  const diagram = (panel) => {
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": panel.title });
    const legend = el("div", { class: "legend" });
    const figure = el("figure", { class: "panel" }, el("figcaption", {}, panel.title), picture, legend);
    let scale = null, start = null;
    const draw = (at) => {
      const [x0, x1] = view.range ?? whole;
      const lines = panel.curves.map((curve) => ({ curve, points: view.smooth ? smoothed(curve.points) : curve.points }));
      let low = Infinity, high = -Infinity;
      for (const { points } of lines) for (const [x, y] of points) if (x >= x0 && x <= x1) {
        low = Math.min(low, y);
        high = Math.max(high, y);
      }
      if (low > high) [low, high] = [0, 1];
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      const never = low >= 0;
      [low, high] = [low - room, high + room];
      if (never) low = Math.max(low, 0);
      const X = (x) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
      const Y = (y) => TOP + ((high - y) / (high - low)) * (HEIGHT - TOP - BOTTOM);
      scale = { invert: (px) => x0 + ((px - LEFT) / (WIDTH - LEFT - RIGHT)) * (x1 - x0), X };
      picture.replaceChildren();
      for (const y of ticks(low, high, 4)) {
        picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: Y(y), y2: Y(y) }));
        picture.append(svg("text", { class: "tick", x: LEFT - 6, y: Y(y) + 4, "text-anchor": "end" }, shown(y)));
      }
      for (const x of ticks(x0, x1, 5)) picture.append(svg("text", { class: "tick", x: X(x), y: HEIGHT - 7, "text-anchor": "middle" }, shown(x)));
      const path = (points) => {
        // One point beyond each end, so that a zoomed curve leaves the picture.
        const first = Math.max(points.findIndex(([x]) => x >= x0) - 1, 0);
        let last = points.length - 1;
        while (last > first && points[last - 1][0] > x1) last--;
        return points.slice(first, last + 1).map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" ");
      };
      const id = `clip${all.indexOf(redraw) + 1}`;
      const clip = svg("clipPath", { id });
      clip.append(svg("rect", { x: LEFT, y: 0, width: WIDTH - LEFT - RIGHT, height: HEIGHT - BOTTOM + 2 }));
      picture.append(clip);
      for (const { curve, points } of lines) {
        const common = { stroke: colour(curve), "stroke-dasharray": dashes(curve), "clip-path": `url(#${id})` };
        if (view.smooth) picture.append(svg("polyline", { ...common, class: "curve raw", points: path(curve.points) }));
        if (points.length === 1) picture.append(svg("circle", { cx: X(points[0][0]), cy: Y(points[0][1]), r: 3, fill: colour(curve) }));
        picture.append(svg("polyline", { ...common, class: "curve", points: path(points) }));
      }
      legend.replaceChildren();
      const nearest = at === null ? null : Math.min(Math.max(at, x0), x1);
      if (nearest !== null) picture.append(svg("line", { class: "cross", x1: X(nearest), x2: X(nearest), y1: TOP, y2: HEIGHT - BOTTOM }));
      for (const { curve, points } of lines) {
        const point = nearest === null ? points[points.length - 1] : points.reduce((a, b) => (Math.abs(b[0] - nearest) < Math.abs(a[0] - nearest) ? b : a));
        const mark = el("i");
        mark.style.borderColor = colour(curve);
        if (dashes(curve) !== "none") mark.style.borderTopStyle = "dashed";
        legend.append(el("span", {}, mark, `${curve.label} `, el("b", {}, shown(point[1])), nearest === null ? "" : ` at ${shown(point[0])}`));
      }
    };
    const redraw = (at = null) => draw(at);
    all.push(redraw);
    const place = (event) => {
      const box = picture.getBoundingClientRect();
      return scale.invert(((event.clientX - box.left) / box.width) * WIDTH);
    };
    picture.addEventListener("pointerdown", (event) => { start = place(event); });
    picture.addEventListener("pointermove", (event) => {
      const at = place(event);
      for (const other of all) other(at);
      if (start !== null && event.buttons) {
        const [a, b] = [scale.X(start), scale.X(at)].sort((p, q) => p - q);
        picture.append(svg("rect", { class: "brush", x: a, y: TOP, width: b - a, height: HEIGHT - TOP - BOTTOM }));
      }
    });
    picture.addEventListener("pointerup", (event) => {
      const [a, b] = [start ?? 0, place(event)].sort((p, q) => p - q);
      const [x0, x1] = view.range ?? whole;
      if (start !== null && b - a > (x1 - x0) / 50) zoom([Math.max(a, whole[0]), Math.min(b, whole[1])]);
      start = null;
    });
    picture.addEventListener("pointerleave", () => { start = null; for (const other of all) other(); });
    picture.addEventListener("dblclick", () => zoom(null));
    return figure;
  };
  const zoom = (range) => {
    view.range = range;
    document.getElementById("reset").hidden = range === null;
    for (const redraw of all) redraw();
  };

  const heat = ({ title, ranges, columns }) => {
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
    const left = 84, width = (WIDTH - left - RIGHT) / columns.length, height = (HEIGHT - TOP - BOTTOM) / ranges.length;
    const most = Math.max(...columns.flatMap(([, shares]) => shares)) || 1;
    columns.forEach(([step, shares], i) => shares.forEach((share, j) => {
      const cell = svg("rect", {
        x: left + i * width, y: HEIGHT - BOTTOM - (j + 1) * height, width: width + 0.3, height: height + 0.3,
        fill: `rgb(var(--heat) / ${(0.03 + 0.97 * Math.sqrt(share / most)).toFixed(3)})`,
      });
      cell.append(svg("title", {}, `step ${step}, ${ranges[j]}: ${(100 * share).toFixed(1)} % of the tokens`));
      picture.append(cell);
    }));
    ranges.forEach((range, j) => picture.append(svg("text", { class: "tick", x: left - 6, y: HEIGHT - BOTTOM - (j + 0.5) * height + 4, "text-anchor": "end" }, range)));
    const last = columns.length - 1;
    for (const i of [...new Set([0, Math.floor(last / 2), last])]) {
      const anchor = last > 0 && i === last ? "end" : i === 0 ? "start" : "middle";
      picture.append(svg("text", { class: "tick", x: left + (i + (anchor === "end" ? 1 : anchor === "start" ? 0 : 0.5)) * width, y: HEIGHT - 7, "text-anchor": anchor }, shown(columns[i][0])));
    }
    return el("figure", { class: "heat" }, el("figcaption", {}, title), picture);
  };

  // Tokens: the less probable, the redder; the smaller the coefficient, the bluer.
  const tint = {
    probability: (logprob) => `rgb(224 62 40 / ${(0.75 * Math.min(1, -logprob / 7)).toFixed(3)})`,
    coefficient: (c) => `rgb(40 110 224 / ${(0.75 * Math.min(1, Math.max(0, 1 - c))).toFixed(3)})`,
  };
  const rollout = (found, how) => {
    const facts = el("div", { class: "facts" }, el("b", {}, found.source + (found.author ? ` (${found.author})` : "")));
    facts.append(el("span", {}, "reward ", el("b", {}, shown(found.reward))), el("span", {}, "advantage ", el("b", {}, shown(found.advantage))));
    if (found.tokens !== null) facts.append(el("span", {}, `${found.tokens} tokens${found.cut ? ", cut" : ""}`));
    const text = el("div", { class: "text" });
    found.pieces.forEach((piece, i) => {
      const logprob = found.logprobs[i], c = found.coefficients[i];
      if (logprob === null || c === null) return text.append(piece);
      const span = el("span", { title: `p ${shown(Math.exp(logprob))}, coefficient ${shown(c)}` }, piece);
      if (how !== "none") span.style.background = tint[how](how === "probability" ? logprob : c);
      text.append(span);
    });
    if (found.shortened) text.append(el("small", {}, " … (the page has the beginning only)"));
    if (!found.logprobs.some((x) => x !== null)) facts.append(el("span", {}, "not trained on: no signal"));
    return el("div", { class: `rollout ${["expert", "teacher", "policy"].includes(found.source) ? found.source : ""}` }, facts, text);
  };
  const groups = (root) => {
    const step = el("select", { "aria-label": "step" }, ...data.groups.map((found, i) => el("option", { value: i }, `step ${found.step}`)));
    step.value = String(data.groups.length - 1);
    const how = el("select", { "aria-label": "colour of tokens" }, ...["probability", "coefficient", "none"].map((name) => el("option", { value: name }, name)));
    const scale = el("span", { class: "scale" }), words = el("small");
    const list = el("div");
    const draw = () => {
      const found = data.groups[Number(step.value)];
      const end = how.value === "probability" ? tint.probability(-7) : tint.coefficient(0);
      scale.style.background = how.value === "none" ? "none" : `linear-gradient(90deg, ${end}, transparent)`;
      scale.hidden = how.value === "none";
      words.textContent = { probability: "improbable to probable", coefficient: "coefficient 0 (held back) to 1 (whole gradient)", none: "" }[how.value];
      list.replaceChildren(...found.groups.map((group) => el("div", { class: "group" },
        el("p", { class: "question" }, group.prompt),
        el("p", { class: "note" }, `${group.id}${group.gold === null ? "" : ` · reference answer ${group.gold}`}`),
        ...group.rollouts.map((one) => rollout(one, how.value)))));
      if (found.total > found.groups.length) list.append(el("p", { class: "note" }, `${found.groups.length} of the step's ${found.total} groups; all are in completions/${found.step}.jsonl.`));
    };
    step.addEventListener("change", draw);
    how.addEventListener("change", draw);
    root.append(el("div", { class: "controls" }, el("label", {}, "Groups of ", step), el("label", {}, "Colour by ", how), el("span", {}, scale, words)), list);
    draw();
  };

  const curves = document.getElementById("panels");
  for (const panel of data.panels) curves.append(diagram(panel));
  for (const redraw of all) redraw();
  for (const found of data.heats) document.getElementById("heats").append(heat(found));
  const root = document.getElementById("groups-list");
  if (root && data.groups.length) groups(root);
  document.getElementById("reset").addEventListener("click", () => zoom(null));
  document.getElementById("smooth").addEventListener("input", (event) => {
    view.smooth = Number(event.target.value);
    for (const redraw of all) redraw();
  });
  document.body.dataset.drawn = "yes";
})();
