/** What the envelope of contract.md 1.3 says; the data is left to the caller's schema. */
export type EnvelopeContent =
  | { readonly ok: true; readonly data: unknown }
  | {
      readonly ok: false;
      readonly failureKind: string;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>> | undefined;
    };

/** Reads an answer's text as an envelope; undefined when it is none. By hand: the client has no run-time dependency. */
export function readEnvelope(text: string): EnvelopeContent | undefined {
  const value = parseJson(text);
  if (!isRecord(value)) return undefined;
  if (value.ok === true && 'data' in value) return { ok: true, data: value.data };
  const { failureKind, message, error } = value;
  if (value.ok !== false || typeof failureKind !== 'string' || typeof message !== 'string') return undefined;
  const details = isRecord(error) && isRecord(error.details) ? error.details : undefined;
  return { ok: false, failureKind, message, details };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
