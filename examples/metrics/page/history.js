// The samples of the last minutes, by the server's clock.

const SHORTEST_SPAN = 60;
const LONGEST_SPAN = 300;
export const FIGURES = ["cpuUsage", "memoryUsage", "requestsPerSecond"];

/** Columns for the charts, and the stretches of time without a connection. All times are in seconds. */
export class History {
  times = [];
  columns = Object.fromEntries(FIGURES.map((figure) => [figure, []]));
  away = [];
  #skew = -Infinity;

  add(sample) {
    const time = Date.parse(sample.timestamp) / 1_000;
    // A sample is never early, so the largest difference seen is the closest to the clocks' true one.
    this.#skew = Math.max(this.#skew, time - Date.now() / 1_000);
    this.#push(time, sample);
    this.trim();
    return time;
  }

  /** Breaks the lines: what came between was lost. */
  addGap() {
    if (this.times.length > 0) this.#push(this.times.at(-1) + 0.001, {});
  }

  leave() {
    if (this.times.length === 0) return;
    this.away.push({ from: Math.max(this.times.at(-1), this.away.at(-1)?.to ?? 0), to: null });
  }

  comeBack() {
    const last = this.away.at(-1);
    if (last?.to === null) last.to = this.now();
  }

  /** The server's time, as far as the samples tell. */
  now() {
    return Date.now() / 1_000 + (Number.isFinite(this.#skew) ? this.#skew : 0);
  }

  /** What the time axis shows: it grows with the history until it moves along. */
  range() {
    const now = this.now();
    const age = this.times.length > 0 ? now - this.times[0] : 0;
    return [now - Math.min(LONGEST_SPAN, Math.max(SHORTEST_SPAN, age)), now];
  }

  trim() {
    const start = this.now() - LONGEST_SPAN;
    // One point stays before the edge, so that the line reaches it.
    const old = this.times.findIndex((time) => time >= start) - 1;
    if (old > 0) for (const column of [this.times, ...Object.values(this.columns)]) column.splice(0, old);
    this.away = this.away.filter(({ to }) => to === null || to >= start);
  }

  #push(time, sample) {
    this.times.push(time);
    for (const figure of FIGURES) this.columns[figure].push(sample[figure] ?? null);
  }
}
