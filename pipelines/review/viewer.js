// The viewer of one exam: three planes through a crosshair and a rotating MIP, on 2D canvases.
// Places are mm along the axes of the PET (x to the patient's right, y to the front, z to the head), its first voxel at 0.

const VIEWS = { axial: { n: 2, u: 0, v: 1 }, coronal: { n: 1, u: 0, v: 2 }, sagittal: { n: 0, u: 1, v: 2 } };
const ENDS = [["L", "R"], ["P", "A"], ["F", "H"]];
const SUV_WINDOWS = { "0–5": [0, 5], "0–10": [0, 10], "0–20": [0, 20], "0–max": null };
const CT_WINDOWS = { soft: [-160, 240], lung: [-1350, 150], bone: [-500, 1300] };
const MODES = ["PET", "CT", "fused"];
const COLORS = ["#ff5a1f", "#00c2ff", "#ffd21f", "#35d04a", "#ff4df0", "#9a8cff", "#19e3b1", "#ff9d9d"];
const CROSS = "#3d9bff";
const TURN_DEGREES = 15;
const NOTCH = 100; // What a mouse wheel reports for one notch.
const NEAR_PX = 12; // A click this near to a mark of the MIP means it.

const pet = EXAM.pet, ct = EXAM.ct;
const state = { mode: "PET", suv: [0, 10], suvName: "0–10", ct: CT_WINDOWS.soft, ctName: "soft", at: [0, 0, 0], centre: [0, 0, 0], zoom: 1, angle: 0, contours: true, view: "axial", selected: "" };

// Unpacking

async function unpack(image) {
  const text = atob(image.data);
  const packed = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n += 1) packed[n] = text.charCodeAt(n);
  image.data = "";
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (image.bytes === 1) return bytes;
  const n = bytes.length / image.bytes;
  if (image.bytes === 2) {
    const values = new Int16Array(n);
    for (let i = 0, sum = 0; i < n; i += 1) {
      const coded = bytes[i] | (bytes[n + i] << 8);
      sum += (coded >>> 1) ^ -(coded & 1);
      values[i] = sum;
    }
    return values;
  }
  const values = new Int32Array(n);
  for (let i = 0, sum = 0; i < n; i += 1) {
    const coded = (bytes[i] | (bytes[n + i] << 8) | (bytes[2 * n + i] << 16) | (bytes[3 * n + i] << 24)) >>> 0;
    sum = (sum + ((coded >>> 1) ^ -(coded & 1))) | 0;
    values[i] = sum;
  }
  return values;
}

// Geometry of a volume

// How voxels lie in the page's mm: `from` and `step` where they are aligned with the PET's, else the inverse affine.
function placed(image, affine) {
  const a = affine;
  image.strides = [1, image.shape[0], image.shape[0] * image.shape[1]];
  const drift = [0, 1, 2].map((row) => [0, 1, 2].reduce((sum, col) => sum + (row === col ? 0 : Math.abs(a[4 * row + col]) * image.shape[col]), 0));
  image.isAligned = [0, 1, 2].every((row) => a[5 * row] > 0 && drift[row] < 0.5 * a[5 * row]);
  image.inverse = inverse(a);
  if (image.isAligned) {
    image.from = [a[3], a[7], a[11]];
    image.step = [a[0], a[5], a[10]];
    image.count = image.shape;
    return;
  }
  // Of an oblique one, a raster of its finest voxel over the box that it fills.
  const corners = [];
  for (let c = 0; c < 8; c += 1) corners.push(apply(a, [0, 1, 2].map((x) => (c >> x) & 1 ? image.shape[x] - 1 : 0)));
  const finest = Math.min(...image.spacing);
  image.from = [0, 1, 2].map((x) => Math.min(...corners.map((p) => p[x])));
  image.step = [finest, finest, finest];
  image.count = [0, 1, 2].map((x) => Math.round((Math.max(...corners.map((p) => p[x])) - image.from[x]) / finest) + 1);
}

function apply(a, p) { return [0, 4, 8].map((r) => a[r] * p[0] + a[r + 1] * p[1] + a[r + 2] * p[2] + a[r + 3]); }

function inverse(a) {
  const [p, q, r, , s, t, u, , v, w, x] = a;
  const d = p * (t * x - u * w) - q * (s * x - u * v) + r * (s * w - t * v);
  const m = [(t * x - u * w) / d, (r * w - q * x) / d, (q * u - r * t) / d, 0, (u * v - s * x) / d, (p * x - r * v) / d, (r * s - p * u) / d, 0, (s * w - t * v) / d, (q * v - p * w) / d, (p * t - q * s) / d, 0];
  for (const row of [0, 4, 8]) m[row + 3] = -(m[row] * a[3] + m[row + 1] * a[7] + m[row + 2] * a[11]);
  return m;
}

function voxelAt(image, at) { return apply(image.inverse, at).map((v) => Math.round(v)); }

function isInside(image, ijk) { return ijk.every((v, x) => v >= 0 && v < image.shape[x]); }

function valueAt(image, at) {
  const ijk = voxelAt(image, at);
  return isInside(image, ijk) ? image.values[ijk[0] + image.strides[1] * ijk[1] + image.strides[2] * ijk[2]] : null;
}

function suvAt(at) { const value = valueAt(pet, at); return value === null ? null : value * pet.suvStep; }

function middle() { return pet.shape.map((n, x) => ((n - 1) / 2) * pet.step[x]); }

// Colours: 256 steps, as the pixels of a canvas hold them (alpha, blue, green, red)

function ramp(color) {
  const table = new Uint32Array(256);
  for (let n = 0; n < 256; n += 1) {
    const [red, green, blue, alpha] = color(n);
    table[n] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return table;
}

const clip = (value) => Math.max(0, Math.min(255, Math.round(value)));
const GREY = ramp((n) => [n, n, n, 255]);
const INVERTED = ramp((n) => [255 - n, 255 - n, 255 - n, 255]);
// Faint uptake stays see-through, so that the anatomy can be read under it.
const HOT = ramp((n) => [clip(n * 2.6), clip((n - 85) * 2.2), clip((n - 190) * 3.9), clip(Math.min(190, n * 1.6))]);

// Planes

function canvasFor(image, key, width, height) {
  image.canvases = image.canvases || {};
  const kept = image.canvases[key];
  if (kept && kept.width === width && kept.height === height) return kept;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  image.canvases[key] = canvas;
  return canvas;
}

// The plane of an image at a depth, a pixel a voxel, the patient's right (or front) on the left; null beside the image.
function plane(image, view, depth, table, low, high) {
  const { n, u, v } = view;
  const k = Math.round((depth - image.from[n]) / image.step[n]);
  if (k < 0 || k >= image.count[n]) return null;
  const width = image.count[u], height = image.count[v];
  const canvas = canvasFor(image, n, width, height), context = canvas.getContext("2d");
  const key = `${n}`;
  image.pixels = image.pixels || {};
  if (!image.pixels[key]) image.pixels[key] = context.createImageData(width, height);
  const pixels = image.pixels[key], out = new Uint32Array(pixels.data.buffer), values = image.values;
  const scale = 255 / (high - low);
  let p = 0;
  if (image.isAligned) {
    for (let y = height - 1; y >= 0; y -= 1) {
      let q = k * image.strides[n] + y * image.strides[v] + (width - 1) * image.strides[u];
      for (let x = 0; x < width; x += 1, q -= image.strides[u]) {
        const b = (values[q] - low) * scale;
        out[p] = table[b < 0 ? 0 : b > 255 ? 255 : b | 0];
        p += 1;
      }
    }
  } else {
    const at = [0, 0, 0], m = image.inverse, [n0, n1, n2] = image.shape;
    at[n] = depth;
    for (let y = height - 1; y >= 0; y -= 1) {
      at[v] = image.from[v] + y * image.step[v];
      at[u] = image.from[u] + (width - 1) * image.step[u];
      let [i, j, l] = apply(m, at);
      const di = m[u] * image.step[u], dj = m[4 + u] * image.step[u], dl = m[8 + u] * image.step[u];
      for (let x = 0; x < width; x += 1) {
        const a = Math.round(i), b = Math.round(j), c = Math.round(l);
        if (a >= 0 && b >= 0 && c >= 0 && a < n0 && b < n1 && c < n2) {
          const w = (values[a + n0 * (b + n1 * c)] - low) * scale;
          out[p] = table[w < 0 ? 0 : w > 255 ? 255 : w | 0];
        } else out[p] = 0;
        p += 1; i -= di; j -= dj; l -= dl;
      }
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// Where mm of a view lie on its canvas, and back; one scale for both, the patient's right (or front) on the left.
function geometry(canvas, view) {
  const { u, v } = view;
  const scale = state.zoom * Math.min(canvas.width / (pet.shape[u] * pet.step[u]), canvas.height / (pet.shape[v] * pet.step[v]));
  const centre = state.zoom > 1 ? state.centre : middle();
  return {
    scale,
    x: (mm) => canvas.width / 2 - (mm - centre[u]) * scale, y: (mm) => canvas.height / 2 - (mm - centre[v]) * scale,
    u: (x) => centre[u] - (x - canvas.width / 2) / scale, v: (y) => centre[v] - (y - canvas.height / 2) / scale,
  };
}

function drawPlane(name) {
  const view = VIEWS[name], canvas = $(name), context = canvas.getContext("2d"), place = geometry(canvas, view), { u, v, n } = view;
  context.fillStyle = state.mode === "PET" ? "#fff" : "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const put = (image, table, low, high) => {
    const picture = plane(image, view, state.at[n], table, low, high);
    if (!picture) return;
    const x = place.x(image.from[u] + (image.count[u] - 0.5) * image.step[u]), y = place.y(image.from[v] + (image.count[v] - 0.5) * image.step[v]);
    context.drawImage(picture, x, y, image.count[u] * image.step[u] * place.scale, image.count[v] * image.step[v] * place.scale);
  };
  if (ct && state.mode !== "PET") put(ct, GREY, ...state.ct);
  if (state.mode !== "CT") put(pet, state.mode === "PET" ? INVERTED : HOT, state.suv[0] / pet.suvStep, state.suv[1] / pet.suvStep);
  drawCross(context, canvas, place.x(state.at[u]), place.y(state.at[v]));
  const taken = endsOf(canvas);
  const outlined = state.contours ? EXAM.findings.map((one) => [one, drawContour(context, place, view, one)]).filter(([, box]) => box) : [];
  for (const [, box] of outlined) taken.push(box);
  for (const [one, box] of outlined) {
    writeBeside(context, `${one.number} ${one.name}${one.physiologic ? " (physiologic)" : ""}`, box, colorOf(one), taken, one.id === state.selected);
  }
  drawMarks(context, (mm) => [place.x(mm[u]), place.y(mm[v])], (mm) => Math.abs(mm[n] - state.at[n]) <= pet.step[n] / 2, taken);
  drawCorrections(context, (mm) => [place.x(mm[u]), place.y(mm[v])], (mm) => Math.abs(mm[n] - state.at[n]) <= pet.step[n] / 2, taken);
  drawEnds(context, canvas, ENDS[u], ENDS[v], place.scale);
}

function ratio() { return Math.min(2, window.devicePixelRatio || 1); }

// A line that shows on white, on black and on hot: its colour in a dark casing.
function strokeCased(context, color, width) {
  context.lineJoin = context.lineCap = "round";
  context.strokeStyle = "#000";
  context.lineWidth = (width + 2) * ratio();
  context.stroke();
  context.strokeStyle = color;
  context.lineWidth = width * ratio();
  context.stroke();
}

function write(context, text, x, y, color, align = "left", size = 13, weight = 600) {
  context.font = `${weight} ${size * ratio()}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.strokeStyle = "#000";
  context.lineWidth = 3.5 * ratio();
  context.strokeText(text, x, y);
  context.fillStyle = color;
  context.fillText(text, x, y);
}

// A name beside what it names, inside the picture and beside the other names.
function writeBeside(context, text, box, color, taken, isBold) {
  const r = ratio(), height = 16 * r, canvas = context.canvas;
  context.font = `${isBold ? 700 : 600} ${13 * r}px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
  const width = context.measureText(text).width;
  if (box.right < 0 || box.left > canvas.width || box.bottom < 0 || box.top > canvas.height) return;
  let x = box.right + 5 * r, y = (box.top + box.bottom) / 2;
  if (x + width > canvas.width - 2 * r) x = box.left - 5 * r - width;
  if (x < 2 * r) { // It fits on neither side.
    x = (box.left + box.right - width) / 2;
    y = box.bottom + 2 * height < canvas.height ? box.bottom + 0.8 * height : box.top - 0.8 * height;
  }
  x = Math.max(2 * r, Math.min(x, canvas.width - width - 2 * r));
  y = Math.max(height, Math.min(y, canvas.height - height));
  const meets = (at) => taken.some((t) => t !== box && x < t.right && t.left < x + width && at - height / 2 < t.bottom && t.top < at + height / 2);
  const free = [0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5].map((n) => y + n * height).find((at) => at > height / 2 && at < canvas.height - height / 2 && !meets(at));
  y = free ?? y;
  taken.push({ left: x, right: x + width, top: y - height / 2, bottom: y + height / 2 });
  write(context, text, x, y, color, "left", 13, isBold ? 700 : 600);
}

function colorOf(one) { return COLORS[((one.number || 1) - 1) % COLORS.length]; }

// Draws the edges of a contour's voxels, and returns the box that they fill; null where the slice holds none of it.
function drawContour(context, place, view, one) {
  const mask = one.mask;
  if (!mask) return null;
  const { n, u, v } = view, nu = mask.shape[u], nv = mask.shape[v];
  const k = Math.round(state.at[n] / pet.step[n]) - mask.corner[n];
  if (k < 0 || k >= mask.shape[n]) return null;
  const strides = [1, mask.shape[0], mask.shape[0] * mask.shape[1]], base = k * strides[n];
  const at = (i, j) => i >= 0 && j >= 0 && i < nu && j < nv && mask.values[base + i * strides[u] + j * strides[v]] === 1;
  const x = (i) => place.x((mask.corner[u] + i - 0.5) * pet.step[u]), y = (j) => place.y((mask.corner[v] + j - 0.5) * pet.step[v]);
  const box = { left: Infinity, right: -Infinity, top: Infinity, bottom: -Infinity };
  context.beginPath();
  for (let i = -1; i < nu; i += 1) {
    for (let j = -1; j < nv; j += 1) {
      const inside = at(i, j);
      if (inside !== at(i + 1, j)) { context.moveTo(x(i + 1), y(j)); context.lineTo(x(i + 1), y(j + 1)); }
      if (inside !== at(i, j + 1)) { context.moveTo(x(i), y(j + 1)); context.lineTo(x(i + 1), y(j + 1)); }
      if (inside) {
        box.left = Math.min(box.left, x(i + 1)); box.right = Math.max(box.right, x(i));
        box.top = Math.min(box.top, y(j + 1)); box.bottom = Math.max(box.bottom, y(j));
      }
    }
  }
  if (box.left > box.right) return null;
  strokeCased(context, colorOf(one), one.id === state.selected ? 2 : 1.4);
  return box;
}

// Candidates of the finding that is shown, and the peak of one that has no contour.
function drawMarks(context, where, isShown, taken) {
  const one = EXAM.findings.find((f) => f.id === state.selected);
  if (!one || !state.contours) return;
  const ring = (mm, text) => {
    if (!isShown(mm)) return;
    const [x, y] = where(mm), r = 9 * ratio();
    context.beginPath();
    context.arc(x, y, r, 0, 7);
    strokeCased(context, "#fff27a", 1.6);
    writeBeside(context, text, { left: x - r, right: x + r, top: y - r, bottom: y + r }, "#fff27a", taken, true);
  };
  for (const c of one.candidates) if (!one.mask || one.candidates.length > 1) ring(c.at, `candidate ${c.n}`);
  if (!one.mask && one.peak) ring(one.peak, "peak");
}

// What a reviewer has marked, joined or cut, until a curation has applied it.
function drawCorrections(context, where, isShown, taken) {
  if (!state.contours) return;
  const ids = new Set(corrections.map((c) => c.finding_id).filter((id) => id.startsWith(`${EXAM.exam}:`)));
  for (const c of [...ids].flatMap(correctionsOf)) {
    const ras = c.value.split(" ").map(Number);
    if (ras.length !== 3) continue;
    const mm = apply(inverse(EXAM.to_ras), ras);
    if (!isShown(mm)) continue;
    const [x, y] = where(mm), r = 6 * ratio();
    context.beginPath();
    context.moveTo(x - r, y - r); context.lineTo(x + r, y + r);
    context.moveTo(x + r, y - r); context.lineTo(x - r, y + r);
    strokeCased(context, "#fff27a", 1.8);
    writeBeside(context, c.answer, { left: x - r, right: x + r, top: y - r, bottom: y + r }, "#fff27a", taken, false);
  }
}

function drawCross(context, canvas, x, y) {
  const gap = 10 * ratio();
  context.beginPath();
  for (const [a, b, c, d] of [[0, y, x - gap, y], [x + gap, y, canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.height]]) { context.moveTo(a, b); context.lineTo(c, d); }
  context.strokeStyle = CROSS;
  context.globalAlpha = 0.8;
  context.lineWidth = ratio();
  context.stroke();
  context.globalAlpha = 1;
}

// Where the letters and the scale bar stand, for names to leave free.
function endsOf(canvas) {
  const r = ratio(), { width: w, height: h } = canvas, letter = 12 * r;
  const at = (x, y, width = 2 * letter) => ({ left: x, right: x + width, top: y - letter, bottom: y + letter });
  return [at(0, h / 2), at(w - 2 * letter, h / 2), at(w / 2 - letter, 11 * r), at(w / 2 - letter, h - 11 * r), at(0, h - 15 * r, w / 3)];
}

function drawEnds(context, canvas, across, up, scale) {
  const r = ratio(), color = "#fff";
  write(context, across[1], 6 * r, canvas.height / 2, color);
  write(context, across[0], canvas.width - 6 * r, canvas.height / 2, color, "right");
  write(context, up[1], canvas.width / 2, 11 * r, color, "center");
  write(context, up[0], canvas.width / 2, canvas.height - 11 * r, color, "center");
  const cm = [50, 10, 5, 2, 1].find((c) => c * 10 * scale < canvas.width / 3) || 0.5;
  context.beginPath();
  context.moveTo(8 * r, canvas.height - 9 * r);
  context.lineTo(8 * r + cm * 10 * scale, canvas.height - 9 * r);
  strokeCased(context, color, 2);
  write(context, `${cm} cm`, 8 * r, canvas.height - 21 * r, color, "left", 11);
}

// The rotating MIP

const mips = new Map();

// The maximum along every ray of a direction (degrees about the body's axis; 0: from the front), a column a voxel wide.
function mipOf(degrees) {
  if (mips.has(degrees)) return mips.get(degrees);
  const [ni, nj, nk] = pet.shape, width = Math.max(pet.step[0], pet.step[1]);
  const n = Math.ceil(Math.hypot(ni * pet.step[0], nj * pet.step[1]) / width) + 1;
  const c = Math.cos((degrees * Math.PI) / 180), s = Math.sin((degrees * Math.PI) / 180), mid = middle();
  const columns = new Int32Array(ni * nj);
  for (let j = 0; j < nj; j += 1) for (let i = 0; i < ni; i += 1) columns[j * ni + i] = Math.round((n - 1) / 2 - ((i * pet.step[0] - mid[0]) * c + (j * pet.step[1] - mid[1]) * s) / width);
  const out = new Int32Array(n * nk), plane = ni * nj, values = pet.values;
  for (let k = 0; k < nk; k += 1) {
    const row = (nk - 1 - k) * n, from = k * plane;
    for (let q = 0; q < plane; q += 1) {
      const value = values[from + q], at = row + columns[q];
      if (value > out[at]) out[at] = value;
    }
  }
  const made = { values: out, n, nk, width, columns, c, s, pictures: new Map() };
  mips.set(degrees, made);
  return made;
}

function mipPicture(mip) {
  const key = state.suv.join();
  if (mip.shown === key) return mip.canvas;
  const canvas = mip.canvas || document.createElement("canvas"), context = canvas.getContext("2d");
  canvas.width = mip.n;
  canvas.height = mip.nk;
  const pixels = context.createImageData(mip.n, mip.nk), out = new Uint32Array(pixels.data.buffer);
  const low = state.suv[0] / pet.suvStep, scale = (255 * pet.suvStep) / (state.suv[1] - state.suv[0]);
  for (let p = 0; p < out.length; p += 1) {
    const b = (mip.values[p] - low) * scale;
    out[p] = INVERTED[b < 0 ? 0 : b > 255 ? 255 : b | 0];
  }
  context.putImageData(pixels, 0, 0);
  mip.canvas = canvas;
  mip.shown = key;
  return canvas;
}

// Scale of the MIP's picture on its canvas, and where a place lies on it.
function mipGeometry(mip, canvas) {
  const wide = Math.max(pet.shape[0] * pet.step[0], pet.shape[1] * pet.step[1]), high = mip.nk * pet.step[2];
  const scale = Math.min(canvas.width / wide, canvas.height / high), mid = middle();
  return {
    scale,
    left: canvas.width / 2 - (mip.n / 2) * mip.width * scale, top: canvas.height / 2 - (high / 2) * scale,
    x: (at) => canvas.width / 2 - ((at[0] - mid[0]) * mip.c + (at[1] - mid[1]) * mip.s) * scale,
    y: (at) => canvas.height / 2 - (at[2] - mid[2]) * scale,
  };
}

function drawMip() {
  const canvas = $("mip"), context = canvas.getContext("2d"), mip = mipOf(state.angle), place = mipGeometry(mip, canvas);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(mipPicture(mip), place.left, place.top, mip.n * mip.width * place.scale, mip.nk * pet.step[2] * place.scale);
  context.beginPath();
  context.moveTo(0, place.y(state.at));
  context.lineTo(canvas.width, place.y(state.at));
  context.strokeStyle = CROSS;
  context.lineWidth = ratio();
  context.stroke();
  const taken = endsOf(canvas);
  if (state.contours) {
    for (const one of EXAM.findings) {
      if (!one.mask || !one.peak) continue;
      const x = place.x(one.peak), y = place.y(one.peak), r = 7 * ratio();
      context.beginPath();
      context.arc(x, y, r, 0, 7);
      strokeCased(context, colorOf(one), one.id === state.selected ? 2.4 : 1.4);
      writeBeside(context, String(one.number), { left: x - r, right: x + r, top: y, bottom: y }, colorOf(one), taken, one.id === state.selected);
    }
  }
  drawMarks(context, (mm) => [place.x(mm), place.y(mm)], () => true, taken);
  drawCorrections(context, (mm) => [place.x(mm), place.y(mm)], () => true, taken);
  const sides = { 0: ["L", "R"], 90: ["P", "A"], 180: ["R", "L"], 270: ["A", "P"] }[state.angle] || ["", ""];
  drawEnds(context, canvas, sides, ENDS[2], place.scale);
}

// What the MIP shows at a point of its canvas: the hottest voxel of that ray.
function hottestAt(x, y) {
  const canvas = $("mip"), mip = mipOf(state.angle), place = mipGeometry(mip, canvas), [ni, nj, nk] = pet.shape;
  const column = Math.floor((x - place.left) / (mip.width * place.scale)), k = nk - 1 - Math.floor((y - place.top) / (pet.step[2] * place.scale));
  if (column < 0 || column >= mip.n || k < 0 || k >= nk) return null;
  let best = -1;
  for (let q = 0; q < ni * nj; q += 1) if (mip.columns[q] === column && (best < 0 || pet.values[k * ni * nj + q] > pet.values[k * ni * nj + best])) best = q;
  return best < 0 ? null : [(best % ni) * pet.step[0], Math.floor(best / ni) * pet.step[1], k * pet.step[2]];
}

// The page

function draw() {
  for (const name of Object.keys(VIEWS)) drawPlane(name);
  drawMip();
  readOut();
}

function readOut() {
  const k = voxelAt(pet, state.at)[2], suv = suvAt(state.at), hu = ct ? valueAt(ct, state.at) : null;
  const ras = apply(EXAM.to_ras, state.at).map((v) => v.toFixed(1));
  $("where").textContent = `slice ${pet.shape[2] - k} of ${pet.shape[2]} from the head · ${ras.join(" ")} mm`;
  $("suv").textContent = `SUV ${suv === null ? "–" : suv.toFixed(2)}`;
  $("hu").textContent = ct ? (hu === null ? "beside the CT" : `${hu} HU`) : "";
  $("windows").textContent = `window SUV 0–${state.suv[1] % 1 ? state.suv[1].toFixed(1) : state.suv[1]}${ct ? ` · CT ${state.ct[0].toFixed(0)} to ${state.ct[1].toFixed(0)} HU` : ""}`;
  for (const button of document.querySelectorAll("#tools button")) {
    const { mode, suvWindow, ctWindow } = button.dataset;
    if (mode || suvWindow || ctWindow) button.setAttribute("aria-pressed", String(mode === state.mode || (suvWindow && suvWindow === state.suvName) || (ctWindow && ctWindow === state.ctName) || false));
  }
}

function clampTo(at) { return at.map((v, x) => Math.max(0, Math.min((pet.shape[x] - 1) * pet.step[x], Math.round(v / pet.step[x]) * pet.step[x]))); }

// Moves the crosshair to the voxel at a place, and the magnified part with it where it would leave the picture.
function moveTo(at, isCentred = false) {
  state.at = clampTo(at);
  if (isCentred || isOut()) state.centre = [...state.at];
  draw();
}

function isOut() {
  return state.zoom > 1 && Object.entries(VIEWS).some(([name, view]) => {
    const canvas = $(name), place = geometry(canvas, view), x = place.x(state.at[view.u]), y = place.y(state.at[view.v]);
    return x < 0 || y < 0 || x > canvas.width || y > canvas.height;
  });
}

function stepSlice(by, name = state.view) {
  const at = [...state.at], axis = VIEWS[name].n;
  at[axis] += by * pet.step[axis];
  moveTo(at);
}

function setMode(mode) { if (ct || mode === "PET") state.mode = mode; draw(); }
function setSuv(name) { state.suvName = name; state.suv = SUV_WINDOWS[name] || [0, Math.max(pet.max, 0.1)]; draw(); }
function setCt(name) { state.ctName = name; state.ct = CT_WINDOWS[name]; draw(); }
function zoomBy(factor) { state.zoom = Math.max(1, Math.min(8, state.zoom * factor)); state.centre = [...state.at]; draw(); }
function turn(by) { state.angle = (state.angle + by * TURN_DEGREES + 360) % 360; drawMip(); }
function toggleContours() { state.contours = !state.contours; draw(); }
function after(list, value) { return list[(list.indexOf(value) + 1) % list.length]; }

function dragWindow(from, dx, dy) {
  if (state.mode === "CT") {
    const [low, high] = from, width = Math.max(20, (high - low) * Math.exp(dx / 200)), level = (low + high) / 2 + dy * 2;
    state.ct = [level - width / 2, level + width / 2];
    state.ctName = "";
  } else {
    state.suv = [from[0], Math.max(from[0] + 0.2, from[1] * Math.exp(dy / 150))];
    state.suvName = "";
  }
  draw();
}

function listenPlane(name) {
  const view = VIEWS[name], canvas = $(name);
  let rolled = 0, drag = null;
  const point = (event) => {
    const box = canvas.getBoundingClientRect(), r = canvas.width / box.width, place = geometry(canvas, view), at = [...state.at];
    at[view.u] = place.u((event.clientX - box.left) * r);
    at[view.v] = place.v((event.clientY - box.top) * r);
    return at;
  };
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    state.view = name;
    if (event.ctrlKey) { zoomBy(Math.exp(-event.deltaY / 300)); return; }
    rolled += event.deltaY * (event.deltaMode ? 33 : 1);
    const notches = Math.trunc(rolled / NOTCH);
    rolled -= notches * NOTCH;
    if (notches) stepSlice(-notches, name);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    state.view = name;
    if (event.button === 2 || event.shiftKey) drag = { x: event.clientX, y: event.clientY, from: [...(state.mode === "CT" ? state.ct : state.suv)] };
    else { drag = { isCross: true }; moveTo(point(event)); }
    event.preventDefault();
    document.activeElement?.blur();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.isCross) moveTo(point(event));
    else dragWindow(drag.from, event.clientX - drag.x, event.clientY - drag.y);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}

function listenMip() {
  const canvas = $("mip");
  let rolled = 0;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    rolled += event.deltaY * (event.deltaMode ? 33 : 1);
    const notches = Math.trunc(rolled / NOTCH);
    rolled -= notches * NOTCH;
    if (notches) turn(notches);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    const box = canvas.getBoundingClientRect(), r = canvas.width / box.width, x = (event.clientX - box.left) * r, y = (event.clientY - box.top) * r;
    const place = mipGeometry(mipOf(state.angle), canvas);
    let near = null, least = NEAR_PX * ratio();
    for (const one of EXAM.findings) {
      if (!one.mask || !one.peak || !byId.has(one.id)) continue;
      const off = Math.hypot(place.x(one.peak) - x, place.y(one.peak) - y);
      if (off < least) { near = one; least = off; }
    }
    if (near) { go(near.id); return; }
    const at = hottestAt(x, y);
    if (at) moveTo(at, true);
  });
}

function fitCanvases() {
  for (const name of [...Object.keys(VIEWS), "mip"]) {
    const canvas = $(name), width = Math.max(1, Math.round(canvas.clientWidth * ratio())), height = Math.max(1, Math.round(canvas.clientHeight * ratio()));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  }
}

function addTools() {
  const add = (parent, text, title, action, data = {}) => {
    const button = make("button", { class: "plain", title, onclick: (event) => { action(); event.currentTarget.blur(); } }, text);
    Object.assign(button.dataset, data);
    $(parent).append(button);
  };
  if (ct) for (const mode of MODES) add("modes", mode, "next: f", () => setMode(mode), { mode });
  for (const name of Object.keys(SUV_WINDOWS)) add("suv-windows", name, "SUV window, next: w", () => setSuv(name), { suvWindow: name });
  if (ct) for (const name of Object.keys(CT_WINDOWS)) add("ct-windows", name, "CT window, next: b", () => setCt(name), { ctWindow: name });
  add("moves", "▲", "slice towards the head, or back, or left (↑)", () => stepSlice(1));
  add("moves", "▼", "slice the other way (↓)", () => stepSlice(-1));
  add("moves", "+", "magnify (+)", () => zoomBy(1.4));
  add("moves", "−", "less (-)", () => zoomBy(1 / 1.4));
  add("moves", "⟲", "turn the MIP (, and .)", () => turn(1));
  add("moves", "contours", "contours on and off (space)", toggleContours);
}

const VIEW_KEYS = {
  ArrowUp: () => stepSlice(1), ArrowDown: () => stepSlice(-1), PageUp: () => stepSlice(5), PageDown: () => stepSlice(-5),
  f: () => setMode(after(ct ? MODES : ["PET"], state.mode)),
  w: () => setSuv(after(Object.keys(SUV_WINDOWS), state.suvName)),
  b: () => setCt(after(Object.keys(CT_WINDOWS), state.ctName)),
  "+": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4), "0": () => { state.zoom = 1; draw(); },
  ".": () => turn(1), ",": () => turn(-1), " ": toggleContours, h: () => showPlace(),
};

// The crosshair on what the finding is about: its hottest voxel, a candidate, or the slice that the report names.
function showPlace() {
  const one = EXAM.findings.find((f) => f.id === state.selected);
  const slice = one && one.slice_k !== null ? [middle()[0], middle()[1], one.slice_k * pet.step[2]] : null;
  const at = one && (one.peak || one.candidates[0]?.at || slice);
  moveTo(at || state.at, true);
}

async function startViewer() {
  const begin = performance.now();
  pet.suvStep = pet.step;
  placed(pet, [pet.spacing[0], 0, 0, 0, 0, pet.spacing[1], 0, 0, 0, 0, pet.spacing[2], 0]);
  pet.values = await unpack(pet);
  if (ct) {
    placed(ct, ct.affine);
    ct.values = await unpack(ct);
  }
  for (const one of EXAM.findings) if (one.mask) one.mask.values = await unpack(one.mask);
  state.mode = ct ? "fused" : "PET";
  state.at = clampTo(middle());
  fitCanvases();
  addTools();
  for (const name of Object.keys(VIEWS)) listenPlane(name);
  listenMip();
  new ResizeObserver(() => { fitCanvases(); draw(); }).observe($("views"));
  document.documentElement.dataset.unpackedMs = String(Math.round(performance.now() - begin));
}
