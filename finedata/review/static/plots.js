// Motion as pictures: numbers over frames with action beside state, and each arm's path in space.

const COLOURS = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--s6"];

function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(name).trim();
  return { lines: COLOURS.map(named), soft: named("--soft"), line: named("--line"), cursor: named("--bad"), ink: named("--ink") };
}

function sharp(canvas) {
  const scale = window.devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * scale));
  const height = Math.max(1, Math.round(box.height * scale));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, box.width, box.height);
  return [context, box.width, box.height];
}

const column = (values, k) => values.map((row) => (Array.isArray(row) ? row[k] : row));

function lines(names, values) {
  return names.map((name, k) => ({ name, values: column(values, k) }));
}

// What is drawn: a title, lines of state, and lines of action where they are of the same numbers.
export function plotsOf(data) {
  const found = [];
  const kinds = [
    ["position", "position, m", ["x", "y", "z"]],
    ["quaternion", "quaternion", ["x", "y", "z", "w"]],
    ["gripper", "gripper, 1 = open", ["gripper"]],
    ["joints", "joints, rad", null],
  ];
  for (const [arm, sides] of Object.entries(data.arms))
    for (const [what, title, names] of kinds) {
      const state = sides.state?.[what];
      const action = sides.action?.[what];
      const any = state || action;
      if (!any || !any.length) continue;
      const called = names || any[0].map((_, k) => `${k}`);
      found.push({
        title: `${arm} ${title}`,
        state: state ? lines(called, state) : [],
        action: action ? lines(called, action) : [],
      });
    }
  for (const [name, numbers] of Object.entries(data.plain))
    found.push({ title: name, state: Object.entries(numbers).map(([one, values]) => ({ name: one, values })), action: [] });
  return found;
}

export class Plot {
  constructor(plot, length, onseek) {
    this.plot = plot;
    this.length = length;
    this.figure = document.createElement("figure");
    this.figure.className = "plot";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${plot.title} over frames; line: state, dashes: action`);
    this.caption = document.createElement("figcaption");
    this.figure.append(this.canvas, this.caption);
    this.kept = null;
    const seek = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      onseek(Math.round(share * (this.length - 1)));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.canvas.addEventListener("pointermove", (event) => event.buttons && seek(event));
    const all = [...plot.state, ...plot.action].flatMap((one) => one.values).filter((v) => v !== null);
    const low = all.reduce((a, b) => Math.min(a, b), Infinity);
    const high = all.reduce((a, b) => Math.max(a, b), -Infinity);
    const spare = (high - low) * 0.06 || 0.5;
    [this.low, this.high] = all.length ? [low - spare, high + spare] : [0, 1];
  }

  // The lines, drawn once; the cursor goes on top of a copy of them.
  base() {
    const [context, width, height] = sharp(this.canvas);
    const ink = colours();
    const x = (frame) => (frame / Math.max(1, this.length - 1)) * width;
    const y = (value) => height - ((value - this.low) / (this.high - this.low)) * height;
    for (const [side, dashes] of [["action", [3, 3]], ["state", []]])
      this.plot[side].forEach((one, k) => {
        context.strokeStyle = ink.lines[k % ink.lines.length];
        context.setLineDash(dashes);
        context.lineWidth = side === "state" ? 1.6 : 1;
        context.beginPath();
        let pen = false;
        one.values.forEach((value, frame) => {
          if (value === null) pen = false;
          else {
            if (pen) context.lineTo(x(frame), y(value));
            else context.moveTo(x(frame), y(value));
            pen = true;
          }
        });
        context.stroke();
      });
    context.setLineDash([]);
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    copy.getContext("2d").drawImage(this.canvas, 0, 0);
    this.kept = { copy, width, height, x, cursor: ink.cursor, lines: ink.lines };
  }

  draw(frame) {
    if (!this.kept) this.base();
    const { copy, height, x, cursor, lines: shades } = this.kept;
    const context = this.canvas.getContext("2d");
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, copy.width, copy.height);
    context.drawImage(copy, 0, 0);
    context.restore();
    context.fillStyle = cursor;
    context.fillRect(x(frame) - 0.75, 0, 1.5, height);
    const told = (this.plot.state.length ? this.plot.state : this.plot.action).slice(0, 7);
    if (!this.keys) {
      this.caption.textContent = `${this.plot.title}: `;
      this.keys = told.map((_, k) => {
        const key = document.createElement("span");
        key.className = "key";
        key.style.color = shades[k % shades.length];
        this.caption.append(key, " ");
        return key;
      });
    }
    told.forEach((one, k) => {
      const value = one.values[frame];
      this.keys[k].textContent = `${one.name} ${value === null || value === undefined ? "none" : value.toFixed(3)}`;
    });
  }
}

function turned([x, y, z, w], [a, b, c]) {
  // v + 2 q × (q × v + w v)
  const [tx, ty, tz] = [y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c];
  return [a + 2 * (y * tz - z * ty), b + 2 * (z * tx - x * tz), c + 2 * (x * ty - y * tx)];
}

export class Path {
  constructor(canvas, data, redraw) {
    this.canvas = canvas;
    this.arms = Object.entries(data.arms)
      .map(([arm, sides]) => ({ arm, ...(sides.state?.position ? sides.state : sides.action || {}) }))
      .filter((one) => one.position?.length);
    canvas.hidden = !this.arms.length;
    this.turn = -0.7;
    this.tilt = 0.5;
    const points = this.arms.flatMap((one) => one.position.filter((p) => p.every((v) => v !== null)));
    const ends = (k) => points.reduce(([a, b], p) => [Math.min(a, p[k]), Math.max(b, p[k])], [Infinity, -Infinity]);
    const spans = [0, 1, 2].map(ends);
    this.middle = spans.map(([a, b]) => (a + b) / 2);
    this.size = Math.max(0.02, ...spans.map(([a, b]) => b - a).filter(Number.isFinite));
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      this.turn += event.movementX * 0.01;
      this.tilt += event.movementY * 0.01;
      redraw();
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (!step) return;
      this.turn += step[0];
      this.tilt += step[1];
      event.preventDefault();
      event.stopPropagation();
      redraw();
    });
  }

  draw(frame) {
    if (!this.arms.length) return;
    const [context, width, height] = sharp(this.canvas);
    const ink = colours();
    const scale = (Math.min(width, height) * 0.62) / this.size;
    const [s, c] = [Math.sin(this.turn), Math.cos(this.turn)];
    const [st, ct] = [Math.sin(this.tilt), Math.cos(this.tilt)];
    const flat = (p) => {
      const [x, y, z] = p.map((v, k) => v - this.middle[k]);
      const [right, depth] = [x * c - y * s, x * s + y * c];
      return [width / 2 + right * scale, height / 2 - (z * ct + depth * st) * scale];
    };
    const line = (a, b) => {
      context.beginPath();
      context.moveTo(...flat(a));
      context.lineTo(...flat(b));
      context.stroke();
    };
    const axes = (at, quaternion, long) =>
      [[1, 0, 0], [0, 1, 0], [0, 0, 1]].forEach((axis, k) => {
        context.strokeStyle = ink.lines[k];
        const way = turned(quaternion, axis);
        line(at, at.map((v, i) => v + way[i] * long));
      });
    this.arms.forEach(({ position, quaternion }, k) => {
      const whole = (p) => p && p.every((v) => v !== null);
      for (let at = 1; at < position.length; at++)
        if (whole(position[at - 1]) && whole(position[at])) {
          context.lineWidth = at <= frame ? 2.2 : 1;
          context.strokeStyle = at <= frame ? ink.lines[(k + 2) % 7] : ink.soft;
          line(position[at - 1], position[at]);
        }
      context.lineWidth = 1;
      const every = Math.max(1, Math.ceil(position.length / 12));
      for (let at = 0; at < position.length; at += every)
        if (whole(position[at]) && whole(quaternion?.[at])) axes(position[at], quaternion[at], this.size * 0.06);
      if (whole(position[frame])) {
        context.lineWidth = 2.5;
        if (whole(quaternion?.[frame])) axes(position[frame], quaternion[frame], this.size * 0.16);
        context.fillStyle = ink.cursor;
        context.beginPath();
        context.arc(...flat(position[frame]), 4, 0, 7);
        context.fill();
      }
    });
    context.fillStyle = ink.soft;
    context.font = "12px system-ui, sans-serif";
    context.fillText(`${this.arms.map((one) => one.arm).join(", ")} arm; ${this.size.toFixed(2)} m across; red x, green y, blue z of the tool`, 8, height - 8);
  }
}
