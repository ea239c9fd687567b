// Puts the connection, the history and the charts on the page.

import { Charts, timeOfDay } from "./charts.js";
import { Connection } from "./connection.js";
import { History } from "./history.js";

const KEPT_SAMPLES = 4_096;
const KEPT_NOTES = 5;
const LABELS = { connecting: "Connecting", open: "Connected", retrying: "Reconnecting", closed: "Disconnected" };
const REFUSALS = {
  unauthorized: ["This stream asks for a token", "It is kept in this tab’s memory only."],
  forbidden: ["This token may not view metrics", "The server knows it, but it lacks the right. Another token may do."],
};

const $ = (id) => document.getElementById(id);
const connection = new Connection(takeToken());
const history = new History();
const charts = new Charts(history);
const samples = [];
let catchingUp = null;
let typedToken = false;

window.metrics = { connection, samples };

connection.addEventListener("sample", ({ detail }) => {
  samples.push({ id: detail.id, timestamp: detail.timestamp });
  if (samples.length > KEPT_SAMPLES) samples.shift();
  const time = history.add(detail);
  if (catchingUp && time <= catchingUp.until) {
    catchingUp.missed += 1;
    catchingUp.note.textContent = `Resumed, ${catchingUp.missed} missed ${catchingUp.missed === 1 ? "sample" : "samples"} filled in`;
  }
  drawSoon();
});

connection.addEventListener("opened", () => note("Connected"));

connection.addEventListener("lost", ({ detail }) => {
  history.leave();
  note(detail.reason === "dropped on purpose" ? "Dropped on purpose" : "Connection lost");
});

connection.addEventListener("resumed", () => {
  history.comeBack();
  catchingUp = { until: history.now(), missed: 0, note: note("Resumed, nothing was missed") };
});

connection.addEventListener("gap", ({ detail: { reason, missed } }) => {
  history.addGap();
  if (catchingUp?.missed === 0) catchingUp.note.textContent = "Reconnected";
  catchingUp = null;
  note(`Gap: ${missed === undefined ? "samples" : missed} lost (${reason})`);
});

connection.addEventListener("bye", ({ detail }) => note(`The server ended the stream (${detail.reason})`));
connection.addEventListener("change", show);

$("action").addEventListener("click", () => (isConnected() ? connection.drop() : connection.connect()));

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  typedToken = true;
  connection.useToken($("token").value.trim());
});

$("traffic").addEventListener("click", async () => {
  for (let sent = 0; sent < 50; sent += 1) await fetch("assets/style.css", { method: "HEAD", cache: "no-store" }).catch(() => {});
});

$("subtitle").textContent = `Live from ${location.host} over Server-Sent Events`;
connection.connect();
// The time axis moves on without samples too, and so does the countdown.
setInterval(() => connection.state !== "open" && (show(), drawSoon()), 250);

// An address with the token in it would end up in bookmarks, screenshots and histories.
function takeToken() {
  const address = new URL(location.href);
  const token = address.searchParams.get("access_token") ?? "";
  if (address.searchParams.has("access_token")) {
    address.searchParams.delete("access_token");
    window.history.replaceState(null, "", address);
  }
  return token;
}

function isConnected() {
  return connection.state === "open" || connection.state === "connecting";
}

let frame = null;
function drawSoon() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    charts.draw();
  });
}

function show() {
  const { state, refusal, retryAt, lastId, events, resumes, gaps } = connection;
  document.body.dataset.state = $("state").dataset.state = state;
  write("state", LABELS[state]);
  write("last-event-id", lastId || "none yet");
  write("count-events", events.toLocaleString());
  write("count-resumes", resumes.toLocaleString());
  write("count-gaps", gaps.toLocaleString());
  const wait = retryAt === null ? "" : ` (${Math.max(0, Math.ceil((retryAt - Date.now()) / 1_000))} s)`;
  $("action").dataset.action = isConnected() ? "drop" : "reconnect";
  write("action", isConnected() ? "Drop connection" : `Reconnect now${wait}`);
  showRefusal(REFUSALS[refusal]);
}

function showRefusal(texts) {
  // While a typed token is tried the form stays, so that it does not flicker.
  if (!texts) {
    if (connection.state === "open" && !$("refused").hidden) {
      $("refused").hidden = true;
      $("token").value = "";
    }
    return;
  }
  const again = typedToken && connection.refusal === "unauthorized";
  write("refused-title", texts[0]);
  write("refused-text", again ? "That token was not accepted." : texts[1]);
  if ($("refused").hidden) {
    $("refused").hidden = false;
    $("token").focus();
  }
}

// Only what changed is written: a live region must not speak the same words again.
function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function note(text) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const words = document.createElement("span");
  time.textContent = timeOfDay(Date.now() / 1_000);
  words.textContent = text;
  item.append(time, words);
  $("journal").prepend(item);
  while ($("journal").children.length > KEPT_NOTES) $("journal").lastElementChild.remove();
  return words;
}
