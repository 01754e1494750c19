// Spectrogram and timeline with a common playhead, which follows the sound and is moved by pointer and keyboard.

const TICK_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const TICK_PIXELS = 56;
const KEY_STEPS_S = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
const ENDS = { Home: 0, End: Infinity };

function clock(time) {
  const seconds = Math.floor(time + 1e-6);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = String(seconds % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

class Stage {
  // part: returns an element by its id. onSeek is called with seconds, onToggle when Space is pressed.
  constructor(part, { onSeek, onToggle }) {
    this.part = part;
    this.plots = part("stage");
    this.onSeek = onSeek;
    this.position = 0;
    this.hovered = null;
    this.plots.addEventListener("keydown", (event) => this.handleKey(event, onToggle));
    this.plots.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.plots.setPointerCapture(event.pointerId);
      onSeek(this.timeAt(event));
    });
    this.plots.addEventListener("pointermove", (event) => {
      this.hover(this.timeAt(event));
      if (event.buttons & 1) onSeek(this.timeAt(event));
    });
    this.plots.addEventListener("pointerleave", () => this.hover(null));
    new ResizeObserver(() => this.draw()).observe(this.plots);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Shows a result, from its beginning.
  show(result) {
    this.result = result;
    this.order = rowOrder(result);
    const named = (label) => element("li", { title: result.labels[label] }, result.labels[label]);
    this.part("names").replaceChildren(...this.order.map(named));
    this.part("values").replaceChildren(...this.order.map(() => element("li")));
    this.plots.setAttribute("aria-valuemax", result.duration_s.toFixed(1));
    drawSpectrogram(this.part("spectrogram"), result.spectrogram);
    this.hovered = null;
    this.draw();
    this.moveTo(0);
  }

  draw() {
    if (!this.result || !this.plots.clientWidth) return;
    const height = parseFloat(getComputedStyle(this.part("names").firstChild).height);
    drawTimeline(this.part("timeline"), this.result, height);
    this.drawAxis();
    this.moveTo(this.position);
  }

  drawAxis() {
    const { duration_s: duration } = this.result;
    const most = Math.max(1, this.plots.clientWidth / TICK_PIXELS);
    const step = TICK_STEPS_S.find((candidate) => duration / candidate <= most) ?? TICK_STEPS_S.at(-1);
    const ticks = [];
    for (let time = 0; time <= 0.97 * duration; time += step) {
      const tick = element("span", {}, clock(time));
      tick.style.left = `${(100 * time) / duration}%`;
      ticks.push(tick);
    }
    this.part("axis").replaceChildren(...ticks);
  }

  // Moves the playhead and shows the genres there, unless the pointer is elsewhere on the plots. Screen readers do not
  // read out every step while the sound plays on.
  moveTo(time, playsOn = false) {
    this.position = Math.min(Math.max(time, 0), this.result.duration_s);
    this.place("playhead", this.position);
    this.plots.setAttribute("aria-valuenow", this.position.toFixed(1));
    if (!playsOn) this.plots.setAttribute("aria-valuetext", this.describe(this.position, ", "));
    this.updateValues();
  }

  hover(time) {
    if (!this.result) return;
    this.hovered = time;
    const bubble = this.part("bubble");
    for (const each of [this.part("hover"), bubble]) each.hidden = time === null;
    if (time !== null) {
      bubble.textContent = this.describe(time, "\n");
      const line = this.place("hover", time);
      const fits = line + 10 + bubble.offsetWidth <= this.plots.clientWidth;
      bubble.style.left = `${fits ? line + 10 : Math.max(0, line - 10 - bubble.offsetWidth)}px`;
    }
    this.updateValues();
  }

  updateValues() {
    const chances = this.result.timeline[patchAt(this.result, this.hovered ?? this.position)];
    const top = topOf(chances);
    this.order.forEach((label, row) => {
      this.part("values").children[row].textContent = percent(chances[label]);
      for (const list of ["names", "values"]) this.part(list).children[row].classList.toggle("top", label === top);
    });
  }

  // "0:12 of 0:30", and the three most probable genres there.
  describe(time, between) {
    const chances = this.result.timeline[patchAt(this.result, time)];
    const best = rowOrder({ probabilities: chances }).slice(0, 3);
    const genres = best.map((label) => `${this.result.labels[label]} ${percent(chances[label])}`);
    return [`${clock(time)} of ${clock(this.result.duration_s)}`, ...genres].join(between);
  }

  place(name, time) {
    const left = (time / this.result.duration_s) * this.plots.clientWidth;
    this.part(name).style.transform = `translateX(${left}px)`;
    return left;
  }

  timeAt(event) {
    const box = this.plots.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * this.result.duration_s;
  }

  handleKey(event, onToggle) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " ") onToggle();
    else if (event.key in KEY_STEPS_S) this.onSeek(this.position + KEY_STEPS_S[event.key]);
    else if (event.key in ENDS) this.onSeek(ENDS[event.key]);
    else return;
    event.preventDefault();
  }
}
