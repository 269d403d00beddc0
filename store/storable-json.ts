// Postgres' jsonb takes neither U+0000 nor half a surrogate pair; agents print both.
const unstorableEscape = /\\u(?:0000|d[89a-f][0-9a-f]{2})/i;
const unstorableCharacter = /\0|\p{Surrogate}/gu;

/** JSON text for a jsonb column; characters that jsonb cannot hold become U+FFFD. */
export function storableJson(value: unknown): string {
  const text = JSON.stringify(value);
  return unstorableEscape.test(text) ? JSON.stringify(cleaned(value)) : text;
}

function cleaned(value: unknown): unknown {
  if (typeof value === 'string') return value.replace(unstorableCharacter, '\u{fffd}');
  if (Array.isArray(value)) return value.map(cleaned);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [cleanedKey(key), cleaned(child)]));
}

const cleanedKey = (key: string) => key.replace(unstorableCharacter, '\u{fffd}');
