import { readFileSync } from 'node:fs';
import { ConfigurationError } from './read-env.js';

/**
 * The value behind a pair of settings `NAME` and `NAME_FILE`: given directly, or the trimmed content of a file. The
 * direct value wins. Undefined when neither is set.
 *
 * @throws ConfigurationError when the file cannot be read or is empty; its content is never in the message.
 */
export function secretSetting(setting: {
  /** Name of the direct variable, for example `DATABASE_URL`; the file's is this and `_FILE`. */
  readonly variable: string;
  readonly value: string | undefined;
  readonly file: string | undefined;
}): string | undefined {
  if (setting.value !== undefined) return setting.value;
  if (setting.file === undefined) return undefined;
  return secretFile(`${setting.variable}_FILE`, setting.file);
}

/** As {@link secretSetting}, for a value without which the process cannot start. */
export function requiredSecretSetting(setting: Parameters<typeof secretSetting>[0]): string {
  const value = secretSetting(setting);
  if (value !== undefined) return value;
  throw new ConfigurationError([
    { variable: setting.variable, expected: `is not set (set it, or ${setting.variable}_FILE)` },
  ]);
}

/**
 * The trimmed content of the file that `variable` names.
 *
 * @throws ConfigurationError when it cannot be read or is empty; its content is never in the message.
 */
export function secretFile(variable: string, path: string): string {
  let content: string;
  try {
    content = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new ConfigurationError([{ variable, expected: `the file ${path} cannot be read (${code})` }]);
  }
  if (content === '') throw new ConfigurationError([{ variable, expected: `the file ${path} is empty` }]);
  return content;
}
