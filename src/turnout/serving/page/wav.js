/** WAV files read in pieces, of any length: PCM, floating point, and the telephone's G.711. */

const [PCM, FLOAT, A_LAW, MU_LAW, EXTENSIBLE] = [1, 3, 6, 7, 0xfffe];
const HEAD_BYTES = 1 << 16;
const PIECE_BYTES = 1 << 20;

/** What a WAV's header says, `{ read, channels, rate, begin, end }`; null where it is none of these. */
export async function wavLayout(file) {
  const view = new DataView(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const name = (at) => String.fromCharCode(...new Uint8Array(view.buffer, at, 4));
  if (view.byteLength < 44 || !["RIFF", "RF64"].includes(name(0)) || name(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (name(at) === "fmt " && at + 24 <= view.byteLength) format = formatOf(view, at + 8, size);
    if (name(at) === "data") {
      // Sizes that streams leave open, or that lie, end with the file.
      return format && { ...format, begin: at + 8, end: Math.min(file.size, at + 8 + size) };
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** The samples, a piece at a time: `{ channels, rate }`. */
export async function* wavPieces(file, { read, bytes, channels, rate, begin, end }) {
  const frame = bytes * channels;
  const step = PIECE_BYTES - (PIECE_BYTES % frame);
  for (let at = begin; at + frame <= end; at += step) {
    const view = new DataView(await file.slice(at, Math.min(end, at + step)).arrayBuffer());
    const count = Math.floor(view.byteLength / frame);
    const parts = Array.from({ length: channels }, () => new Float32Array(count));
    for (let place = 0; place < count; place += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        parts[channel][place] = read(view, place * frame + channel * bytes);
      }
    }
    yield { channels: parts, rate };
  }
}

function formatOf(view, at, size) {
  let kind = view.getUint16(at, true);
  if (kind === EXTENSIBLE && size >= 26) kind = view.getUint16(at + 24, true);
  const [channels, rate] = [view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
  const bits = view.getUint16(at + 14, true);
  const read = READERS[`${kind}/${bits}`];
  return read && channels && rate ? { read, bytes: bits / 8, channels, rate } : null;
}

const READERS = {
  [`${PCM}/8`]: (view, at) => (view.getUint8(at) - 128) / 128,
  [`${PCM}/16`]: (view, at) => view.getInt16(at, true) / 32768,
  [`${PCM}/24`]: (view, at) => (view.getInt16(at + 1, true) * 256 + view.getUint8(at)) / 8388608,
  [`${PCM}/32`]: (view, at) => view.getInt32(at, true) / 2147483648,
  [`${FLOAT}/32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT}/64`]: (view, at) => view.getFloat64(at, true),
  [`${MU_LAW}/8`]: (view, at) => MU_LAW_VALUES[view.getUint8(at)],
  [`${A_LAW}/8`]: (view, at) => A_LAW_VALUES[view.getUint8(at)],
};

const MU_LAW_VALUES = Float32Array.from({ length: 256 }, (_, code) => {
  const flipped = ~code & 0xff;
  const size = ((((flipped & 0x0f) << 3) + 132) << ((flipped >> 4) & 7)) - 132;
  return (flipped & 0x80 ? -size : size) / 32768;
});

const A_LAW_VALUES = Float32Array.from({ length: 256 }, (_, code) => {
  const flipped = code ^ 0x55;
  const segment = (flipped >> 4) & 7;
  const base = ((flipped & 0x0f) << 4) + (segment ? 264 : 8);
  const size = segment > 1 ? base << (segment - 1) : base;
  return (flipped & 0x80 ? size : -size) / 32768;
});
