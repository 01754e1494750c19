// The genre of the whole recording, a bar for each genre, and the tracks that sound like it.

// Makes an element with attributes and text or children.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A probability as text, never as 100 % or 0 %.
function formatChance(share) {
  if (share > 0.999) return "over 99.9 %";
  if (share < 0.001) return "below 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

// tracks: [{ path, label, similarity }], the nearest first; none where there is no collection.
function showSimilar(part, tracks = []) {
  part("similar").hidden = !tracks.length;
  part("similar-tracks").replaceChildren(
    ...tracks.map(({ path, label, similarity }) =>
      element(
        "li",
        { title: path },
        element("b", {}, path.split("/").at(-1)),
        ...(label === null ? [] : [element("span", {}, label)]),
        element("span", {}, similarity.toFixed(2)),
      ),
    ),
  );
}

// A recording without a genre has only a note that says why.
function showResult(part, name, result) {
  showSimilar(part, result.sounds_like);
  part("file-name").textContent = name;
  part("genre").textContent = result.headline ?? "No genre";
  part("caution").textContent = result.note_in_words ?? "";
  part("chance").textContent = "";
  part("chances").replaceChildren();
  if (result.label === null) return;
  const best = result.probabilities[result.labels.indexOf(result.label)];
  const patches = result.timeline.length === 1 ? "one patch" : `the mean of ${result.timeline.length} patches`;
  part("chance").textContent = `${result.label} ${formatChance(best)}: ${patches} of ${result.patch_s.toFixed(2)}\u00a0s`;
  part("chances").replaceChildren(
    ...rowOrder(result).map((label) => {
      const bar = element("i");
      bar.style.width = `${100 * result.probabilities[label]}%`;
      const row = element(
        "tr",
        result.labels[label] === result.label ? { class: "best" } : {},
        element("th", { scope: "row" }, result.labels[label]),
        element("td", { "aria-hidden": "true" }, element("span", {}, bar)),
        element("td", {}, formatChance(result.probabilities[label])),
      );
      return row;
    }),
  );
}
