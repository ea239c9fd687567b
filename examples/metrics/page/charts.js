// One uPlot chart per figure. They share the history's time axis and the cursor.

import { FIGURES } from "./history.js";

const PER_CENT = [10, 20, 50, 100];
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

const shown = {
  cpuUsage: { ceiling: perCent, text: (value) => value.toFixed(1), unit: " %" },
  memoryUsage: { ceiling: perCent, text: (value) => value.toFixed(1), unit: " %" },
  requestsPerSecond: { ceiling: roundNumber, text: (value) => value.toFixed(value < 10 ? 1 : 0), unit: " per second" },
};

function perCent(highest) {
  return PER_CENT.find((ceiling) => highest <= ceiling * 0.92) ?? 100;
}

/** The next of 5, 10, 20, 50, 100, … with a little room above `highest`. */
function roundNumber(highest) {
  const wanted = Math.max(5, highest * 1.1);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * [1, 2, 5, 10].find((step) => wanted <= step * power);
}

export const timeOfDay = (seconds) => clock.format(seconds * 1_000);

/** The charts of a page, fed from `history`. */
export class Charts {
  #history;
  #cards;

  constructor(history) {
    this.#history = history;
    this.#cards = FIGURES.map((figure) => new Card(figure, history));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  draw() {
    this.#history.trim();
    for (const card of this.#cards) card.draw();
  }
}

class Card {
  #figure;
  #history;
  #plot;
  #number;
  #note;

  constructor(figure, history) {
    const element = document.querySelector(`[data-figure="${figure}"]`);
    this.#figure = figure;
    this.#history = history;
    this.#number = element.querySelector(".number");
    this.#note = element.querySelector(".note");
    const chart = element.querySelector(".chart");
    const size = () => ({ width: chart.clientWidth, height: chart.clientHeight });
    this.#plot = new uPlot({ ...size(), ...this.#options(element) }, this.#data(), chart);
    new ResizeObserver(() => this.#plot.setSize(size())).observe(chart);
  }

  draw() {
    const last = this.#data()[1].findLast((value) => value !== null);
    if (last !== undefined) this.#number.textContent = shown[this.#figure].text(last);
    this.#plot.setData(this.#data());
    this.#describe();
  }

  #data() {
    return [this.#history.times, this.#history.columns[this.#figure]];
  }

  // The value under the cursor, else a summary of what the chart shows.
  #describe() {
    const [times, values] = this.#data();
    const { text, unit } = shown[this.#figure];
    const index = this.#plot.cursor.idx;
    const known = values.filter((value) => value !== null);
    if (typeof values[index] === "number") {
      this.#note.textContent = `${text(values[index])}${unit} at ${timeOfDay(times[index])}`;
    } else if (known.length > 0) {
      const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
      this.#note.textContent = `Average ${text(mean)}, highest ${text(Math.max(...known))}`;
    }
  }

  #options(element) {
    // Read at each drawing: the theme may change.
    const color = (name) => getComputedStyle(element).getPropertyValue(name).trim();
    const axis = { stroke: () => color("--quiet"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => color("--grid"), width: 1 };
    const { ceiling, unit } = shown[this.#figure];
    const percent = unit === " %";
    return {
      legend: { show: false },
      padding: [10, 14, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 }, sync: { key: "figures" } },
      scales: {
        x: { range: () => this.#history.range() },
        y: { range: (_, __, highest) => [0, ceiling(highest ?? 0)] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 64, incrs: [10, 30, 60, 120, 300], values: (_, splits) => splits.map(timeLabel) },
        { ...axis, grid, size: 50, splits: (_, __, low, high) => [low, high / 2, high], values: (_, splits) => splits.map((value) => (percent ? `${value} %` : value)) },
      ],
      series: [
        {},
        {
          stroke: () => color("--line"),
          width: 2,
          fill: (plot) => fade(plot, color("--line")),
          points: { show: (plot) => plot.data[0].length === 1 },
        },
      ],
      hooks: { drawClear: [(plot) => this.#shade(plot, color("--away"))], setCursor: [() => this.#plot && this.#describe()] },
    };
  }

  #shade({ ctx, bbox, valToPos }, color) {
    const edge = (time) => Math.min(Math.max(valToPos(time, "x", true), bbox.left), bbox.left + bbox.width);
    ctx.fillStyle = color;
    for (const { from, to } of this.#history.away) {
      const left = edge(from);
      ctx.fillRect(left, bbox.top, edge(to ?? this.#history.now()) - left, bbox.height);
    }
  }
}

function timeLabel(seconds) {
  const time = timeOfDay(seconds);
  return seconds % 60 === 0 ? time.slice(0, 5) : time;
}

function fade({ ctx, bbox }, color) {
  const gradient = ctx.createLinearGradient(0, bbox.top, 0, bbox.top + bbox.height);
  gradient.addColorStop(0, `${color}40`);
  gradient.addColorStop(1, `${color}05`);
  return gradient;
}
