// Makes a screenshot small: a page has few colors, and a PNG may say each pixel as a number in a
// palette (PNG, W3C, §: https://www.w3.org/TR/png-3/). A third of the bytes, and no blur.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

type Image = { width: number; height: number; pixels: Buffer }; // 3 bytes a pixel: red, green, blue

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const MAX_COLOURS = 128; // a rarer color becomes the nearest of these

/** Returns the same picture with a palette. It reads the pictures of Chromium: 8 bits per channel. */
export function withPalette(png: Buffer): Buffer {
  const { width, height, pixels } = decode(png);
  const counts = new Map<number, number>();
  for (let at = 0; at < pixels.length; at += 3) {
    const color = pixels.readUIntBE(at, 3);
    counts.set(color, (counts.get(color) ?? 0) + 1);
  }
  const palette = [...counts].sort(([, a], [, b]) => b - a).slice(0, MAX_COLOURS).map(([c]) => c);
  const indices = new Map([...counts.keys()].map((color) => [color, nearest(color, palette)]));
  const lines = Buffer.alloc((width + 1) * height); // before each line stands its filter, 0: none
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const color = pixels.readUIntBE(3 * (y * width + x), 3);
      lines[y * (width + 1) + 1 + x] = indices.get(color) ?? 0;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 3], 8); // §11.2.1: 8 bits a pixel, each an index
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('PLTE', Buffer.from(palette.flatMap(channelsOf))),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function decode(png: Buffer): Image {
  const parts: Buffer[] = [];
  for (let at = SIGNATURE.length; at < png.length; at += 12 + png.readUInt32BE(at)) {
    const type = png.toString('latin1', at + 4, at + 8);
    if (type === 'IDAT') parts.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  }
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const size = png[25] === 6 ? 4 : 3; // bytes a pixel, with alpha or without
  const lines = inflateSync(Buffer.concat(parts));
  const pixels = Buffer.alloc(3 * width * height);
  const [row, above] = [Buffer.alloc(width * size), Buffer.alloc(width * size)];
  for (let y = 0; y < height; y++) {
    const start = y * (row.length + 1);
    const filter = FILTERS[lines[start] ?? 0] ?? FILTERS[0];
    for (let x = 0; x < row.length; x++) {
      const [left, up, corner] = [row[x - size] ?? 0, above[x] ?? 0, above[x - size] ?? 0];
      row[x] = (lines[start + 1 + x] ?? 0) + filter(left, up, corner);
    }
    for (let x = 0; x < width; x++) row.copy(pixels, 3 * (y * width + x), x * size, x * size + 3);
    row.copy(above);
  }
  return { width, height, pixels };
}

/** Returns the value that a filter subtracts from each byte (§9.2 Filter types). */
const FILTERS: readonly [Filter, ...Filter[]] = [
  () => 0,
  (left) => left,
  (_, up) => up,
  (left, up) => (left + up) >> 1,
  (left, up, corner) => {
    const guess = left + up - corner;
    const far = [left, up, corner].map((byte) => Math.abs(guess - byte));
    return [left, up, corner][far.indexOf(Math.min(...far))] ?? 0;
  },
];
type Filter = (left: number, up: number, corner: number) => number;

function nearest(color: number, palette: readonly number[]): number {
  const [red = 0, green = 0, blue = 0] = channelsOf(color);
  const far = palette.map((other) => {
    const [r = 0, g = 0, b = 0] = channelsOf(other);
    return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2;
  });
  return far.indexOf(Math.min(...far));
}

const channelsOf = (color: number): number[] => [color >> 16, (color >> 8) & 255, color & 255];

/** §5.3 Chunk layout: length, type, data, checksum. */
function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, checksum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}
