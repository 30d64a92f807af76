// Colours that follow from the accent, so that text stays readable whatever a site chooses.

const LIGHT_PAPER = [245, 246, 244];
const DARK_PAPER = [32, 38, 34];
const READABLE = 4.6;

/** The declarations for an accent `#rrggbb`: the fill, the ink on it, and the accent as the colour of text. */
export function accentDeclarations(accent) {
  if (!/^#[0-9a-f]{6}$/i.test(accent ?? "")) return "";
  const fill = [1, 3, 5].map((at) => parseInt(accent.slice(at, at + 2), 16));
  const white = contrast(fill, [255, 255, 255]);
  const ink = white >= READABLE || white >= contrast(fill, [0, 0, 0]) ? "#fff" : "#000";
  const light = hexOf(readable(fill, LIGHT_PAPER, 0));
  const dark = hexOf(readable(fill, DARK_PAPER, 255));
  return `--rejoinder-accent:${accent};--rejoinder-accent-ink:${ink};--rejoinder-accent-text:light-dark(${light},${dark});`;
}

/** `colour`, moved towards `end` until it can be read on `paper`. */
function readable(colour, paper, end) {
  let moved = colour;
  for (let step = 1; contrast(moved, paper) < READABLE && step <= 20; step += 1) {
    moved = colour.map((value) => Math.round(value + ((end - value) * step) / 20));
  }
  return moved;
}

/** The contrast of two colours, after WCAG 2.2. */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function hexOf(colour) {
  return `#${colour.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
