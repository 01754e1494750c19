// What happens when: a file is chosen or dropped, sent, shown and played.

// Of the server: model, labels, fmin_hz, fmax_hz, upload_bytes, duration_s.
const facts = JSON.parse(document.body.dataset.facts);
const part = (id) => document.getElementById(id);

const player = new Player(part("audio"), part("player-note"), (time) => stage.moveTo(time));
const stage = new Stage(part, { onSeek: (time) => player.seek(time), onToggle: () => player.toggle() });
let current = new AbortController();

function describe() {
  part("about").textContent = `A ${facts.model} model that knows ${facts.labels.length} genres: ${facts.labels.join(", ")}.`;
  const minutes = facts.duration_s / 60;
  const longest = minutes >= 2 ? `${Math.floor(minutes)} minutes` : `${facts.duration_s} seconds`;
  part("rules").textContent =
    `WAV, AU, FLAC, MP3, OGG or AIFF, up to ${facts.upload_bytes / 1e6} MB and ${longest}. ` +
    "It stays on this machine, and is forgotten once it is analysed.";
  for (const name of ["fmin", "fmax"]) {
    const hertz = facts[`${name}_hz`];
    part(name).textContent = hertz < 1000 ? `${hertz} Hz` : `${(hertz / 1000).toFixed(1)} kHz`;
  }
  part("legend").textContent =
    "Above, the spectrogram that the model hears; below, the probability of each genre in each patch, strong where it " +
    "is ahead. Click to go there; with the keyboard: arrows, Page up and down, Home, End, and Space to play.";
}

function tell(text, share = null) {
  part("status").textContent = text;
  part("progress").hidden = share === null;
  if (share !== null) part("progress").value = share;
}

function tellProblem({ message, detail }) {
  part("error").replaceChildren(element("strong", {}, message), ...(detail ? [element("span", {}, detail)] : []));
}

function hideResult() {
  player.clear();
  for (const name of ["result", "over-time"]) part(name).hidden = true;
}

async function listenTo(file) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  hideResult();
  part("error").replaceChildren();
  tell(`Sending ${file.name} …`, 0);
  try {
    checkSize(file, facts.upload_bytes);
    const result = await send("recognition", file, {
      signal,
      onProgress: (share) => {
        if (share < 1) tell(`Sending ${file.name}: ${Math.round(100 * share)} %`, share);
        else tell(`Analysing ${file.name} …`);
      },
    });
    tell("");
    showResult(part, file.name, result);
    for (const name of ["result", "over-time"]) part(name).hidden = false;
    stage.show(result);
    player.load(file, result.duration_s, signal);
    tell(`${file.name}: ${result.label}`);
  } catch (problem) {
    tell("");
    tellProblem(problem instanceof Problem ? problem : new Problem("This page failed.", String(problem)));
  }
}

function dropped(transfer) {
  const folder = [...transfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  if (folder) tellProblem(new Problem("That is a folder. Drop one audio file."));
  else if (transfer.files.length > 1) tellProblem(new Problem("Drop one file at a time."));
  else if (transfer.files.length) listenTo(transfer.files[0]);
}

describe();
part("file").addEventListener("change", () => {
  const [file] = part("file").files;
  // Emptied, so that the same file can be chosen again.
  part("file").value = "";
  if (file) listenTo(file);
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
  dropped(event.dataTransfer);
});
