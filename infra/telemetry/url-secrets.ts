import { redacted } from './redaction.js';

/**
 * `user:password@` and `token@` in front of a host. Begins where a run of the scheme's characters begins: at each of them it would be looked through
 * again, and the time be the square of the text's length.
 */
const userInfo = /(?<![a-z0-9+.-])([a-z0-9+.-]+:\/\/)[^\s/?#"'\\@]+@/gi;
const sshScheme = /^[^a-z]*ssh:\/\/$/i;
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
    .replace(userInfo, (found, scheme: string) =>
      // A lone user of ssh is no credential; its password is looked for below.
      sshScheme.test(scheme) ? found : `${scheme}${redacted}@`,
    )
    .replace(sshPassword, `$1${redacted}@`)
    .replace(secretParameter, `$1${redacted}`);
}
