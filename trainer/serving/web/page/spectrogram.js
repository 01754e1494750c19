// The picture of the log-mel spectrogram.

// Points along matplotlib's magma (by S. van der Walt and N. Smith, CC0), as in the project's other pictures.
const MAGMA = [
  [0, 0, 4], [24, 15, 61], [68, 15, 118], [114, 31, 129], [158, 47, 127],
  [205, 64, 113], [241, 96, 93], [253, 150, 104], [254, 202, 141], [252, 253, 191],
];

// 256 colours, [red, green, blue] each.
const SHADES = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (MAGMA.length - 1);
  const below = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[below].map((value, channel) => value + (MAGMA[below + 1][channel] - value) * (place - below));
});

// Draws a spectrogram ({columns, bands, levels: base64 of [columns][bands] bytes}) over the whole canvas, the lowest
// band at the bottom.
function drawSpectrogram(canvas, { columns, bands, levels }) {
  canvas.width = columns;
  canvas.height = bands;
  const bytes = Uint8Array.from(atob(levels), (character) => character.charCodeAt(0));
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns, bands);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < bands; band++) {
      const pixel = 4 * ((bands - 1 - band) * columns + column);
      picture.data.set(SHADES[bytes[column * bands + band]], pixel);
      picture.data[pixel + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
}
