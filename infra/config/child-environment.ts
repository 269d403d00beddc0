import type { Environment } from './read-env.js';

/** What any program needs to find its tools, its home and its certificates. None of these is a secret. */
const passedOn = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'XDG_CACHE_HOME',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
] as const;

/** What the Go tool reads beside these: its own settings and the way out of the network. */
const goSettings = /^(GO[A-Z0-9]*|CGO_[A-Z]+|CC|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)$/;

/**
 * The environment of a child process: the few variables above and `extra`, nothing else of ours, so that a key in our
 * environment never reaches a program that has no use for it (architecture.md 7). An undefined extra is left out.
 */
export function childEnvironment(extra: Environment = {}): Record<string, string> {
  const inherited = passedOn.map((name): [string, string | undefined] => [name, process.env[name]]);
  return definedOnly([...inherited, ...Object.entries(extra)]);
}

/** As {@link childEnvironment}, for `go install`. */
export function goEnvironment(extra: Environment = {}): Record<string, string> {
  const go = Object.entries(process.env).filter(([name]) => goSettings.test(name));
  return { ...childEnvironment(), ...definedOnly(go), ...definedOnly(Object.entries(extra)) };
}

function definedOnly(entries: Iterable<readonly [string, string | undefined]>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of entries) if (value !== undefined) kept[name] = value;
  return kept;
}
