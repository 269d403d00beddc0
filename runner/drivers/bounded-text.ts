/** The output kept of a command. */
export const maxOutputBytes = 64 * 1024;

/** The end of a text, at most `maxBytes` of UTF-8, and how many bytes were left off before it. */
export function tail(text: string, maxBytes: number): { text: string; omittedBytes: number } {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return { text, omittedBytes: 0 };
  let start = bytes.length - maxBytes;
  // Not in the middle of a character: continuation bytes are 10xxxxxx.
  while (start < bytes.length && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  return { text: bytes.subarray(start).toString('utf8'), omittedBytes: start };
}
