// The page as a whole: a file is chosen or dropped, sent, shown and played.

// From the server: model, labels, kind, fmin_hz, fmax_hz, upload_bytes, duration_s.
const facts = JSON.parse(document.body.dataset.facts);
const part = (id) => document.getElementById(id);

const player = new Player(part("audio"), part("player-note"), (...move) => stage.moveTo(...move));
const stage = new Stage(part, { onSeek: (time) => player.seek(time), onToggle: () => player.toggle() });
let current = new AbortController();

function describeModel() {
  const genres = `${facts.labels.length} ${facts.kind}: ${facts.labels.join(", ")}`;
  part("about").textContent = `The model (${facts.model}) knows ${genres}.`;
  const minutes = facts.duration_s / 60;
  const longest = minutes >= 2 ? `${Math.floor(minutes)} minutes` : `${facts.duration_s} seconds`;
  part("rules").textContent =
    `Any common audio format, up to ${facts.upload_bytes / 1e6} MB and ${longest}. ` +
    "It stays on this machine and is not kept.";
  for (const name of ["fmin", "fmax"]) {
    const hertz = facts[`${name}_hz`];
    part(name).textContent = hertz < 1000 ? `${hertz} Hz` : `${Number((hertz / 1000).toFixed(1))} kHz`;
  }
  part("legend").textContent =
    "Above, the spectrogram that the model sees; below, the probability of each genre in each patch, in full colour " +
    "where it is the highest. Click to go there; with the keyboard: arrows, Page up and down, Home, End, and Space to " +
    "play.";
}

// share: of the upload, 0 to 1; null hides the progress bar. unseen: for screen readers only.
function showStatus(text, { share = null, unseen = false } = {}) {
  part("status").textContent = text;
  part("status").classList.toggle("unseen", unseen);
  part("progress").hidden = share === null;
  if (share !== null) part("progress").value = share;
}

function showProblem({ message, detail }, name = "") {
  const more = [name, detail].filter(Boolean).join(": ");
  part("error").replaceChildren(element("strong", {}, message), ...(more ? [element("span", {}, more)] : []));
}

function showSections(...shown) {
  document.body.classList.toggle("has-result", shown.length > 0);
  for (const name of ["result", "over-time"]) part(name).hidden = !shown.includes(name);
}

async function recognize(file) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  player.clear();
  showSections();
  part("error").replaceChildren();
  showStatus(`Sending ${file.name} …`, { share: 0 });
  try {
    checkSize(file, facts.upload_bytes);
    const result = await send("recognition", file, {
      signal,
      onProgress: (share) => {
        if (share < 1) showStatus(`Sending ${file.name}: ${Math.round(100 * share)} %`, { share });
        else showStatus(`Analysing ${file.name} …`);
      },
    });
    showResult(part, file.name, result);
    const summary = `${file.name}: ${result.headline ?? "no genre"}`;
    showStatus(result.note_in_words ? `${summary}. ${result.note_in_words}` : summary, { unseen: true });
    if (result.label === null) {
      showSections("result");
      return;
    }
    showSections("result", "over-time");
    stage.show(result);
    player.load(file, result.duration_s, signal);
  } catch (problem) {
    showStatus("");
    showProblem(problem instanceof Problem ? problem : new Problem("This page failed.", String(problem)), file.name);
  }
}

function handleDrop(transfer) {
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) showProblem(new Problem("That is a folder. Drop one audio file."));
  else if (transfer.files.length > 1) showProblem(new Problem("Drop one file at a time."));
  else if (transfer.files.length) recognize(transfer.files[0]);
}

describeModel();
part("file").addEventListener("change", () => {
  const [file] = part("file").files;
  // Cleared, so that the same file can be chosen again.
  part("file").value = "";
  if (file) recognize(file);
});
for (const kind of ["dragenter", "dragover"]) {
  addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  handleDrop(event.dataTransfer);
});
