// Pictures of products that have none: drawn from the category and the title, so a product always looks the same.

const SVG = "http://www.w3.org/2000/svg";
const MOTIFS = [vase, leaves, tiles, arches, hills, jar, parcel, lamp, rings, bottle];

/** The shop's own picture of a product, or a drawing. Both are decoration: the title stands beside them. */
export function picture(product) {
  if (!product.image_url) return drawing(product);
  const image = document.createElement("img");
  Object.assign(image, { src: product.image_url, alt: "", loading: "lazy", className: "picture" });
  image.addEventListener("error", () => image.replaceWith(drawing(product)), { once: true });
  return image;
}

function drawing(product) {
  const category = product.category ?? "";
  const random = numbers(hash(product.title ?? product.item_id));
  const hue = (hash(category.split("/")[0]) % 12) * 30;
  const own = (hue + 150 + random() * 90) % 360;
  const svg = shape("svg", { viewBox: "0 0 100 100", class: "picture", "aria-hidden": "true" });
  svg.append(shape("rect", { width: 100, height: 100, fill: `hsl(${hue} 38% 91%)` }));
  svg.append(shape("circle", { cx: 20 + random() * 60, cy: 18 + random() * 30, r: 14 + random() * 16, fill: `hsl(${hue} 46% 84%)` }));
  svg.append(shape("rect", { y: 82, width: 100, height: 18, fill: `hsl(${hue} 30% 82%)` }));
  const colours = { main: `hsl(${own} 42% 52%)`, dark: `hsl(${own} 45% 38%)`, light: `hsl(${own} 52% 72%)` };
  svg.append(...MOTIFS[hash(category) % MOTIFS.length](random, colours));
  return svg;
}

function vase(random, { main, dark, light }) {
  const half = 15 + random() * 9;
  const neck = 6 + random() * 5;
  const body = `M${50 - neck} 34 C${50 - neck} 46 ${50 - half} 48 ${50 - half} 64 Q${50 - half} 84 50 84 Q${50 + half} 84 ${50 + half} 64 C${50 + half} 48 ${50 + neck} 46 ${50 + neck} 34Z`;
  return [
    shape("path", { d: body, fill: main }),
    shape("ellipse", { cx: 50, cy: 34, rx: neck, ry: 2.4, fill: dark }),
    shape("rect", { x: 50 - half, y: 62, width: half * 2, height: 4 + random() * 4, fill: light }),
  ];
}

function leaves(random, { main, dark, light }) {
  const parts = [shape("path", { d: "M38 66H62L58 84H42Z", fill: light })];
  for (const angle of [-52, -22, 10, 42]) {
    const turn = angle + random() * 16 - 8;
    const tall = 30 + random() * 10;
    const leaf = `M50 66C40 ${66 - tall / 2} 44 ${66 - tall} 50 ${66 - tall}C56 ${66 - tall} 60 ${66 - tall / 2} 50 66Z`;
    parts.unshift(shape("path", { d: leaf, fill: turn > 0 ? main : dark, transform: `rotate(${turn} 50 66)` }));
  }
  return parts;
}

function tiles(random, { main, dark, light }) {
  const fills = [main, dark, light];
  const parts = [];
  for (let place = 0; place < 9; place++) {
    const [x, y] = [27 + (place % 3) * 16, 36 + Math.floor(place / 3) * 16];
    parts.push(shape("rect", { x, y, width: 14, height: 14, rx: random() < 0.4 ? 7 : 2, fill: fills[Math.floor(random() * 3)] }));
  }
  return parts;
}

function arches(random, { main, dark, light }) {
  const tall = 24 + random() * 12;
  return [[26, dark], [18, main], [10, light]].map(([half, fill]) =>
    shape("path", { d: `M${50 - half} 84V${84 - tall + 26 - half}A${half} ${half} 0 0 1 ${50 + half} ${84 - tall + 26 - half}V84Z`, fill }),
  );
}

function hills(random, { main, dark, light }) {
  const [left, right] = [30 + random() * 10, 62 + random() * 10];
  return [
    shape("path", { d: `M14 84L${left} ${38 + random() * 10}L66 84Z`, fill: dark }),
    shape("path", { d: `M34 84L${right} ${46 + random() * 10}L90 84Z`, fill: main }),
    shape("circle", { cx: 74, cy: 30, r: 7 + random() * 3, fill: light }),
  ];
}

function jar(random, { main, dark, light }) {
  const half = 16 + random() * 7;
  return [
    shape("rect", { x: 50 - half, y: 38, width: half * 2, height: 46, rx: 8, fill: main }),
    shape("rect", { x: 50 - half + 3, y: 28, width: half * 2 - 6, height: 9, rx: 3, fill: dark }),
    shape("rect", { x: 50 - half, y: 52, width: half * 2, height: 18, fill: light }),
    shape("rect", { x: 50 - half / 2, y: 57, width: half, height: 3, rx: 1.5, fill: dark }),
  ];
}

function parcel(random, { main, dark, light }) {
  const [half, tall] = [19 + random() * 9, 28 + random() * 12];
  const band = 50 - half + half * (0.5 + random() * 0.8);
  return [
    shape("rect", { x: 50 - half, y: 84 - tall, width: half * 2, height: tall, rx: 3, fill: main }),
    shape("rect", { x: 50 - half - 2, y: 84 - tall - 8, width: half * 2 + 4, height: 9, rx: 2, fill: dark }),
    shape("rect", { x: band, y: 84 - tall - 8, width: 7, height: tall + 8, fill: light }),
  ];
}

function lamp(random, { main, dark, light }) {
  const [top, foot] = [8 + random() * 7, 17 + random() * 7];
  return [
    shape("rect", { x: 48.4, y: 54, width: 3.2, height: 28, fill: dark }),
    shape("path", { d: `M${50 - top} 28H${50 + top}L${50 + foot} 56H${50 - foot}Z`, fill: main }),
    shape("path", { d: `M${50 - foot} 56H${50 + foot}L${51 + foot} 60H${49 - foot}Z`, fill: light }),
    shape("rect", { x: 38, y: 80, width: 24, height: 4, rx: 2, fill: dark }),
  ];
}

function rings(random, { main, dark, light }) {
  const radius = 22 + random() * 5;
  return [[radius, main], [radius * (0.62 + random() * 0.1), light], [radius * 0.36, dark]].map(([r, fill]) =>
    shape("circle", { cx: 50, cy: 84 - radius, r, fill }),
  );
}

function bottle(random, { main, dark, light }) {
  const half = 10 + random() * 5;
  const body = `M45.5 28H54.5V40C54.5 46 ${50 + half} 46 ${50 + half} 54V80Q${50 + half} 84 ${46 + half} 84H${54 - half}Q${50 - half} 84 ${50 - half} 80V54C${50 - half} 46 45.5 46 45.5 40Z`;
  return [
    shape("path", { d: body, fill: main }),
    shape("rect", { x: 44.5, y: 23, width: 11, height: 7, rx: 1.5, fill: dark }),
    shape("rect", { x: 50 - half, y: 58, width: half * 2, height: 15, fill: light }),
  ];
}

function shape(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** FNV-1a of a text, 32 bits. */
function hash(text) {
  let value = 0x811c9dc5;
  for (const character of text) value = Math.imul(value ^ character.codePointAt(0), 0x01000193) >>> 0;
  return value;
}

/** Numbers from 0 to 1 that a seed decides: xorshift. */
function numbers(seed) {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
