/** A copy of a JSON value in which one place, which need not exist yet, holds another value; undefined: it holds none. */
export function changed(document: unknown, path: readonly (string | number)[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  if (typeof key === 'number') {
    const items: unknown[] = Array.isArray(document) ? [...document] : [];
    items[key] = changed(items[key], rest, value);
    return items;
  }
  const fields: Record<string, unknown> = isRecord(document) ? { ...document } : {};
  const field = changed(fields[key], rest, value);
  const { [key]: _, ...others } = fields;
  return field === undefined ? others : { ...fields, [key]: field };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
