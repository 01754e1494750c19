// The sound: the file itself where the browser can play it, or else a WAV file that the server makes of it.

class Player {
  // audio, note: elements. onMove is called whenever the position changes: with seconds, and whether it just plays on.
  constructor(audio, note, onMove) {
    this.audio = audio;
    this.note = note;
    this.onMove = onMove;
    this.duration = 0;
    // Where the playhead was put before the sound was there.
    audio.addEventListener("loadedmetadata", () => (audio.currentTime = this.start));
    audio.addEventListener("play", () => this.follow());
    audio.addEventListener("seeking", () => this.moved());
    audio.addEventListener("pause", () => this.moved());
    audio.addEventListener("ended", () => this.moved());
    audio.addEventListener("error", () => this.convert());
  }

  // Takes a file that is known to be audio of so many seconds.
  load(file, duration, signal) {
    this.file = file;
    this.duration = duration;
    this.start = 0;
    this.signal = signal;
    this.converted = false;
    this.tell("");
    this.play(file);
  }

  // Silence, while there is no recording.
  clear() {
    this.file = null;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.release();
  }

  play(blob) {
    this.release();
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
    this.audio.hidden = false;
  }

  release() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
  }

  async convert() {
    const { file, signal } = this;
    if (!file) return;
    this.audio.hidden = true;
    if (this.converted) {
      this.tell("This browser cannot play the recording. The pictures can be explored without sound.");
      return;
    }
    this.converted = true;
    this.tell("This browser cannot play the format: the server is making a WAV file of it …");
    try {
      const wav = await send("wav", file, { responseType: "blob", signal });
      this.tell("Played as a mono WAV file, for this browser cannot play the format.");
      this.play(wav);
    } catch (problem) {
      this.tell(`This browser cannot play the format. ${problem.message}`);
    }
  }

  tell(text) {
    this.note.textContent = text;
  }

  toggle() {
    if (this.audio.hidden) return;
    if (this.audio.paused) this.audio.play().catch((error) => this.tell(`It cannot be played: ${error.message}`));
    else this.audio.pause();
  }

  seek(time) {
    const wanted = Math.min(Math.max(time, 0), this.duration);
    if (this.audio.readyState > 0) this.audio.currentTime = Math.min(wanted, this.audio.duration);
    else this.start = wanted;
    this.onMove(wanted, false);
  }

  moved(playsOn = false) {
    if (this.file) this.onMove(this.audio.currentTime, playsOn);
  }

  // Once a picture of the screen while it plays: the audio element itself tells only four times a second.
  follow() {
    this.moved(true);
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }
}
