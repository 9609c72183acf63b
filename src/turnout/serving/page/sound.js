/**
 * The loudness of a file, in parts that a tab can hold: an hour at once would be a gigabyte.
 *
 * WAV is read directly. MP3, AAC (ADTS), FLAC and Ogg are cut into pieces that the browser decodes
 * one by one, each behind the file's header where its format needs one; at a seam some hundredths
 * of a second are lost. What has an index instead (m4a, webm) is decoded whole, if it is not long.
 */

import { Peaks } from "./peaks.js";
import { wavLayout, wavPieces } from "./wav.js";

const RATE = 8000; // enough for a picture: the browser's decoder resamples
const PIECE_BYTES = 1 << 18;
const HEAD_BYTES = 1 << 18;
const LARGEST_PAGE = 65_307; // of Ogg
const MOST_WHOLE_SECONDS = 1200;
const MOST_WHOLE_BYTES = 24 << 20;

/** Why a picture cannot be drawn; the recording may be heard and transcribed all the same. */
export class NoPicture extends Error {}

/**
 * The Peaks of a file, which `onPart(peaks)` shows as they grow.
 *
 * `seconds` is how long it lasts, where that is known. Throws NoPicture, and AbortError.
 */
export async function peaksOf(file, { seconds = null, signal, onPart = () => {} }) {
  const peaks = new Peaks();
  for await (const { channels, rate } of await piecesOf(file, seconds)) {
    signal?.throwIfAborted();
    peaks.add(channels, rate);
    onPart(peaks);
  }
  if (!peaks.seconds) throw new NoPicture("This browser cannot decode the file, so there is no picture of it.");
  if (seconds) peaks.fit(seconds);
  return peaks;
}

async function piecesOf(file, seconds) {
  const layout = await wavLayout(file);
  if (layout) return wavPieces(file, layout);
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const plan = planOf(head);
  if (plan && file.size > PIECE_BYTES) return decodedPieces(file, plan);
  const isShort = seconds === null ? file.size <= MOST_WHOLE_BYTES : seconds <= MOST_WHOLE_SECONDS;
  if (isShort) return whole(file);
  throw new NoPicture("A file of this kind and length is not drawn; it can be heard all the same.");
}

async function* whole(file) {
  const part = await decoded(await file.arrayBuffer());
  if (part) yield part;
}

/** How a file is cut: what stands before every piece, where sound begins, whether cuts fall on pages. */
function planOf(head) {
  const begins = (...bytes) => bytes.every((byte, place) => head[place] === byte);
  if (begins(0x49, 0x44, 0x33)) return { prefix: [], begin: 10 + synchsafe(head, 6), paged: false };
  if (head[0] === 0xff && (head[1] & 0xe0) === 0xe0) return { prefix: [], begin: 0, paged: false };
  if (begins(0x66, 0x4c, 0x61, 0x43)) return flacPlan(head);
  if (begins(0x4f, 0x67, 0x67, 0x53)) return oggPlan(head);
  return null;
}

/** "fLaC" and the first block, marked as the last, of unknown length and digest. */
function flacPlan(head) {
  const prefix = head.slice(0, 42);
  prefix[4] |= 0x80;
  prefix[21] &= 0xf0;
  prefix.fill(0, 22);
  let at = 4;
  for (let isLast = false; !isLast && at + 4 <= head.length; ) {
    isLast = Boolean(head[at] & 0x80);
    at += 4 + ((head[at + 1] << 16) | (head[at + 2] << 8) | head[at + 3]);
  }
  return { prefix: [prefix], begin: at, paged: false };
}

/** The pages before any sound: their position is 0, or none where a packet goes on. */
function oggPlan(head) {
  const view = new DataView(head.buffer);
  let at = 0;
  while (at + 27 <= head.length) {
    const position = view.getBigInt64(at + 6, true);
    const table = head.subarray(at + 27, at + 27 + head[at + 26]);
    if (position > 0n) return { prefix: [head.slice(0, at)], begin: at, paged: true };
    at += 27 + table.length + table.reduce((sum, size) => sum + size, 0);
  }
  return null; // a header longer than what was read: pictures in it
}

async function* decodedPieces(file, { prefix, begin, paged }) {
  for (let at = begin; at < file.size; ) {
    const end = paged ? await nextPage(file, at + PIECE_BYTES) : Math.min(file.size, at + PIECE_BYTES);
    const part = await decoded(await new Blob([...prefix, file.slice(at, end)]).arrayBuffer());
    if (part) yield part;
    at = end;
  }
}

/** Where the next page begins, from a byte on; the file's end where there is none. */
async function nextPage(file, from) {
  const bytes = new Uint8Array(await file.slice(from, from + LARGEST_PAGE + 4).arrayBuffer());
  for (let at = 0; at + 4 <= bytes.length; at += 1) {
    if (bytes[at] === 0x4f && bytes[at + 1] === 0x67 && bytes[at + 2] === 0x67 && bytes[at + 3] === 0x53)
      return from + at;
  }
  return file.size;
}

/** What the browser makes of some bytes; null where it makes nothing of them. */
async function decoded(bytes) {
  try {
    const buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
    return { channels, rate: buffer.sampleRate };
  } catch {
    return null; // a scrap at the end of a file, or a format that it does not know: the caller says so
  }
}

/** A size of ID3: seven bits a byte. */
function synchsafe(bytes, at) {
  return (bytes[at] << 21) | (bytes[at + 1] << 14) | (bytes[at + 2] << 7) | bytes[at + 3];
}
