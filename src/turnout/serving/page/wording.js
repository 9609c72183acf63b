/** Times, names of languages and counts, as people write them. */

/** Languages that put no space between words, as turnout/text/spacing.py has them. */
const UNSPACED = new Set(
  ("zh zho chi cmn yue wuu nan hak gan hsn cjy lzh ja jpn th tha lo lao nod tts khb tdd km khm my mya " +
    "bur shn mnw bo bod tib dz dzo").split(" "),
);
const NAMES = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** Whether a language, a code such as "en" or "zh-TW", puts spaces between words. */
export function isSpaced(language) {
  const [code, ...rest] = (language ?? "").toLowerCase().split(/[-_]/);
  return !UNSPACED.has(code) || rest.includes("latn");
}

/** "Arabic" for "ar"; a code that nobody knows stays what it is. */
export function languageName(code) {
  try {
    return NAMES.of(code);
  } catch {
    return code; // not of a code's form at all: a model's own word
  }
}

/** 0:03, 12:40, 1:02:03 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, place) => (place ? String(part).padStart(2, "0") : part)).join(":");
}

/** "3 minutes 2 seconds", for those who listen to it. */
export function spokenTime(seconds) {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const parts = [
    [Math.floor(whole / 3600), "hour"],
    [Math.floor(whole / 60) % 60, "minute"],
    [whole % 60, "second"],
  ].filter(([count]) => count > 0);
  return parts.map(([count, unit]) => counted(count, unit)).join(" ") || "0 seconds";
}

/** "1 word", "2 words" */
export function counted(count, what) {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

/** "call" of "call.wav"; the whole name where that leaves nothing. */
export function stemOf(name) {
  return name.replace(/\.[^.]+$/, "") || name;
}
