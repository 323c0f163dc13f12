// The page of `python -m bptt serve`: what the model answers to every key, in one session.
"use strict";

const MOST = 10; // bars
const HIDDEN = ["<start>", "<unk>"]; // never come next
const element = (id) => document.getElementById(id);
const input = element("input");

let model = null; // as /v1/model describes it
let token = null;
let socket = null;
let steps = []; // that the session has read
let results = []; // of each of them
let waiting = null; // steps of the message that is not yet answered
let greeted = false; // whether the session is there
let changed = false; // whether the text is other than what was sent

function say(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

function node(kind, name, ...children) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

// ---- the steps of the text

function stepsOf(text) {
  if (model.input === "tokens") {
    const tokens = model.unit === "characters" ? [...text] : text.split(/\s+/).filter(Boolean);
    return model.output === "language model" ? ["<start>", ...tokens] : tokens;
  }
  const rows = text.split("\n").filter((line) => line.trim());
  const numbers = rows.map((line) => line.trim().split(/[\s,;]+/).map(Number));
  const size = model.input === "ids" ? 1 : model.input_size;
  const whole = numbers.filter((row) => row.length === size && row.every(Number.isFinite));
  return whole.map((row) => (model.input === "ids" ? row[0] : row));
}

function send() {
  changed = true;
  if (waiting || !greeted) return;
  changed = false;
  const wanted = stepsOf(input.value).slice(0, model.limits.message_steps);
  const goesOn =
    wanted.length >= steps.length &&
    steps.every((step, i) => JSON.stringify(step) === JSON.stringify(wanted[i]));
  if (!goesOn) [steps, results] = [[], []]; // letters were changed: the session begins anew
  const rest = wanted.slice(steps.length);
  if (goesOn && !rest.length) return show();
  const message = { inputs: rest };
  if (!goesOn || !steps.length) message.reset = true;
  if (model.names) message.top = MOST + HIDDEN.length;
  waiting = rest;
  socket.send(JSON.stringify(message));
}

function receive(event) {
  const answer = JSON.parse(event.data);
  if (answer.session) {
    [steps, results, greeted] = [[], [], true];
    say("connected");
    return send();
  }
  const sent = waiting;
  waiting = null;
  if (answer.error) {
    say(answer.error, true);
    [steps, results] = [[], []]; // whatever the session has read
    if (answer.retry_after) setTimeout(send, 1000 * answer.retry_after);
    return;
  }
  steps.push(...sent);
  results.push(...(answer.top || answer.outputs));
  say(`${answer.step} ${answer.step === 1 ? "step" : "steps"} in this session`);
  show();
  if (changed) send();
}

// ---- what is shown

function bar(name, share, shown) {
  const special = /^<.*>$/.test(name);
  const text = special ? name.slice(1, -1) : name === " " ? "space" : name === "\n" ? "line" : name;
  const label = node("span", special || name.trim() === "" ? "of special" : "of", text);
  const fill = node("span", "fill");
  fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  return node("div", "bar", label, node("span", "track", fill), node("span", "share", shown));
}

function show() {
  const last = results[results.length - 1];
  const isTagger = model.output === "labels";
  element("title").hidden = !last;
  element("tags").replaceChildren();
  if (!last) return element("bars").replaceChildren();
  if (!model.names) {
    const scale = Math.max(...last.map(Math.abs), 1e-9);
    element("title").textContent = "Output";
    const rows = last.map((y, i) => bar(`${i + 1}`, Math.abs(y) / scale, y.toPrecision(4)));
    return element("bars").replaceChildren(...rows);
  }
  element("title").textContent = isTagger ? "Label of the last step" : "What comes next";
  const shown = last.filter(([name]) => isTagger || !HIDDEN.includes(name)).slice(0, MOST);
  const rows = shown.map(([name, p]) => bar(String(name), p, `${(100 * p).toFixed(1)} %`));
  element("bars").replaceChildren(...rows);
  if (!isTagger) return;
  const tags = steps.map((step, i) => {
    const [name, p] = results[i][0];
    const share = node("small", "", ` ${Math.round(100 * p)} %`);
    return node("span", "tag", String(step), node("b", "", String(name), share));
  });
  element("tags").replaceChildren(...tags);
}

// ---- the connection

async function begin() {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch("v1/model", { headers });
  element("access").hidden = answer.status !== 401;
  if (answer.status === 401) return say(token ? "the token is wrong" : "needs a token", !!token);
  if (!answer.ok) return say((await answer.json()).error, true);
  model = await answer.json();
  element("name").textContent = model.name;
  const what = { tokens: model.unit, ids: "ids", numbers: `${model.input_size} numbers a line` };
  element("what").textContent = `reads ${what[model.input]}: type, and see the answer to every key`;
  element("prompt").textContent = model.input === "tokens" ? "Text" : "Steps, one a line";
  input.disabled = false;
  input.focus();
  connect();
}

function connect() {
  const url = new URL("v1/stream", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  if (token) socket.onopen = () => socket.send(JSON.stringify({ token }));
  socket.onmessage = receive;
  socket.onclose = (event) => {
    [waiting, greeted] = [null, false];
    const reason = event.reason || "the connection ended";
    say(`${reason}: the next key connects again`, true);
  };
}

input.addEventListener("input", () => {
  if (socket && socket.readyState === WebSocket.CLOSED) return connect();
  send();
});
element("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = element("token").value.trim();
  begin();
});
begin().catch(() => say("the server does not answer", true));
