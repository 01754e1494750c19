// The genres over time: a row for each, the most probable of the whole recording first. The height of a bar is the
// genre's probability in a patch; the most probable genre of each patch stands out.

// The indices of the labels in the order of the rows.
function rowOrder({ probabilities }) {
  return probabilities.map((_, label) => label).sort((one, other) => probabilities[other] - probabilities[one]);
}

function topOf(chances) {
  return chances.indexOf(Math.max(...chances));
}

// The index of the patch at a time, or of the nearest one.
function patchAt({ starts_s: starts, patch_s: length }, time) {
  let nearest = 0;
  let least = Infinity;
  starts.forEach((start, patch) => {
    const distance = Math.abs(start + length / 2 - time);
    if (distance < least) [nearest, least] = [patch, distance];
  });
  return nearest;
}

// Draws the rows, each rowHeight CSS pixels high, in the page's colours.
function drawTimeline(canvas, result, rowHeight) {
  const colours = getComputedStyle(canvas);
  const [highest, others, line] = ["--accent", "--band", "--line"].map((name) => colours.getPropertyValue(name));
  const order = rowOrder(result);
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.style.height = `${order.length * rowHeight}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(order.length * rowHeight * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const pixels = (time) => (Math.min(time, result.duration_s) / result.duration_s) * width;
  order.forEach((label, row) => {
    const floor = (row + 1) * rowHeight - 1;
    result.timeline.forEach((chances, patch) => {
      const left = pixels(result.starts_s[patch]);
      const right = pixels(result.starts_s[patch] + result.patch_s);
      const height = chances[label] * (rowHeight - 4);
      context.fillStyle = topOf(chances) === label ? highest : others;
      // A gap of a pixel between patches, where there is room for it.
      context.fillRect(left, floor - height, Math.max(right - left - (right - left > 5 ? 1 : 0), 0.5), height);
    });
    context.fillStyle = line;
    context.fillRect(0, floor, width, 1);
  });
}
