// The charts of the overview: the last quarter of an hour, and then every two seconds more.

const SPAN_S = 15 * 60;
// What a gateway that has just begun shows of it.
const LEAST_S = 2 * 60;
const reading = document.getElementById("reading");
const points = { at: [], sessions: [], messages: [[], []], bytes: [[], []], accepted: [], refused: [] };
const CHARTS = {
  sessions: { columns: () => [points.sessions], colours: [1], fill: true },
  messages: { columns: () => points.messages, colours: [1, 2] },
  bytes: { columns: () => points.bytes, colours: [1, 2] },
  handshakes: { columns: () => [points.accepted, points.refused], colours: [2, 3] },
};
// Steps of the axes: bytes by powers of two, all else in whole numbers.
const BINARY = Array.from({ length: 50 }, (_, power) => 2 ** power);
const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
let interval = 2;
let plots = [];

// Numbers -------------------------------------------------------------------------------------

function figure(value) {
  if (value === null || value === undefined) return "–";
  return value === Math.round(value) || value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

function size(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let number = value;
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? figure(number) : number >= 99.95 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

function short(value) {
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= unit) return `${Number((value / unit).toFixed(1))}${name}`;
  }
  return String(Number(value.toFixed(2)));
}

function moment(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}

// Points --------------------------------------------------------------------------------------

function take(more) {
  interval = more.interval;
  const columns = (from) => [from.at, from.sessions, ...from.messages, ...from.bytes, from.accepted, from.refused];
  const known = columns(points);
  columns(more).forEach((column, index) => known[index].push(...column));
  const old = points.at.findIndex((at) => at > points.at.at(-1) - SPAN_S);
  if (old > 0) for (const column of known) column.splice(0, old);
}

async function ask() {
  if (document.hidden) return;
  try {
    const answer = await fetch(`/console/history?since=${points.at.at(-1) ?? ""}`, { signal: AbortSignal.timeout(8000) });
    if (answer.status === 401) location.reload();
    if (!answer.ok) return;
    take(await answer.json());
    document.dispatchEvent(new CustomEvent("gateway", { detail: true }));
    if (points.at.length) show();
  } catch {
    document.dispatchEvent(new CustomEvent("gateway", { detail: false }));
  }
}

async function follow() {
  for (;;) {
    await ask();
    await new Promise((resolve) => { setTimeout(resolve, interval * 1000); });
  }
}

// Charts --------------------------------------------------------------------------------------

class Chart {
  constructor(place) {
    this.place = place;
    this.name = place.dataset.chart;
    this.text = place.dataset.unit === "bytes" ? size : figure;
    this.title = document.getElementById(`chart-${this.name}`).textContent;
    this.items = [...document.querySelectorAll(`#legend-${this.name} li`)];
    this.read = null;
    this.plot = null;
    place.addEventListener("keydown", (event) => this.key(event));
    place.addEventListener("blur", () => this.point(null));
    new ResizeObserver(() => this.plot?.setSize(this.measure())).observe(place);
  }

  measure() {
    return { width: this.place.clientWidth, height: this.place.clientHeight };
  }

  data() {
    return [points.at, ...CHARTS[this.name].columns()];
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name).trim();
    const { colours, fill } = CHARTS[this.name];
    const grid = { stroke: ink("--line"), width: 1 };
    const axis = { stroke: ink("--faint"), font: "11px system-ui, sans-serif", ticks: { show: false }, grid };
    const unit = this.place.dataset.unit;
    this.plot?.destroy();
    this.place.replaceChildren();
    this.plot = new uPlot(
      {
        ...this.measure(),
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: "overview" }, points: { size: 7 } },
        hooks: { setCursor: [(plot) => this.legend(plot.cursor.idx ?? null)] },
        scales: {
          x: { time: true, range: (plot, low, high) => [Math.max(high - SPAN_S, Math.min(low, high - LEAST_S)), high] },
          y: { range: (plot, low, high) => [0, Math.max(unit === "bytes" ? 100 : 4, (high ?? 0) * 1.1)] },
        },
        axes: [
          { ...axis, size: 24, gap: 4, space: 70, grid: { show: false }, values: (plot, ticks) => ticks.map((at) => moment(at).slice(0, at % 60 ? 8 : 5)) },
          { ...axis, size: unit === "bytes" ? 64 : 44, gap: 6, space: 32, incrs: unit === "bytes" ? BINARY : WHOLE, values: (plot, ticks) => ticks.map(unit === "bytes" ? size : short) },
        ],
        series: [
          {},
          ...colours.map((colour) => ({
            stroke: ink(`--series-${colour}`),
            width: 1.75,
            fill: fill ? `${ink(`--series-${colour}`)}1f` : undefined,
            points: { show: false },
          })),
        ],
      },
      this.data(),
      this.place,
    );
  }

  show() {
    if (this.plot) this.plot.setData(this.data());
    else this.draw();
    this.legend(this.plot.cursor.idx ?? null);
    const columns = CHARTS[this.name].columns();
    const parts = this.items.map((item, index) => {
      const name = item.querySelector("span").textContent;
      return `${name} ${this.text(columns[index].at(-1))}, at most ${this.text(Math.max(...columns[index]))}`;
    });
    this.place.setAttribute("aria-label", `${this.title}, last 15 minutes: ${parts.join("; ")}`);
  }

  legend(index) {
    CHARTS[this.name].columns().forEach((column, series) => {
      this.items[series].querySelector("b").textContent = this.text(index === null ? column.at(-1) : column[index]);
    });
  }

  key(event) {
    const last = points.at.length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.point(null);
    if (!(event.key in steps) || last < 0) return;
    event.preventDefault();
    this.point(Math.min(last, Math.max(0, (this.read ?? last) + steps[event.key])));
  }

  point(index) {
    this.read = index;
    if (!this.plot) return;
    if (index === null) {
      this.plot.setCursor({ left: -10, top: -10 });
      return;
    }
    this.plot.setCursor({ left: this.plot.valToPos(points.at[index], "x"), top: 10 });
    const columns = CHARTS[this.name].columns();
    const parts = this.items.map((item, series) => `${item.querySelector("span").textContent} ${this.text(columns[series][index])}`);
    reading.textContent = `${moment(points.at[index])} UTC: ${parts.join(", ")}`;
  }
}

function show() {
  for (const plot of plots) plot.show();
}

plots = [...document.querySelectorAll("[data-chart]")].map((place) => new Chart(place));
document.addEventListener("theme", () => {
  for (const plot of plots) if (plot.plot) plot.draw();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
follow();
