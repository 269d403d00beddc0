import { storable } from '../contract/json.js';

const unstorableEscape = /\\u(?:0000|d[89a-f][0-9a-f]{2})/i;

/** JSON text for a jsonb column; characters that jsonb cannot hold become U+FFFD. */
export function storableJson(value: unknown): string {
  const text = JSON.stringify(value);
  return unstorableEscape.test(text) ? JSON.stringify(storable(value)) : text;
}
