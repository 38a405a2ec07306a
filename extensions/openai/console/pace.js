// Draws at most once a frame, and leaves the browser most of the time when drawing is slow.

const SHARE = 3;  // a pause is that many times as long as drawing took

export class Pace {
  constructor(draw) {
    this.draw = draw;
    this.waits = false;
    this.ended = false;
    this.cost = 0;
  }

  /** Draw soon. */
  soon() {
    if (this.waits || this.ended) return;
    this.waits = true;
    setTimeout(() => requestAnimationFrame(() => this.#now()), this.cost * SHARE);
  }

  #now() {
    this.waits = false;
    if (this.ended) return;
    const began = performance.now();
    this.draw();
    this.cost = Math.min(performance.now() - began, 300);
  }

  /** Draw no more. */
  end() {
    this.ended = true;
  }
}
