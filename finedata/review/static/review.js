// Deciding about one fact: by keyboard, every answer after the journal's, the next one made ready.
import { page, keys, choose, layOut } from "./episode.js";

const data = page.data;
const at = (id) => document.getElementById(id);
let csrf = document.querySelector("meta[name=csrf]").content;
const fact = data.facts.find((one) => one.fact_id === data.target);
const edited = { start_frame: fact.start_frame, end_frame: fact.end_frame };
const began = performance.now();
let busy = false;

function name() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
}

async function post(address, body) {
  const send = () =>
    fetch(address, {
      method: "POST",
      headers: { "content-type": "application/json", "x-finedata": csrf },
      body: JSON.stringify(body),
    });
  let answer = await send();
  if (answer.status === 403) {
    // the server began anew while this page was open: what was typed here is not lost to that
    const page = new DOMParser().parseFromString(await (await fetch("/tasks")).text(), "text/html");
    csrf = page.querySelector("meta[name=csrf]")?.content ?? csrf;
    answer = await send();
  }
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return JSON.parse(text);
}

function changes() {
  const now = { ...edited, text: at("edit-text").value.trim(), value: at("edit-value").value.trim() };
  return Object.fromEntries(Object.entries(now).filter(([key, value]) => value !== fact[key]));
}

async function decide(decision) {
  if (busy) return;
  const reason = at("reason").value;
  if (["skip", "send_back"].includes(decision) && !reason.trim()) {
    at("told").textContent = "say why, then the same key again";
    at("reason").focus();
    return;
  }
  if (decision === "accept" && Object.keys(changes()).length) {
    at("told").textContent = "there are changes: save the edit with Ctrl Enter, or load the page again";
    return;
  }
  busy = true;
  const seconds = (performance.now() - began) / 1000;
  const sent = { review_id: name(), revision: fact.revision, decision, reason, seconds, blind: data.blind };
  if (decision === "edit") sent.changes = changes();
  try {
    const asked = performance.now();
    const found = await post(`/review/${data.target}/decide`, sent);
    document.documentElement.dataset.saved = decision;
    document.documentElement.dataset.tookMs = Math.round(performance.now() - asked);
    at("told").textContent = `saved: ${decision.replace("_", " ")}`;
    location.assign(found.next ? `/review/${found.next.fact_id}` : "/review");
  } catch (error) {
    at("told").textContent = `not saved. ${error.message}`;
    busy = false;
  }
}

async function undo() {
  if (busy) return;
  try {
    const found = await post("/undo", { review_id: name() });
    if (!found.decision) at("told").textContent = "nothing of yours is left to take back";
    else if (found.decision === "add") location.reload();
    else if (found.fact_id) location.assign(`/review/${found.fact_id}`);
    else {
      const here = found.episode_id === data.id;
      if (here) showSteps(found.steps);
      at("told").textContent = `taken back: ${found.decision}${here ? "" : ` in ${found.episode_id}`}`;
    }
  } catch (error) {
    at("told").textContent = error.message;
  }
}

function showSteps(steps) {
  data.steps.splice(0, data.steps.length, ...steps);
  layOut();
  page.go(page.frame, { keep: true });
}

// Steps change together, so the answer holds all of them; the page stays where it is.
async function changeSteps(decision, edge = "") {
  if (busy || data.blind) return;
  const inside = (step) => step.start_frame <= page.frame && page.frame < step.end_frame;
  const own = data.steps.filter((step) => step.run_id === fact.run_id);
  const step = (own.length ? own : data.steps).find(inside);
  if (!step) {
    at("told").textContent = "no step is under the cursor";
    return;
  }
  await saveSteps(decision, step, edge === "end" ? page.frame + 1 : page.frame, edge);
}

async function saveSteps(decision, step, frame, edge) {
  if (busy) return;
  busy = true;
  const seen = Object.fromEntries(data.steps.map((one) => [one.step_id, one.revision]));
  const seconds = (performance.now() - began) / 1000;
  const sent = { review_id: name(), decision, step_id: step.step_id, seen, frame, edge, seconds };
  try {
    const found = await post(`/review/${data.target}/steps`, sent);
    showSteps(found.steps);
    at("told").textContent = `saved: ${decision}; ${found.steps.length} steps`;
  } catch (error) {
    at("told").textContent = `not saved. ${error.message}`;
  }
  busy = false;
}

// An edge between steps, dragged: shown while it moves, saved where it is let go.
let dragged = null;
at("steps").addEventListener("pointermove", (event) => {
  if (data.blind || dragged) return;
  at("steps").style.cursor = nearEdge(event) ? "ew-resize" : "";
});
at("steps").addEventListener("pointerdown", (event) => {
  dragged = data.blind ? null : nearEdge(event);
  if (!dragged) return;
  event.preventDefault();
  at("steps").setPointerCapture(event.pointerId);
});
at("steps").addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const [low, high] = [dragged.step.start_frame + 1, dragged.next ? dragged.next.end_frame - 1 : data.length];
  dragged.frame = Math.max(low, Math.min(high, Math.round(frameAt(event))));
  page.go(Math.min(dragged.frame, data.length - 1));
  at("told").textContent = `the edge is at ${dragged.frame}`;
});
at("steps").addEventListener("pointerup", () => {
  const { step, frame } = dragged ?? {};
  dragged = null;
  if (step && frame !== undefined && frame !== step.end_frame) saveSteps("move", step, frame, "end");
});
// what is let go is no press of the step below
at("steps").addEventListener("click", (event) => event.detail && nearEdge(event) && event.stopPropagation(), true);

function frameAt(event) {
  const box = at("timeline").getBoundingClientRect();
  return ((event.clientX - box.left) / box.width) * data.length;
}

function nearEdge(event) {
  const near = (4 / at("timeline").getBoundingClientRect().width) * data.length;
  const exact = frameAt(event);
  const step = data.steps.find((one) => Math.abs(one.end_frame - exact) <= near);
  return step && { step, next: data.steps.find((one) => one.run_id === step.run_id && one.start_frame === step.end_frame) };
}

function adding() {
  return at("add") && !at("add").hidden;
}

function startAdding() {
  if (!at("add")) return;
  at("judge").hidden = true;
  at("add").hidden = false;
  at("add-slot").focus();
}

function leaveAdding() {
  at("judge").hidden = false;
  at("add").hidden = true;
}

async function add() {
  if (busy) return;
  busy = true;
  const seconds = (performance.now() - began) / 1000;
  const words = { slot: at("add-slot").value, value: at("add-value").value, text: at("add-text").value };
  try {
    await post(`/review/${data.target}/add`, { review_id: name(), ...words, ...edited, seconds });
    location.reload();
  } catch (error) {
    at("told").textContent = `not saved. ${error.message}`;
    busy = false;
  }
}

function told() {
  for (const one of document.querySelectorAll(".range")) one.textContent = `${edited.start_frame} to ${edited.end_frame}`;
  place();
}

function set(end, frame) {
  if (end === "start_frame") edited.start_frame = Math.max(0, Math.min(frame, edited.end_frame - 1));
  else edited.end_frame = Math.min(data.length, Math.max(frame, edited.start_frame + 1));
  told();
}

const handles = ["start_frame", "end_frame"].map((end) => {
  const handle = document.createElement("button");
  handle.className = "edge";
  handle.id = `edge-${end}`;
  handle.setAttribute("aria-label", end === "start_frame" ? "first frame of the fact" : "end of the fact");
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    const box = at("timeline").getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const exact = share * data.length;
    const edges = data.steps.flatMap((step) => [step.start_frame, step.end_frame]);
    const near = edges.sort((a, b) => Math.abs(a - exact) - Math.abs(b - exact))[0];
    const snaps = near !== undefined && (Math.abs(near - exact) / data.length) * box.width < 8;
    set(end, snaps ? near : Math.round(exact));
    page.go(end === "start_frame" ? edited.start_frame : edited.end_frame - 1);
  });
  handle.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    set(end, edited[end] + by);
  });
  at("timeline").append(handle);
  return handle;
});

function place() {
  handles[0].style.left = `${(100 * edited.start_frame) / data.length}%`;
  handles[1].style.left = `${(100 * edited.end_frame) / data.length}%`;
}

const acts = { a: "accept", r: "reject", s: "skip", b: "send_back" };
// a key that is held down decides about one fact, not about those that follow
for (const [key, decision] of Object.entries(acts)) keys[key] = (event) => event.repeat || decide(decision);
keys.u = (event) => event.repeat || undo();
const others = { add: startAdding, split: () => changeSteps("split"), merge: () => changeSteps("merge"), start: () => changeSteps("move", "start"), end: () => changeSteps("move", "end"), undo };
if (!data.blind) Object.assign(keys, { n: others.add, "/": others.split, m: others.merge, "<": others.start, ">": others.end });
keys.e = () => at("edit-text").focus();
keys["{"] = () => set("start_frame", page.frame);
keys["}"] = () => set("end_frame", page.frame + 1);
document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.keyCode === 229 || event.repeat) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (adding()) add();
    else decide("edit");
  } else if (event.key === "Escape") {
    document.activeElement.blur();
    if (adding()) leaveAdding();
  }
});
at("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  at("reason").blur();
  at("told").textContent = "now s skips, b sends back";
});
for (const row of [at("decide"), at("more")])
  row?.addEventListener("click", (event) => {
    const act = event.target.closest("button")?.dataset.act;
    if (act) (others[act] ?? (() => decide(act)))();
  });
at("add")?.addEventListener("submit", (event) => {
  event.preventDefault();
  add();
});
at("reviewer").addEventListener("change", async () => {
  try {
    await post("/reviewer", { name: at("reviewer").value });
    location.assign("/review");
  } catch (error) {
    at("told").textContent = error.message;
  }
});

// a page out of the browser's memory is as it was, and so is not
window.addEventListener("pageshow", (event) => event.persisted && location.reload());

choose(fact, { seek: true });
layOut();
told();
document.documentElement.dataset.review = "ready";
fetch(`/review/${data.target}/next`)
  .then((answer) => answer.json())
  .then(({ next }) => {
    document.documentElement.dataset.next = next?.fact_id ?? "";
    if (!next || next.episode_id === data.id) return;
    const pictures = data.cameras.findIndex((camera) => !camera.missing);
    if (pictures >= 0) fetch(`/episode/${encodeURIComponent(next.episode_id)}/camera/${pictures}/0`);
  });
