import { UsageError } from './explain-error.js';

/**
 * The labels of repeated `--label key=value`; undefined when there is none. What labels may be is said by the API.
 *
 * @throws UsageError for one without a key or a value, and for a key that is named twice.
 */
export function parseLabels(options: readonly string[]): Record<string, string> | undefined {
  if (options.length === 0) return undefined;
  const labels = new Map<string, string>();
  for (const option of options) {
    const at = option.indexOf('=');
    const key = option.slice(0, at).trim();
    if (at < 0 || key === '')
      throw new UsageError(`--label: expected key=value, received ${JSON.stringify(option)}`);
    if (labels.has(key)) throw new UsageError(`--label: ${key} is named twice`);
    labels.set(key, option.slice(at + 1).trim());
  }
  return Object.fromEntries(labels);
}
