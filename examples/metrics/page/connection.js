// The stream: when to connect, what a loss means, and why the server refused.

const STREAM = "api/metrics/stream";
const DROP_PAUSE = 5_000;
const LONGEST_DELAY = 30_000;
const NAMES = ["metrics", "sse.open", "sse.gap", "sse.bye"];

/**
 * Follows the stream and dispatches `change` (state or counters), `opened`, `sample`, `lost`, `resumed`, `gap` and `bye`.
 *
 * `state` is one of `connecting`, `open`, `retrying` and `closed`; `refusal` says why a closed one stays closed.
 */
export class Connection extends EventTarget {
  state = "connecting";
  refusal = null;
  retryAt = null;
  lastId = "";
  events = 0;
  resumes = 0;
  gaps = 0;
  #token;
  #source = null;
  #probe = null;
  #timer = null;
  #failures = 0;
  #lost = false;

  constructor(token) {
    super();
    this.#token = token;
  }

  get hasToken() {
    return this.#token !== "";
  }

  useToken(token) {
    this.#token = token;
    this.#failures = 0;
    this.connect();
  }

  connect() {
    this.#release();
    const source = new EventSource(this.#url());
    this.#source = source;
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("error", () => this.#failed(source));
    for (const name of NAMES) source.addEventListener(name, (event) => this.#received(event));
    this.#show("connecting");
  }

  /** Closes the connection on purpose and comes back after a pause. */
  drop() {
    this.#release();
    this.#lose("dropped on purpose");
    this.#connectAfter(DROP_PAUSE, "closed");
  }

  // A new EventSource cannot set Last-Event-ID, so the id goes into the query. When the browser
  // reconnects by itself it sends the header too, which the server prefers.
  #url() {
    const query = new URLSearchParams();
    if (this.#token) query.set("access_token", this.#token);
    if (this.lastId) query.set("lastEventId", this.lastId);
    return `${STREAM}?${query}`;
  }

  #opened() {
    this.#failures = 0;
    const resumes = this.#lost && this.lastId !== "";
    this.#lost = false;
    if (resumes) this.resumes += 1;
    this.#tell(resumes ? "resumed" : "opened");
    this.#show("open");
  }

  #received(event) {
    if (event.lastEventId) this.lastId = event.lastEventId;
    const data = JSON.parse(event.data);
    if (event.type === "metrics") {
      this.events += 1;
      this.#tell("sample", { id: event.lastEventId, ...data });
    } else if (event.type === "sse.gap") {
      this.gaps += 1;
      this.#tell("gap", data);
    } else if (event.type === "sse.bye") {
      this.#tell("bye", data);
    }
    this.#tell("change");
  }

  #failed(source) {
    this.#lose("connection lost");
    if (source.readyState === EventSource.CONNECTING) {
      this.#show("retrying");
    } else {
      this.#release();
      this.#show("retrying");
      this.#askWhy();
    }
  }

  // EventSource hides the status of a refusal; fetch shows it with the head.
  async #askWhy() {
    const probe = new AbortController();
    this.#probe = probe;
    const status = await fetch(this.#url(), { headers: { accept: "text/event-stream" }, cache: "no-store", signal: probe.signal })
      .then((response) => response.status)
      .catch(() => 0);
    if (probe.signal.aborted) return;
    probe.abort();
    if (status === 401 || status === 403) {
      this.refusal = status === 401 ? "unauthorized" : "forbidden";
      this.#show("closed");
    } else if (status === 204) {
      this.refusal = "finished";
      this.#show("closed");
    } else {
      const delay = Math.min(LONGEST_DELAY, 1_000 * 2 ** this.#failures);
      this.#failures += 1;
      this.#connectAfter(delay * (0.75 + Math.random() / 2), "retrying");
    }
  }

  #connectAfter(delay, state) {
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.connect(), delay);
    this.#show(state);
  }

  #release() {
    this.#source?.close();
    this.#probe?.abort();
    clearTimeout(this.#timer);
    this.#source = this.#probe = this.#timer = null;
    this.refusal = this.retryAt = null;
  }

  #lose(reason) {
    if (!this.#lost && this.state === "open") this.#tell("lost", { reason });
    this.#lost = true;
  }

  #show(state) {
    this.state = state;
    this.#tell("change");
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
