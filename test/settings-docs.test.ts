import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaultManagerUrl } from '../infra/config/base-urls.js';
import { packageRoot } from '../infra/config/package-root.js';
import { knownVariables, programSettings } from '../infra/config/settings-index.js';
import { settingEntries, settingsDocs, settingsDocsFile } from './support/settings-docs.js';

const read = (path: string) => readFileSync(join(packageRoot(), path), 'utf8');

describe('docs/settings.md', () => {
  it('is what `npm run docs:settings` writes', () => {
    expect(read(settingsDocsFile)).toBe(settingsDocs());
  });

  it('says what every variable means', () => {
    const silent = Object.entries(programSettings).flatMap(([program, { schema }]) =>
      settingEntries(schema).flatMap(({ variable, meaning }) =>
        meaning === undefined ? [`${program}: ${variable}`] : [],
      ),
    );
    expect(silent).toEqual([]);
  });
});

/** Texts that name settings and addresses: README and everything in deploy/. */
function texts(): string[] {
  const below = (folder: string): string[] =>
    readdirSync(join(packageRoot(), folder)).flatMap((name) => {
      const path = `${folder}/${name}`;
      return statSync(join(packageRoot(), path)).isDirectory() ? below(path) : [path];
    });
  return ['README.md', ...below('deploy')];
}

describe('README and deploy/', () => {
  it.each(texts())('%s names only variables that exist', (path) => {
    const known = knownVariables();
    const named = read(path).match(/\b(?:AGENTRUN|TEMPORAL|DATABASE|OTEL)_[A-Z0-9_]*[A-Z0-9]\b/g) ?? [];
    // Settings of Temporal's own command line, which the script for a cluster passes on.
    const others = new Set(['TEMPORAL_CLI_ARGS']);
    expect(named.filter((name) => !known.has(name) && !others.has(name))).toEqual([]);
  });

  it.each(texts())('%s shows the default URL of the API as it is', (path) => {
    const shown = read(path).match(/http:\/\/(?:127\.0\.0\.1|localhost):80\d\d/g) ?? [];
    expect(shown.filter((url) => url !== defaultManagerUrl)).toEqual([]);
  });
});
