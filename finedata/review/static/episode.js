// The page of one episode: one cursor, to which pictures, plots, path, steps and facts are tied.
import { Frames } from "./frames.js";
import { Path, Plot, plotsOf } from "./plots.js";

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = data.length - 1;
const canvases = [...document.querySelectorAll("canvas[data-camera]")];
const holes = canvases.map((canvas) => document.querySelector(`[data-hole="${canvas.dataset.camera}"]`));
const frames = new Frames(data, canvases, holes);
const path = new Path(at("path"), data, () => path.draw(page.frame));
const plots = plotsOf(data).map((plot) => new Plot(plot, data.length, (frame) => page.go(frame)));
at("plots").append(...plots.map((plot) => plot.figure));

export const page = {
  data,
  frame: 0,
  fact: null, // fact_id of the chosen one
  playing: false,
  loop: null, // [first, past the last] that is played again and again
  go(frame, { keep = false } = {}) {
    if (!keep) page.stop();
    page.frame = Math.max(0, Math.min(last, Math.round(frame)));
    frames.show(page.frame);
    redraw();
    if (!keep) remember();
  },
  stop() {
    page.playing = false;
    page.loop = null;
    at("play").textContent = "Play";
  },
};

function share(frame) {
  return `${(100 * frame) / data.length}%`;
}

let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    const frame = page.frame;
    at("scrub").value = frame;
    at("scrub").setAttribute("aria-valuetext", `frame ${frame} of ${data.length}, ${(frame / data.fps).toFixed(2)} s`);
    at("clock").textContent = `frame ${frame} of ${last} · ${(frame / data.fps).toFixed(2)} s`;
    at("cursor").style.left = `${(100 * (frame + 0.5)) / data.length}%`;
    plots.forEach((plot) => plot.draw(frame));
    path.draw(frame);
    tellNow(frame);
  });
}

function inside(row, frame) {
  return row.start_frame <= frame && frame < Math.max(row.end_frame, row.start_frame + 1);
}

function tellNow(frame) {
  const steps = data.steps.filter((step) => inside(step, frame));
  at("now-step").textContent = steps.map((step) => step.text).join(" · ");
  stepButtons.forEach((button, k) => button.classList.toggle("now", inside(data.steps[k], frame)));
  for (const fact of data.facts)
    document.getElementById(`fact-${fact.fact_id}`)?.classList.toggle("here", fact.anchor !== "episode" && inside(fact, frame));
  const trace = data.traces.filter((one) => one.frame_index <= frame).at(-1);
  at("trace").hidden = !trace;
  if (trace && at("trace").dataset.trace !== trace.trace_id) {
    at("trace").dataset.trace = trace.trace_id;
    const parts = ["observation", "situation_analysis", "spatial_reasoning", "task_planning", "sub_action"];
    at("trace").replaceChildren(
      ...parts.flatMap((name) => {
        const paragraph = document.createElement("p");
        const head = document.createElement("b");
        head.textContent = `${name.replace("_", " ")}: `;
        paragraph.append(head, trace[name] ?? "");
        return [paragraph];
      }),
    );
  }
}

let stepButtons = [];
export function layOut() {
  at("steps").replaceChildren();
  stepButtons = data.steps.map((step) => {
    const button = document.createElement("button");
    button.className = "step";
    button.textContent = step.text;
    button.title = step.text;
    button.style.left = share(step.start_frame);
    button.style.width = share(Math.max(1, step.end_frame - step.start_frame));
    button.addEventListener("click", () => page.go(step.start_frame));
    const item = document.createElement("div");
    item.setAttribute("role", "listitem");
    item.append(button);
    at("steps").append(item);
    return button;
  });
  at("marks").replaceChildren(
    ...data.facts.map((fact, k) => {
      const mark = document.createElement("div");
      mark.className = `mark ${fact.kinematic_verdict} ${fact.fact_id === page.fact ? "chosen" : ""}`;
      mark.style.left = share(fact.start_frame);
      mark.style.width = share(Math.max(1, fact.end_frame - fact.start_frame));
      mark.style.top = `${(k * 4) % 14}px`;
      return mark;
    }),
  );
}

export function choose(fact, { seek = true, scroll = true } = {}) {
  page.fact = fact?.fact_id ?? null;
  document.querySelectorAll("#facts li").forEach((item) => item.classList.toggle("chosen", item.dataset.fact === page.fact));
  layOut();
  const item = fact && document.getElementById(`fact-${fact.fact_id}`);
  // the list alone scrolls: the pictures stay where they are
  if (item && scroll) at("facts").scrollTop = item.offsetTop - at("facts").offsetTop - 20;
  if (fact && seek) page.go(fact.start_frame);
  else redraw();
  document.dispatchEvent(new CustomEvent("chosen", { detail: fact }));
}

export function stepFact(by) {
  if (!data.facts.length) return;
  const now = data.facts.findIndex((fact) => fact.fact_id === page.fact);
  const next = now < 0 ? (by > 0 ? 0 : data.facts.length - 1) : (now + by + data.facts.length) % data.facts.length;
  choose(data.facts[next]);
}

function play() {
  if (page.playing) {
    page.stop();
    remember();
    return;
  }
  const [first, end] = page.loop ?? [0, data.length];
  let from = page.frame >= end - 1 || page.frame < first ? first : page.frame;
  let began = null;
  page.playing = true;
  at("play").textContent = "Pause";
  const tick = (now) => {
    if (!page.playing) return;
    if (began === null) began = now;
    const due = from + Math.floor(((now - began) / 1000) * data.fps * Number(at("speed").value));
    const next = Math.min(due, end - 1);
    if (next !== page.frame || frames.shown !== next) {
      if (frames.ready(next)) page.go(next, { keep: true });
      else {
        frames.show(next); // all cameras wait for the slowest
        [from, began] = [page.frame, now];
      }
    }
    if (due >= end) {
      if (!page.loop) {
        page.stop();
        return;
      }
      [from, began] = [first, now];
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const query = new URLSearchParams(location.search);
    query.set("frame", page.frame);
    if (page.fact) query.set("fact", page.fact);
    else query.delete("fact");
    history.replaceState(null, "", `?${query}`);
  }, 150);
}

function edge(by) {
  const edges = [...new Set(data.steps.flatMap((step) => [step.start_frame, step.end_frame]))].sort((a, b) => a - b);
  const found = by > 0 ? edges.find((one) => one > page.frame) : edges.findLast((one) => one < page.frame);
  page.go(found ?? (by > 0 ? last : 0));
}

function faster(by) {
  const speed = at("speed");
  speed.selectedIndex = Math.max(0, Math.min(speed.options.length - 1, speed.selectedIndex + by));
}

export const keys = {
  " ": play,
  ArrowLeft: (event) => page.go(page.frame - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => page.go(page.frame + (event.shiftKey ? 10 : 1)),
  Home: () => page.go(0),
  End: () => page.go(last),
  "[": () => edge(-1),
  "]": () => edge(1),
  "-": () => faster(-1),
  "+": () => faster(1),
  "=": () => faster(1),
  j: () => stepFact(1),
  k: () => stepFact(-1),
  l: () => {
    const fact = data.facts.find((one) => one.fact_id === page.fact);
    if (!fact) return;
    page.stop();
    page.loop = [fact.start_frame, Math.max(fact.end_frame, fact.start_frame + 1)];
    page.frame = fact.start_frame;
    play();
  },
};

// A key that belongs to whoever types: a word that an input method still composes, or a shortcut of
// the browser. AltGr is Ctrl and Alt to some systems, and the only way to braces on many keyboards.
export function typed(event) {
  if (event.isComposing || event.keyCode === 229) return true;
  return (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
}

document.addEventListener("keydown", (event) => {
  const where = event.target;
  if (typed(event)) return;
  if (where.matches?.("input:not(#scrub), textarea, select")) return;
  if (event.key === " " && where.matches?.("button, summary, a")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});
at("play").addEventListener("click", play);
at("back").addEventListener("click", () => page.go(page.frame - 1));
at("forth").addEventListener("click", () => page.go(page.frame + 1));
at("scrub").addEventListener("input", () => page.go(Number(at("scrub").value)));
document.querySelectorAll("#facts li").forEach((item) => {
  const fact = data.facts.find((one) => one.fact_id === item.dataset.fact);
  item.querySelector("button.fact").addEventListener("click", () => choose(fact, { scroll: false }));
});
const again = () => {
  plots.forEach((plot) => {
    plot.kept = null;
    plot.keys = null;
  });
  redraw();
};
window.addEventListener("resize", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);

layOut();
const query = new URLSearchParams(location.search);
const asked = data.facts.find((fact) => fact.fact_id === query.get("fact"));
if (asked) choose(asked, { seek: !query.has("frame") });
page.go(Number(query.get("frame") ?? asked?.start_frame ?? 0) || 0, { keep: true });
document.documentElement.dataset.ready = "yes";
