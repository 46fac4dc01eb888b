// A key's page: draws what it was used for.

for (const place of document.querySelectorAll("[data-usage]")) {
  draw(place, JSON.parse(place.dataset.usage));
}

function draw(place, usage) {
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  const fromZero = (plot, low, high) => [0, high || 1];
  const axis = { stroke: ink("--quiet"), grid: { stroke: ink("--line"), width: 1 }, ticks: { show: false } };
  const bar = {
    width: 0,
    paths: uPlot.paths.bars({ size: [0.85, 24] }),
    points: { show: false },
  };
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: 200,
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: false }, bytes: { range: fromZero }, messages: { range: fromZero } },
      axes: [
        { ...axis, size: 30, incrs: [21600, 43200, 86400], space: 60, grid: { show: false }, values: (plot, hours) => hours.map(shortly) },
        { ...axis, scale: "bytes", size: 76, incrs: Array.from({ length: 50 }, (_, power) => 2 ** power), values: (plot, values) => values.map(size) },
        { ...axis, scale: "messages", side: 1, size: 60, grid: { show: false } },
      ],
      series: [
        { label: "Hour (UTC)", value: (plot, hour) => (hour ? moment(hour) : "–") },
        { label: "Bytes", scale: "bytes", fill: `${ink("--series-1")}59`, ...bar, value: (plot, value) => size(value) },
        { label: "Messages", scale: "messages", value: (plot, value) => value ?? "–", stroke: ink("--series-2"), width: 1.5, points: { show: false } },
        { label: "Connections", scale: "messages", show: false, value: (plot, value) => value ?? "–", stroke: ink("--series-3"), width: 1.5, points: { show: false } },
      ],
    },
    [usage.hours, usage.bytes, usage.messages, usage.connections],
    place,
  );
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 200 })).observe(place);
}

function moment(hour) {
  return new Date(hour * 1000).toISOString().slice(0, 16).replace("T", " ");
}

function shortly(hour) {
  const text = moment(hour);
  return text.endsWith("00:00") ? text.slice(5, 10) : text.slice(11);
}

function size(value) {
  if (value === null || value === undefined) return "–";
  let number = value;
  let unit = 0;
  while (number >= 999.5 && unit < 4) {
    number /= 1024;
    unit += 1;
  }
  return `${number >= 99.95 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}
