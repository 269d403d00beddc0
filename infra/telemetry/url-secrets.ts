import { redacted } from './redaction.js';

/** `user:password@` and `token@` in front of a host; a lone user of ssh is none. */
const userInfo = /\b((?!ssh:)[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"'\\@]+@/gi;
const sshPassword = /\b(ssh:\/\/[^\s/?#"'\\@:]*:)[^\s/?#"'\\@]+@/gi;
/** Parameters whose value is a credential, by the end of their name. */
const secretParameter =
  /([?&][\w.-]*(?:token|secret|password|passwd|signature|credential|api[_-]?key|sig)=)[^\s&#"'\\]+/gi;

/**
 * Takes credentials out of the URLs in a text of our own making: a log line, the attribute of a span. Not for what an
 * agent wrote, where a URL may be an example.
 */
export function withoutUrlSecrets(text: string): string {
  if (!text.includes('://') && !text.includes('=')) return text;
  return text
    .replace(userInfo, `$1${redacted}@`)
    .replace(sshPassword, `$1${redacted}@`)
    .replace(secretParameter, `$1${redacted}`);
}
