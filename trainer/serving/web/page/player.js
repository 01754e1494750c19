// Plays the file itself, or a WAV file that the server makes of it where the browser cannot play the format.

class Player {
  // audio, note: elements. onMove(seconds, playsOn) is called whenever the position changes; playsOn: by playing alone.
  constructor(audio, note, onMove) {
    this.audio = audio;
    this.note = note;
    this.onMove = onMove;
    this.duration = 0;
    // The playhead may have been moved before the sound was loaded.
    audio.addEventListener("loadedmetadata", () => (audio.currentTime = this.start));
    audio.addEventListener("play", () => this.follow());
    audio.addEventListener("seeking", () => this.moved());
    audio.addEventListener("pause", () => this.moved());
    audio.addEventListener("ended", () => this.moved());
    audio.addEventListener("error", () => this.convert());
  }

  // Loads a file whose audio lasts duration seconds.
  load(file, duration, signal) {
    this.file = file;
    this.duration = duration;
    this.start = 0;
    this.signal = signal;
    this.converted = false;
    this.showNote("");
    this.play(file);
  }

  // Stops and forgets the recording.
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
      this.showNote("This browser cannot play the recording. The pictures can be explored without sound.");
      return;
    }
    this.converted = true;
    this.showNote("This browser cannot play the format: the server is making a WAV file of it …");
    try {
      const wav = await send("wav", file, { responseType: "blob", signal });
      this.showNote("Played as a mono WAV file, for this browser cannot play the format.");
      this.play(wav);
    } catch (problem) {
      this.showNote(`This browser cannot play the format. ${problem.message}`);
    }
  }

  showNote(text) {
    this.note.textContent = text;
  }

  toggle() {
    if (this.audio.hidden) return;
    if (this.audio.paused) this.audio.play().catch((error) => this.showNote(`It cannot be played: ${error.message}`));
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

  // Once per frame of the screen while it plays: the events of the audio element come only four times a second.
  follow() {
    this.moved(true);
    if (!this.audio.paused) requestAnimationFrame(() => this.follow());
  }
}
