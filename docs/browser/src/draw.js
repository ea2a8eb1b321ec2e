/** The image on a canvas, and outlines over it in the resolution of the screen. */

const GOLDEN_ANGLE = 137.508;
const LINE = 1.5;

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
  const ratio = window.devicePixelRatio || 1;
  const scale = (canvas.clientWidth / width) * ratio;
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

/** Rings as a path, through the middles of their edges, so that steps of pixels become slants. */
function pathOf(rings, scale) {
  const path = new Path2D();
  for (const ring of rings) {
    ring.forEach(([y, x], i) => {
      const [nextY, nextX] = ring[(i + 1) % ring.length];
      const place = [((x + nextX) / 2) * scale, ((y + nextY) / 2) * scale];
      if (i === 0) path.moveTo(...place);
      else path.lineTo(...place);
    });
    path.closePath();
  }
  return path;
}
