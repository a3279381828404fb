// Two episodes in step: one place on their alignment, a frame of each.
import { Frames } from "./frames.js";

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const last = data.path.length - 1;
const sides = [...document.querySelectorAll("[data-side]")].map((section, k) => {
  const canvases = [...section.querySelectorAll("canvas[data-camera]")];
  const holes = canvases.map((one) => section.querySelector(`[data-hole="${one.dataset.camera}"]`));
  return { frames: new Frames({ ...data.sides[k], chunk: data.chunk }, canvases, holes), clock: section.querySelector(".clock"), ...data.sides[k] };
});
let place = 0;
let playing = false;

function go(next) {
  place = Math.max(0, Math.min(last, next));
  data.path[place].forEach((frame, k) => {
    const side = sides[k];
    side.frames.show(frame);
    side.clock.textContent = `frame ${frame} of ${side.length - 1}, ${(frame / side.fps).toFixed(2)} s`;
  });
  const [x, y] = data.path[place].map((frame, k) => (100 * frame) / Math.max(1, sides[k].length - 1));
  for (const name of ["x1", "x2"]) at("at-x").setAttribute(name, x);
  for (const name of ["y1", "y2"]) at("at-y").setAttribute(name, 100 - y);
  at("scrub").value = place;
  at("clock").textContent = `pair ${place} of ${last}`;
}

function play() {
  playing = !playing;
  at("play").textContent = playing ? "Pause" : "Play";
  if (!playing) return;
  let from = place >= last ? 0 : place;
  let began = null;
  const tick = (now) => {
    if (!playing) return;
    began ??= now;
    const due = from + Math.floor(((now - began) / 1000) * sides[0].fps * Number(at("speed").value));
    const next = Math.min(due, last);
    const ready = sides.every((side, k) => side.frames.ready(data.path[next][k]));
    if (next !== place || !ready) {
      go(next);
      if (!ready) [from, began] = [next, now]; // both wait for the slower
    }
    if (due > last && ready) play();
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

function faster(by) {
  const speed = at("speed");
  speed.selectedIndex = Math.max(0, Math.min(speed.options.length - 1, speed.selectedIndex + by));
}

function stop(next) {
  if (playing) play();
  go(next);
}

const keys = {
  " ": play,
  ArrowLeft: (event) => stop(place - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => stop(place + (event.shiftKey ? 10 : 1)),
  Home: () => stop(0),
  End: () => stop(last),
  "-": () => faster(-1),
  "+": () => faster(1),
  "=": () => faster(1),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.matches?.("select")) return;
  if (event.key === " " && event.target.matches?.("button, a")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act(event);
});
at("play").addEventListener("click", play);
at("scrub").addEventListener("input", () => stop(Number(at("scrub").value)));
go(0);
document.documentElement.dataset.ready = "yes";
