/** The image on a canvas, and outlines over it in the resolution of the screen. */

const GOLDEN_ANGLE = 137.508;
const LINE = 1.5;

/** Pixels that are cut from each corner of an outline, at most. */
const CUT = 1.5;

/** Some browsers draw nothing on a larger canvas. */
const MOST_PIXELS = 12e6;

/** Draw a plane in gray, from its darkest value to the brightest but for a few. */
export function drawImage(canvas, { data, height, width }) {
  const ordered = data.slice().sort();
  const low = ordered[Math.floor(0.005 * (ordered.length - 1))];
  const high = ordered[Math.floor(0.998 * (ordered.length - 1))];
  Object.assign(canvas, { height, width });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const factor = 255 / (high - low || 1);
  data.forEach((value, at) => {
    // A square root lets dim objects be seen beside bright ones.
    const gray = 255 * Math.sqrt(Math.max(0, Math.min(255, (value - low) * factor)) / 255);
    pixels.data.set([gray, gray, gray, 255], 4 * at);
  });
  context.putImageData(pixels, 0, 0);
}

/**
 * Draw objects over a plane.
 * @param {HTMLCanvasElement} canvas over that of the image
 * @param {{height: number, width: number}} plane
 * @param {[number, number[][][][]][]} outlines from `polygonsOf`
 * @param {"lines" | "filled" | "image"} view
 */
export function drawOutlines(canvas, { height, width }, outlines, view) {
  const { clientWidth, clientHeight } = canvas;
  const ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (clientWidth * clientHeight)));
  const scale = (clientWidth / width) * ratio;
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  if (view === "image") return;
  const context = canvas.getContext("2d");
  context.lineWidth = LINE * ratio;
  context.lineJoin = "round";
  for (const [label, pieces] of outlines) {
    const path = pathOf(pieces.flat(), scale);
    const hue = (label * GOLDEN_ANGLE) % 360;
    context.strokeStyle = `hsl(${hue} 100% 62%)`;
    context.fillStyle = `hsl(${hue} 100% 62% / 0.45)`;
    if (view === "filled") context.fill(path, "evenodd");
    context.stroke(path);
  }
}

/** Rings as a path whose corners are cut, so that steps of pixels become slants. */
function pathOf(rings, scale) {
  const path = new Path2D();
  for (const ring of rings) {
    const [[x, y], ...others] = ring.flatMap((corner, i) => endsBetween(corner, ring[(i + 1) % ring.length]));
    path.moveTo(x * scale, y * scale);
    for (const [right, down] of others) path.lineTo(right * scale, down * scale);
    path.closePath();
  }
  return path;
}

/** Where a straight edge `[y, x]` begins and ends, `[x, y]`, without its corners. */
function endsBetween([y, x], [endY, endX]) {
  const share = Math.min(0.5, CUT / (Math.abs(endX - x) + Math.abs(endY - y)));
  const [right, down] = [(endX - x) * share, (endY - y) * share];
  return [
    [x + right, y + down],
    [endX - right, endY - down],
  ];
}
