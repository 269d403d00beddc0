import { redacted } from './redaction.js';

/** Names of fields that never show their value, without signs and in lower case. */
const exactNames: ReadonlySet<string> = new Set([
  'authorization',
  'proxyauthorization',
  'cookie',
  'setcookie',
  'jwt',
  'databaseurl',
  'connectionstring',
]);
const secretEnding = /(?:token|secret|password|passwd|apikey|privatekey|credentials?)$/;
/** Below this depth nothing is shown: a structure so deep is nothing that a log line is for. */
const deepest = 12;
const mostItems = 200;

/**
 * A copy of what is logged in which every field with the name of a secret is blanked, however deep, in lists and in the
 * fields of errors too. Circles and what is too deep are cut off.
 *
 * @param errorText how an error is told that is not a field named `err`.
 */
export function blankSecretFields(
  fields: Readonly<Record<string, unknown>>,
  errorText: (error: Error) => string,
): Record<string, unknown> {
  const above: object[] = [];
  const copy = (one: unknown): unknown => {
    if (typeof one !== 'object' || one === null) return one;
    if (one instanceof Error) return errorText(one);
    if (Buffer.isBuffer(one)) return `${one.length} bytes`;
    if ('toJSON' in one && typeof one.toJSON === 'function') return copy(JSON.parse(JSON.stringify(one)));
    if (above.includes(one)) return '[circular]';
    if (above.length >= deepest) return '[too deep]';
    above.push(one);
    try {
      if (Array.isArray(one)) return one.slice(0, mostItems).map(copy);
      return copyFields(one);
    } finally {
      above.pop();
    }
  };
  // Headers and maps have no fields of their own: nothing of them is shown, which is right for a log.
  const copyFields = (one: object): Record<string, unknown> =>
    Object.fromEntries(
      Object.entries(one).map(([name, inner]: [string, unknown]) => [
        name,
        isSecretName(name) ? blank(inner) : copy(inner),
      ]),
    );
  return copyFields(fields);
}

/** Whether a field of this name holds a credential, in any way of writing it: `apiToken`, `API_TOKEN`, `x-api-key`. */
export function isSecretName(name: string): boolean {
  const plain = name.replace(/[^A-Za-z0-9]/g, '').toLowerCase();
  return exactNames.has(plain) || secretEnding.test(plain);
}

/** An absent value is told as absent; whether there is one is no secret. */
function blank(value: unknown): unknown {
  return value === undefined || value === null || typeof value === 'boolean' ? value : redacted;
}
