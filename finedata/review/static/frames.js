// Pictures of all cameras, in step and exact to the frame: what is drawn is the frame that is said.
// Sixteen frames come in one answer; each is decoded before it is needed and kept a while.

const AHEAD = 24; // frames decoded before they are shown
const MOST_DECODED = 400; // pictures of all cameras together that stay decoded

export class Frames {
  constructor(data, canvases, holes) {
    this.data = data;
    this.cameras = canvases.map((canvas) => Number(canvas.dataset.camera));
    this.canvases = canvases;
    this.holes = holes;
    this.blobs = new Map(); // "camera:frame" -> Blob, or a text that says what is wrong
    this.asked = new Map(); // "camera:chunk" -> Promise
    this.decoded = new Map(); // "camera:frame" -> ImageBitmap, the oldest first
    this.decoding = new Map();
    this.wanted = -1;
    this.shown = -1;
    this.onshown = () => {};
  }

  // Whether every camera could be drawn at this frame now.
  ready(frame) {
    return this.cameras.every((camera) => {
      const key = `${camera}:${frame}`;
      return this.decoded.has(key) || typeof this.blobs.get(key) === "string";
    });
  }

  show(frame) {
    this.wanted = frame;
    if (this.ready(frame)) this.draw(frame);
    else
      for (const camera of this.cameras)
        this.decode(camera, frame).then(() => {
          if (this.wanted === frame && this.shown !== frame && this.ready(frame)) this.draw(frame);
        });
    this.prepare(frame);
  }

  prepare(frame) {
    const last = Math.min(this.data.length - 1, frame + AHEAD);
    for (const camera of this.cameras) {
      for (let one = frame + 1; one <= last; one++) this.decode(camera, one);
      if (frame > 0) this.decode(camera, frame - 1);
    }
  }

  draw(frame) {
    this.cameras.forEach((camera, at) => {
      const key = `${camera}:${frame}`;
      const canvas = this.canvases[at];
      const hole = this.holes[at];
      const picture = this.decoded.get(key);
      const wrong = this.blobs.get(key);
      if (picture) {
        if (canvas.width !== picture.width || canvas.height !== picture.height) {
          canvas.width = picture.width;
          canvas.height = picture.height;
        }
        canvas.getContext("2d").drawImage(picture, 0, 0);
        hole.hidden = true;
      } else {
        canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
        hole.textContent = wrong;
        hole.hidden = false;
      }
      canvas.dataset.frame = frame;
    });
    this.shown = frame;
    this.onshown(frame);
  }

  decode(camera, frame) {
    const key = `${camera}:${frame}`;
    if (this.decoded.has(key)) {
      const kept = this.decoded.get(key);
      this.decoded.delete(key);
      this.decoded.set(key, kept);
      return Promise.resolve();
    }
    if (!this.decoding.has(key)) {
      const work = this.blob(camera, frame)
        .then(async (blob) => {
          if (typeof blob === "string") return;
          this.keep(key, await createImageBitmap(blob));
        })
        .catch(() => this.blobs.set(key, `frame ${frame}: the picture does not decode`))
        .finally(() => this.decoding.delete(key));
      this.decoding.set(key, work);
    }
    return this.decoding.get(key);
  }

  keep(key, picture) {
    this.decoded.set(key, picture);
    for (const [old, one] of this.decoded) {
      if (this.decoded.size <= MOST_DECODED) break;
      const frame = Number(old.split(":")[1]);
      if (frame >= this.wanted && frame <= this.wanted + AHEAD) continue;
      one.close();
      this.decoded.delete(old);
    }
  }

  async blob(camera, frame) {
    const key = `${camera}:${frame}`;
    if (!this.blobs.has(key)) await this.fetch(camera, Math.floor(frame / this.data.chunk));
    return this.blobs.get(key);
  }

  fetch(camera, chunk) {
    const key = `${camera}:${chunk}`;
    if (!this.asked.has(key)) this.asked.set(key, this.read(camera, chunk));
    return this.asked.get(key);
  }

  async read(camera, chunk) {
    const first = chunk * this.data.chunk;
    const last = Math.min(first + this.data.chunk, this.data.length);
    try {
      const id = encodeURIComponent(this.data.id);
      const answer = await fetch(`/episode/${id}/camera/${camera}/${chunk}`);
      if (!answer.ok) throw new Error(await answer.text());
      const packed = await answer.arrayBuffer();
      const numbers = new DataView(packed);
      let at = 0;
      for (let frame = first; frame < last; frame++) {
        const size = numbers.getUint32(at, true);
        const bytes = new Uint8Array(packed, at + 4, size);
        this.blobs.set(
          `${camera}:${frame}`,
          size ? new Blob([bytes]) : `frame ${frame}: the picture does not decode`,
        );
        at += 4 + size;
      }
    } catch (error) {
      for (let frame = first; frame < last; frame++)
        this.blobs.set(`${camera}:${frame}`, `frame ${frame}: ${error.message}`);
    }
  }
}
